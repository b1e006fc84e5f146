"""What vLLM streams: events as text, a line each. Pure."""

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from agentark_ray.serving.events import Usage

BEGINS = '"delta":{"role":"assistant","content":""'  # of the event that begins an answer
ERROR = 'data: {"error"'  # begins the event of an error


async def with_head(pieces: AsyncIterator[Any]) -> AsyncIterator[list[Any]]:
    """A stream's events; that an answer begins is told together with its first text.

    vLLM says both in the same moment, and each event passes three processes on its way.
    """
    head: list[Any] = []
    async for piece in pieces:
        if isinstance(piece, str) and BEGINS in piece:
            head.append(piece)
            continue
        yield [*head, piece]
        head = []
    if head:
        yield head


def text_of(piece: str) -> str:
    """The text in a chunk, of a conversation or of a completion."""
    choices = json.loads(piece.removeprefix("data: "))["choices"]
    return "".join(
        choice["text"] if "text" in choice else choice["delta"].get("content") or ""
        for choice in choices
    )


def usage_of(found: Mapping[str, Any]) -> Usage:
    """The `usage` of a response or of a stream's last event."""
    cached = (found.get("prompt_tokens_details") or {}).get("cached_tokens")
    return Usage(
        prompt_tokens=found["prompt_tokens"],
        cached_tokens=cached or 0,
        completion_tokens=found["completion_tokens"],
    )
