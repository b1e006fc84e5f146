"""A handle to a deployment that is not there: what every call gives is told beforehand."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from time import perf_counter
from typing import Any

from agentark_ray.serving.events import Said

FOREVER = object()  # an item that never comes


def said(output_tokens: int) -> Said:
    """A turn of a debate."""
    return Said(
        round=0,
        agent=0,
        role="solver",
        answer="4",
        prompt_tokens=20,
        cached_tokens=8,
        output_tokens=output_tokens,
        latency_ms=1,
    )


class Handle:
    """Gives one outcome a call: its items one after the other; an exception is raised.

    `asked` are the arguments of the calls, `at_s` their times, `cancelled` how many were;
    `waiting` is set once all before a FOREVER was taken.
    """

    def __init__(self, *outcomes: Sequence[Any]) -> None:
        self._outcomes = iter(outcomes)
        self.asked: list[tuple[Any, ...]] = []
        self.at_s: list[float] = []
        self.cancelled = 0
        self.waiting = asyncio.Event()

    def options(self, **options: Any) -> "Handle":
        return self

    @property
    def chat(self) -> "Handle":
        return self

    @property
    def completions(self) -> "Handle":
        return self

    @property
    def answer(self) -> "Handle":
        return self

    def remote(self, *args: Any) -> Any:
        self.asked.append(args)
        self.at_s.append(perf_counter())
        return _Response(self, next(self._outcomes))


class _Response:
    def __init__(self, handle: Handle, items: Sequence[Any]) -> None:
        self._handle = handle
        self._items = self._given(items)

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._items

    async def __anext__(self) -> Any:
        return await anext(self._items)

    def cancel(self) -> None:
        self._handle.cancelled += 1

    async def _given(self, items: Sequence[Any]) -> AsyncIterator[Any]:
        for item in items:
            await asyncio.sleep(0)
            if item is FOREVER:
                self._handle.waiting.set()
                await asyncio.Event().wait()
            if isinstance(item, BaseException):
                raise item
            yield item
