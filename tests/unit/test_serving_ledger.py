"""What is logged and recorded of requests."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import ActorDiedError

from agentark_ray.monitoring import Kind, Request, read_requests
from agentark_ray.serving import ledger as ledger_module
from agentark_ray.serving.arms import Reply
from agentark_ray.serving.budget import Budget
from agentark_ray.serving.events import Usage
from agentark_ray.serving.ledger import Ledger
from agentark_ray.serving.records import Recorder
from agentark_ray.serving.requests import ChatRequest, CompletionRequest

CHAT = ChatRequest.model_validate(
    {
        "model": "agentark",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "What is 2 + 2?"},
        ],
    }
)
STATE = SimpleNamespace(request_id="chatcmpl-7", user="alice")


class Kept(Recorder):
    """Not ended by Serve, which awaits `__del__`."""

    def __del__(self) -> None: ...  # type: ignore[override]


def reply(arm: str, tokens: int = 5, **values: Any) -> Reply:
    usage = Usage(prompt_tokens=11, completion_tokens=tokens)
    return Reply(arm=arm, started_s=0.0, usage=usage, text="It is 4.", **values)


async def told(ledger: Ledger) -> None:
    """Wait until the recorder was told all."""
    async with asyncio.timeout(30):
        while ledger._background:
            await asyncio.sleep(0.01)


def recorded(
    folder: Path, happens: Callable[[Ledger], None], monkeypatch: pytest.MonkeyPatch
) -> list[Request]:
    """The rows in the files of a recorder."""
    monkeypatch.setattr(ledger_module, "TELL_S", 0.0)

    async def work() -> None:
        recorder = Kept(str(folder))
        handle: Any = SimpleNamespace(add=SimpleNamespace(remote=recorder.add))
        ledger = Ledger(handle, "rsft", log_prompts=False)
        happens(ledger)
        await told(ledger)
        await recorder.flush()
        recorder._flushing.cancel()

    asyncio.run(work())
    return list(read_requests(str(folder)))


def test_a_comparison_with_the_shadow_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the debate answers users and the student is compared."""

    def happens(ledger: Ledger) -> None:
        debate, student = reply("debate", 90), reply("student")
        ledger.ended("agentark", CHAT, debate, STATE)
        ledger.compared(CHAT, debate, student, True, 0.25)
        ledger.ended("agentark", CHAT, student, STATE)
        ledger.compared(CHAT, student, debate, False, 0.5)

    rows = recorded(tmp_path, happens, monkeypatch)
    assert [(row.kind, row.arm, row.shadow, row.agreement, row.output_tokens) for row in rows] == [
        (Kind.SHADOW, "debate", "student", True, 5),
        (Kind.LIVE, "student", None, None, 5),
        (Kind.SHADOW, "student", "debate", False, 90),
    ]
    assert {row.student for row in rows} == {"rsft"}
    assert [row.latency_ms for row in rows][::2] == [250.0, 500.0]
    assert {row.features["words"] for row in rows} == {4}


def test_records_wait_for_a_recorder_that_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "TELL_S", 0.0)
    kept: list[Any] = []

    async def add(rows: Any, recent: Any) -> None:
        if not kept:
            kept.append("lost")
            raise ActorDiedError
        kept.append((len(rows), [one["tokens"] for one in recent]))

    async def work() -> None:
        handle: Any = SimpleNamespace(add=SimpleNamespace(remote=add))
        ledger = Ledger(handle, "rsft", log_prompts=False)
        ledger.ended("agentark", CHAT, reply("student", 5), STATE)
        await asyncio.sleep(0)
        ledger.ended("agentark", CHAT, reply("student", 6), STATE)
        await told(ledger)

    asyncio.run(work())
    assert kept == ["lost", (2, [5, 6])]


def test_a_recorder_without_a_replica_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call to it waits until there is one."""
    monkeypatch.setattr(ledger_module, "TELL_S", 0.0)
    monkeypatch.setattr(ledger_module, "LOST_ROWS", 3)
    calls: list[Any] = []
    back = asyncio.Event()

    async def add(rows: Any, recent: Any) -> None:
        calls.append([one["tokens"] for one in recent])
        await back.wait()

    async def work() -> None:
        handle: Any = SimpleNamespace(add=SimpleNamespace(remote=add))
        ledger = Ledger(handle, "rsft", log_prompts=False)
        for tokens in range(6):
            ledger.ended("agentark", CHAT, reply("student", tokens), STATE)
            await asyncio.sleep(0.01)
        assert calls == [[0]] and len(ledger._background) == 1
        back.set()
        await told(ledger)
        ledger.ended("agentark", CHAT, reply("student", 6), STATE)
        await told(ledger)

    asyncio.run(work())
    assert calls == [[0], [3, 4, 5], [6]]


@pytest.mark.parametrize(
    ("status", "usage", "spent"),
    [
        (499, Usage(), 5),  # "Be brief." and "What is 2 + 2?" have 23 characters
        (504, Usage(completion_tokens=8), 13),
        (499, Usage(prompt_tokens=11, completion_tokens=7), 18),
        (503, Usage(), 0),
    ],
)
def test_who_leaves_early_pays_for_the_prompt(status: int, usage: Usage, spent: int) -> None:
    budget = Budget(100, 100, 0.0)

    async def work() -> None:
        ledger = Ledger(SimpleNamespace(), "rsft", log_prompts=False)  # type: ignore[arg-type]
        left = Reply(arm="student", usage=usage, status=status)
        ledger.ended("agentark", CHAT, left, SimpleNamespace(**vars(STATE), budget=budget))

    asyncio.run(work())
    assert 100 - budget._tokens.left == spent


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[logging.LogRecord]:
    found: list[logging.LogRecord] = []
    monkeypatch.setattr(ledger_module.LOGGER, "handle", found.append)
    monkeypatch.setattr(ledger_module.LOGGER, "level", logging.INFO)
    return found


def ended(body: Any, log_prompts: bool) -> None:
    async def work() -> None:
        ledger = Ledger(SimpleNamespace(), "rsft", log_prompts)  # type: ignore[arg-type]
        ledger.ended("agentark", body, reply("student", status=503), STATE)

    asyncio.run(work())


def test_what_is_logged_has_fields_and_no_text(logged: list[logging.LogRecord]) -> None:
    ended(CHAT, log_prompts=False)
    (record,) = logged
    said: dict[str, Any] = vars(record)
    assert record.getMessage() == "ended"
    assert said["response_id"] == "chatcmpl-7" and said["user"] == "alice"
    assert (said["model"], said["arm"], said["status"]) == ("agentark", "student", 503)
    assert (said["prompt_tokens"], said["output_tokens"]) == (11, 5) and said["latency_ms"] > 0
    assert not any(words in str(said) for words in ("2 + 2", "brief", "It is 4"))


def test_texts_are_logged_if_they_shall_be(logged: list[logging.LogRecord]) -> None:
    ended(CHAT, log_prompts=True)
    completion = {"model": "base", "prompt": "2 + 2 ="}
    ended(CompletionRequest.model_validate(completion), log_prompts=True)
    chat, other = (vars(record) for record in logged)
    assert [message["content"] for message in chat["question"]] == ["Be brief.", "What is 2 + 2?"]
    assert chat["answer"] == "It is 4."
    assert other["question"] == "2 + 2 ="
