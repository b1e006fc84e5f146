"""What a stream has used: as the engine says, or at most what a client that left was sent."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, RayTaskError
from vllm.v1.engine.exceptions import EngineDeadError

from agentark_ray.serving import engines
from agentark_ray.serving.arms import ModelArm, Reply, TeamArm, _forward, _told, as_refused
from agentark_ray.serving.config import LimitsConfig
from agentark_ray.serving.engines import EngineUnavailable
from agentark_ray.serving.events import DONE, Answered, HandedOver, Usage, sse
from agentark_ray.serving.requests import ChatRequest, CompletionRequest, Refused
from agentark_ray.types import Sampling
from tests.unit.handles import FOREVER, Handle, said


def text(content: str) -> str:
    return sse({"choices": [{"index": 0, "delta": {"content": content}}]})


USED = {
    **{"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18},
    "prompt_tokens_details": {"cached_tokens": 6},
}
OWN = Sampling(temperature=0.7, top_p=0.9, max_tokens=9)
USAGE = sse({"choices": [], "usage": USED})


async def arriving(items: Sequence[Any]) -> AsyncIterator[Any]:
    for item in items:
        yield item


def forwarded(
    pieces: Sequence[str], *, until: int, wanted: bool = False, collect: bool = False
) -> tuple[Reply, list[str]]:
    """The reply and the first `until` pieces of a single model's stream."""
    reply = Reply(arm="student", started_s=0.0, collect=collect)

    async def read() -> list[str]:
        first, *rest = ([piece] for piece in pieces)
        stream = _forward(reply, first, arriving(rest), wanted, 8)
        return [await anext(stream) for _ in range(until)]

    return reply, asyncio.run(read())


def test_a_client_that_leaves_has_used_what_it_was_sent() -> None:
    reply, sent = forwarded([text("a"), text("b"), text("c"), USAGE, DONE], until=2)
    assert sent == [text("a"), text("b")]
    assert reply.usage == Usage(completion_tokens=16)


def test_what_comes_together_is_sent_together() -> None:
    async def sent() -> list[str]:
        batches = [[text("c")], [USAGE, text("d"), DONE], [text("after the end")]]
        reply = Reply(arm="student", started_s=0.0)
        stream = _forward(reply, [text("a"), text("b")], arriving(batches), False, 8)
        return [piece async for piece in stream]

    assert asyncio.run(sent()) == [text("a") + text("b"), text("c"), text("d")]


def test_the_engine_says_what_a_whole_stream_used() -> None:
    reply, sent = forwarded([text("a"), text("b"), USAGE, DONE], until=3, wanted=True, collect=True)
    assert json.loads(sent[-1].removeprefix("data: "))["usage"] == USED
    assert reply.usage == Usage(prompt_tokens=11, cached_tokens=6, completion_tokens=7)
    assert reply.text == "ab"


def spoken(*tokens: int) -> Usage:
    """Of turns of so many output tokens."""
    turns = len(tokens)
    return Usage(prompt_tokens=20 * turns, cached_tokens=8 * turns, completion_tokens=sum(tokens))


ANSWER = Answered(
    text="4",
    answer="4",
    path="debate",
    usage=Usage(prompt_tokens=50, completion_tokens=12),
    finish_reason="stop",
)


def request(**values: Any) -> ChatRequest:
    body = {"model": "debate", "messages": [{"role": "user", "content": "2+2"}], **values}
    return ChatRequest.model_validate(body)


def test_a_debate_that_is_left_has_used_its_turns_so_far() -> None:
    async def read(until: int) -> Reply:
        reply = Reply(arm="debate", started_s=0.0)
        rest = arriving([said(7), ANSWER])
        stream = _told("debate", reply, said(5), rest, request(stream=True), "chatcmpl-1")
        for _ in range(until):
            await anext(stream)
        return reply

    assert asyncio.run(read(1)).usage == spoken(5)
    assert asyncio.run(read(2)).usage == spoken(5, 7)
    assert asyncio.run(read(3)).usage == Usage(prompt_tokens=50, completion_tokens=12)


def debate(reply: Reply, *outcomes: Sequence[Any], **limits: Any) -> Handle:
    """What a debate has answered without a stream is in the reply."""
    handle = Handle(*outcomes)
    arm = TeamArm("debate", handle, LimitsConfig(**limits))  # type: ignore[arg-type]
    asyncio.run(arm.answer(reply, request(), "chatcmpl-1"))
    return handle


