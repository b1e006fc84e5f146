"""What Ray Data actors share that ask engines: the engines, slots, news, and what to do at a death.

Ray Data hands such an actor blocks concurrently; all of its blocks share one event loop, its
engines and one set of slots, so a slow debate of one block never keeps another block's debates
waiting. When an engine dies, so does the actor; what it held is held again by its next life, but a
debate that goes on killing its engine is given up (see deaths.py).
"""

import asyncio
import gc
import itertools
import os
import time
import uuid
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any, NoReturn

import pyarrow as pa
import ray

from agentark_ray.config import Config
from agentark_ray.engine.base import EngineDead
from agentark_ray.engine.make import Engines
from agentark_ray.traces.deaths import Past, slots
from agentark_ray.types import ModelRef

NEWS_EVERY_S = 0.5
LAST_WORDS_S = 5.0
ROWS_AT_ONCE = 16
# The number of the block that the running task works for; None: for none.
_BLOCK: ContextVar[int | None] = ContextVar("block", default=None)


class TooManyFailures(RuntimeError):
    """More debates failed than the config allows."""


class EnginesKeepDying(RuntimeError):
    """An actor lost its engine again and again without finishing anything."""


class EngineKilled(RuntimeError):
    """A debate was there each time its engine died. Never raised: it is why a row failed."""

    def __init__(self, deaths: int, last_words: str) -> None:
        super().__init__(
            f"its engine died {deaths} times while this debate was being held, the last time"
            f" nothing else was; last: {last_words or 'the process was killed'}"
        )


class Slots:
    """`size` debates at once, first come first served; some take more than one slot."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._free = size
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def hold(self, need: int) -> AsyncIterator[None]:
        """Hold `need` slots, at most `size`; with all of them, alone."""
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((need, ready))
        self._admit()
        try:
            await ready
            yield
        finally:
            if ready.done() and not ready.cancelled():
                self._free += need
            self._admit()

    def _admit(self) -> None:
        """Wake those whose turn it is, and nobody else: thousands may wait."""
        while self._waiting:
            need, ready = self._waiting[0]
            if not ready.cancelled():
                if need > self._free:
                    return
                self._free -= need
                ready.set_result(None)
            self._waiting.popleft()


class AskingActor:
    """An actor that holds debates, or anything else by a debate's id, through its engines."""

    def __init__(self, config: Config, refs: Sequence[ModelRef], progress: Any) -> None:
        self._config = config
        self._progress = progress
        self._engines = Engines(config, refs)
        self._slots = Slots(config.engine.in_flight)
        self._actor = ray.get_runtime_context().get_actor_id()
        self._life = uuid.uuid4().hex  # of this process; the actor's id stays when it is replaced
        self._blocks = itertools.count()
        self._news: defaultdict[int | None, Counter[str]] = defaultdict(Counter)  # by block
        self._last_error = ""
        self._told = time.monotonic()

    @asynccontextmanager
    async def block(self, ids: Sequence[str]) -> AsyncIterator[Past]:
        """While these debates are held; the engines are up.

        Raises:
            TooManyFailures, EnginesKeepDying: the job as a whole is failing.
        """
        number = next(self._blocks)
        past, stop = await self._progress.begin.remote(self._actor, self._life, number, ids)
        if stop:
            raise EnginesKeepDying(stop)
        try:
            await self._engines.ready()
        except EngineDead as error:
            await self._give_up(error)
        await self._progress.engine_ready.remote()
        if number == 0:
            spare_garbage_collection()
        token = _BLOCK.set(number)
        yield past
        _BLOCK.reset(token)
        await self.tell()
        self._progress.end.remote(self._actor, number)

    def killed(self, debate_id: str, past: Past) -> EngineKilled | None:
        """Why a debate must not be held again, or None."""
        deaths = past.deaths.get(debate_id, 0)
        if deaths < self._config.engine.max_engine_deaths:
            return None
        return EngineKilled(deaths, past.last_words)

    @asynccontextmanager
    async def holding(self, debate_id: str, past: Past, alone: bool = False) -> AsyncIterator[None]:
        """While one debate is held, in its slots. An engine that dies inside ends the process.

        What is held `alone` is timed, and finds no prompt cached that was asked before.
        """
        size, limit = self._config.engine.in_flight, self._config.engine.max_engine_deaths
        deaths = past.deaths.get(debate_id, 0)
        async with self._slots.hold(size if alone else slots(deaths, size, limit)):
            if deaths:
                await self._progress.start_suspect.remote(self._actor, debate_id)
            try:
                if alone:
                    await self._engines.forget()
                yield
            except EngineDead as error:
                await self._give_up(error)
            if deaths:
                await self._progress.leave_suspect.remote(self._actor, debate_id)

    async def count(self, error: str | None = None, **news: int) -> None:
        """Add up news (fields of Counts); with the `error` of a debate that failed."""
        self._news[_BLOCK.get()].update(news)
        self._last_error = error or self._last_error
        if time.monotonic() - self._told > NEWS_EVERY_S:
            await self.tell()

    async def tell(self) -> None:
        """Send the news.

        Raises:
            TooManyFailures: the job as a whole is failing.
        """
        news = {block: dict(sums) for block, sums in self._news.items()}
        self._news.clear()
        self._told = time.monotonic()
        stop = await self._progress.add.remote(self._actor, self._life, news, self._last_error)
        if stop:
            raise TooManyFailures(stop)

    async def _give_up(self, error: EngineDead) -> NoReturn:
        """End the process: raising would retry on this broken actor, a dead one is replaced."""
        words = f"{type(error).__name__}: {error}"
        try:
            async with asyncio.timeout(LAST_WORDS_S):
                await self._progress.last_words.remote(self._actor, words)
        finally:
            os._exit(1)


async def table(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """Rows as a table, a few at a time: other debates go on in between."""
    parts = [schema.empty_table()]  # a block that was filtered may have no rows
    for start in range(0, len(rows), ROWS_AT_ONCE):
        some = list(rows[start : start + ROWS_AT_ONCE])
        parts.append(pa.Table.from_pylist(some, schema=schema))
        await asyncio.sleep(0)
    return pa.concat_tables(parts).combine_chunks()


def spare_garbage_collection() -> None:
    """Leave what is loaded out of garbage collection, and collect less often.

    With the defaults collecting takes a fifth of the CPU time of a completion, and its pauses hold
    up every debate of the event loop.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
