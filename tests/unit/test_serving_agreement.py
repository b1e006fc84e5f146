"""The shadow arm: asked once the user has all, and never more of it than there is room for."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from agentark_ray.serving import agreement
from agentark_ray.serving.agreement import Shadow
from agentark_ray.serving.arms import Reply
from agentark_ray.serving.requests import ChatRequest, Refused
from agentark_ray.tasks.registry import TASKS

GRADER = TASKS["gsm8k"].grader
BODY = ChatRequest.model_validate(
    {
        "model": "agentark",
        "messages": [{"role": "user", "content": "2 + 2?"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
)


class Ledger:
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.outcomes: list[str] = []
        self.agreed: list[bool] = []
        self.metrics = SimpleNamespace(shadowed=self.outcomes.append)
        self.work: list[asyncio.Task[None]] = []

    def in_background(self, work: Any) -> None:
        self.work.append(asyncio.create_task(work))

    def compared(self, body: Any, reply: Any, other: Any, agrees: bool, latency_s: float) -> None:
        self.agreed.append(agrees)


class Answering:
    """An arm that says always the same, or nothing."""

    def __init__(self, text: str | None) -> None:
        self.asked: list[ChatRequest] = []
        self._text = text

    async def answer(self, reply: Reply, body: ChatRequest, request_id: str) -> None:
        self.asked.append(body)
        if self._text is None:
            raise Refused(503, "down")
        reply.text = self._text


def shadowed(text: str | None, status: int = 200) -> tuple[Ledger, Answering]:
    """A shadow that says `text` to what a user was answered with 4; it is looked at before that."""

    async def follow() -> tuple[Ledger, Answering]:
        ledger, arm = Ledger(), Answering(text)
        reply = Reply(text="#### 4", status=status)
        made: Any = (GRADER, ledger)
        Shadow(*made).follow(BODY, reply, arm)  # type: ignore[arg-type]
        await asyncio.sleep(0.05)
        assert not arm.asked and reply.collect, "the user waits for it"
        reply.done.set()
        await asyncio.gather(*ledger.work)
        return ledger, arm

    return asyncio.run(follow())


@pytest.mark.parametrize(("text", "agrees"), [("#### 4.0", True), ("#### 5", False), ("so", False)])
def test_a_shadow_is_asked_without_a_stream_when_the_user_has_all(text: str, agrees: bool) -> None:
    ledger, arm = shadowed(text)
    assert (ledger.agreed, ledger.outcomes) == ([agrees], [])
    (asked,) = arm.asked
    assert (asked.stream, asked.stream_options) == (False, None)


def test_a_shadow_that_fails_is_counted() -> None:
    ledger, _ = shadowed(None)
    assert (ledger.agreed, ledger.outcomes) == ([], ["failed"])


def test_what_the_user_did_not_get_is_not_compared() -> None:
    ledger, arm = shadowed("#### 4", status=499)
    assert (ledger.agreed, ledger.outcomes, arm.asked) == ([], ["skipped"], [])


def test_too_many_comparisons_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agreement, "SHADOWS", 2)

    async def follow() -> None:
        ledger, arm = Ledger(), Answering("#### 4")
        made: Any = (GRADER, ledger)
        shadow = Shadow(*made)
        replies = [Reply(text="#### 4") for _ in range(3)]
        for reply in replies:
            shadow.follow(BODY, reply, arm)  # type: ignore[arg-type]
        assert ledger.outcomes == ["skipped"] and not replies[2].collect
        for reply in replies:
            reply.done.set()
        await asyncio.gather(*ledger.work)
        assert ledger.agreed == [True, True]
        shadow.follow(BODY, replies[0], arm)  # type: ignore[arg-type]
        await asyncio.gather(*ledger.work)
        assert ledger.agreed == [True, True, True]

    asyncio.run(follow())