def test_a_debate_without_a_stream_has_used_its_turns_when_it_is_left() -> None:
    reply = Reply()
    with pytest.raises(Refused, match="no answer in time"):
        debate(reply, [said(5), said(7), FOREVER], timeout_s=1.0)
    assert (reply.arm, reply.usage) == ("debate", spoken(5, 7))


def test_a_request_has_one_deadline_and_one_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "WATCH_S", 0.2)
    dead = EngineDeadError()
    reply = Reply(started_s=time.perf_counter() - 2.0)
    debate(reply, [said(5), dead], [dead], [said(7), ANSWER], timeout_s=9.0)
    assert reply.usage == ANSWER.usage and reply.first_s is not None and reply.first_s >= 2.4
    reply = Reply(started_s=time.perf_counter() - 8.9)
    with pytest.raises(Refused) as refused:
        debate(reply, [said(5), dead], [FOREVER], timeout_s=9.0)
    assert refused.value.status == 504 and time.perf_counter() - reply.started_s < 12


def test_a_dead_engine_is_asked_again_when_its_replica_has_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engines, "WATCH_S", 1.0)
    handle = debate(Reply(), [EngineDeadError()], [ActorDiedError()], [ANSWER])
    first, second, third = handle.at_s
    assert second - first >= 1.0 > third - second


def test_what_another_attempt_has_used_is_not_counted() -> None:
    reply = Reply()
    with pytest.raises(Refused) as refused:
        debate(reply, [said(5), ActorDiedError()], [said(7), ActorDiedError()], retries=1)
    assert refused.value.status == 503 and reply.usage == spoken(7)


def test_an_endpoint_that_does_not_answer_is_asked_again_later() -> None:
    refused = as_refused(EngineUnavailable("big: EndpointError"))
    assert refused is not None and (refused.status, bool(refused.retry_after_s)) == (503, True)


def test_what_a_deployment_raises_is_no_bug_of_who_asked_it() -> None:
    raised = RayTaskError("chat", "Traceback", KeyError("secret"), "", 1, "127.0.0.1")
    for error in (raised, raised.as_instanceof_cause()):
        refused = as_refused(error)
        assert refused is not None and (refused.status, refused.message) == (500, "internal error")
    assert as_refused(KeyError("mine")) is None


def test_a_student_that_is_left_after_handing_over_has_used_its_answer() -> None:
    reply = Reply()
    student = HandedOver(confidence=-0.9, threshold=-0.5, usage=spoken(3))
    with pytest.raises(Refused, match="no answer in time"):
        debate(reply, [student, said(5), FOREVER], timeout_s=1.0)
    assert reply.handed_over and reply.usage == spoken(3, 5)


def test_a_single_model_samples_as_in_its_run_where_a_request_says_nothing() -> None:
    arm = ModelArm("student", Handle(), "Think.", LimitsConfig(), OWN)  # type: ignore[arg-type]

    def sampled(body: Any) -> tuple[Any, ...]:
        sent = arm._sent(body, "chatcmpl-1")
        limit = getattr(sent, "max_completion_tokens", None) or sent.max_tokens
        return sent.temperature, sent.top_p, limit

    completion = {"model": "student", "prompt": "2 + 2"}
    assert sampled(request()) == (0.7, 0.9, 9)
    assert sampled(CompletionRequest.model_validate(completion)) == (0.7, 0.9, 9)
    assert sampled(request(temperature=0.0, max_tokens=5)) == (0.0, 0.9, 5)
    assert sampled(CompletionRequest.model_validate({**completion, "top_p": 0.5}))[:2] == (0.7, 0.5)


@pytest.mark.parametrize("stream", [False, True])
def test_stream_options_are_sent_with_streams_only(stream: bool) -> None:
    arm = ModelArm("student", Handle(), "Think.", LimitsConfig(), OWN)  # type: ignore[arg-type]
    sent = arm._sent(request(stream=stream, stream_options={"include_usage": False}), "chatcmpl-1")
    wanted = sent.stream_options and sent.stream_options.include_usage
    assert wanted == (True if stream else None)
