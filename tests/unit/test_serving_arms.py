"""What a stream has used: as the engine says, or at most what a client that left was sent."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

from agentark_ray.serving.arms import Reply, _forward, _told
from agentark_ray.serving.events import DONE, Answered, Said, Usage, sse
from agentark_ray.serving.requests import ChatRequest


def text(content: str) -> str:
    return sse({"choices": [{"index": 0, "delta": {"content": content}}]})


USED = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
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


def test_the_engine_says_what_a_whole_stream_used() -> None:
    reply, sent = forwarded([text("a"), text("b"), USAGE, DONE], until=3, wanted=True, collect=True)
    assert json.loads(sent[-1].removeprefix("data: "))["usage"] == USED
    assert reply.usage == Usage(prompt_tokens=11, completion_tokens=7)
    assert reply.text == "ab"


def test_a_debate_that_is_left_has_used_its_turns_so_far() -> None:
    def turn(tokens: int) -> Said:
        return Said(round=0, agent=0, role="solver", answer="4", output_tokens=tokens, latency_ms=1)

    answer = Answered(
        text="4",
        answer="4",
        path="debate",
        usage=Usage(prompt_tokens=50, completion_tokens=12),
        finish_reason="stop",
    )
    body = {"model": "debate", "messages": [{"role": "user", "content": "2+2"}], "stream": True}

    async def read(until: int) -> Reply:
        reply = Reply(arm="debate", started_s=0.0)
        rest = arriving([turn(7), answer])
        request = ChatRequest.model_validate(body)
        stream = _told("debate", reply, turn(5), rest, request, "chatcmpl-1")
        for _ in range(until):
            await anext(stream)
        return reply

    assert asyncio.run(read(1)).usage == Usage(completion_tokens=5)
    assert asyncio.run(read(2)).usage == Usage(completion_tokens=12)
    assert asyncio.run(read(3)).usage == Usage(prompt_tokens=50, completion_tokens=12)
