"""The Ray Data actor that holds debates: its engines, many debates in flight, no barrier.

Ray Data hands it blocks concurrently; all of an actor's blocks share one event loop, its engines
and one set of slots, so a slow debate of one block never keeps another block's debates waiting.
When the engine dies, so does the actor; what it held is held again by its next life, but a question
that goes on killing its engine becomes a failed row (see deaths.py).
"""

import asyncio
import gc
import itertools
import os
import time
import uuid
from collections import Counter, deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NoReturn

import pyarrow as pa
import ray

from agentark_ray.config import Config
from agentark_ray.debate.protocol import arm_protocol
from agentark_ray.debate.run import run_debate
from agentark_ray.debate.talk import DebateProtocol
from agentark_ray.engine.base import EngineDead, Generate
from agentark_ray.engine.make import Engines
from agentark_ray.tasks.registry import TASKS
from agentark_ray.traces.deaths import Past, slots
from agentark_ray.traces.metrics import DebateMetrics
from agentark_ray.traces.schema import TRACE_SCHEMA, row_question, trace_row
from agentark_ray.types import Debate, DebateStatus, ModelRef, Question

NEWS_EVERY_S = 0.5
LAST_WORDS_S = 5.0
ROWS_AT_ONCE = 16


class TooManyFailures(RuntimeError):
    """More debates failed than the config allows."""


class EnginesKeepDying(RuntimeError):
    """An actor lost its engine again and again without finishing anything."""


class EngineKilled(RuntimeError):
    """A question was there each time its engine died. Never raised: it is why a row failed."""


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


class DebateActor:
    """Turns a block of requests (REQUEST_SCHEMA) into a block of traces (TRACE_SCHEMA)."""

    def __init__(self, config: Config, model: str, refs: Sequence[ModelRef], progress: Any) -> None:
        self._config = config
        self._model = model
        self._progress = progress
        self._engines = Engines(config, refs)
        self._slots = Slots(config.engine.in_flight)
        self._actor = ray.get_runtime_context().get_actor_id()
        self._life = uuid.uuid4().hex  # of this process; the actor's id stays when it is replaced
        self._blocks = itertools.count()
        self._metrics = DebateMetrics(config.prices.tokens)
        self._arms: dict[str, tuple[DebateProtocol, Generate]] = {}
        self._news: Counter[str] = Counter()
        self._last_error = ""
        self._told = time.monotonic()

    async def __call__(self, block: pa.Table) -> pa.Table:
        """Hold every debate of a block.

        Raises:
            TooManyFailures, EnginesKeepDying: the job as a whole is failing.
        """
        requests, number = block.to_pylist(), next(self._blocks)
        past = await self._begin(number, [request["debate_id"] for request in requests])
        try:
            await self._engines.ready()
        except EngineDead as error:
            await self._give_up(error)
        await self._progress.engine_ready.remote()
        if number == 0:
            spare_garbage_collection()
        rows = await asyncio.gather(*(self._hold(request, past) for request in requests))
        self._progress.end.remote(self._actor, number)
        await self._tell()
        return await _table(rows)

    async def _begin(self, number: int, ids: Sequence[str]) -> Past:
        past, stop = await self._progress.begin.remote(self._actor, self._life, number, ids)
        if stop:
            raise EnginesKeepDying(stop)
        return past

    def _arm(self, arm: str) -> tuple[DebateProtocol, Generate]:
        if arm not in self._arms:
            protocol = arm_protocol(self._config, arm)
            self._arms[arm] = protocol, self._engines.generate(protocol.speakers, self._model)
        return self._arms[arm]

    async def _hold(self, request: Mapping[str, Any], past: Past) -> dict[str, Any]:
        protocol, _ = self._arm(request["arm"])
        question = row_question(request)
        deaths = past.deaths.get(request["debate_id"], 0)
        if deaths < self._config.engine.max_engine_deaths:
            debate = await self._debate(request, question, deaths)
        else:
            self._metrics.started()
            debate = _killer(question, deaths, past.last_words)
        row = trace_row(request, debate, model=self._model, speakers=protocol.speakers)
        self._metrics.finished(row)
        await self._count(row)
        return row

    async def _debate(self, request: Mapping[str, Any], question: Question, deaths: int) -> Debate:
        debate_id = request["debate_id"]
        protocol, generate = self._arm(request["arm"])
        size, limit = self._config.engine.in_flight, self._config.engine.max_engine_deaths
        need = size if request["kind"] == "latency" else slots(deaths, size, limit)
        async with self._slots.hold(need):
            if deaths:
                await self._progress.start_suspect.remote(self._actor, debate_id)
            self._metrics.started()
            try:
                debate = await run_debate(question, protocol, generate, TASKS[question.task].grader)
            except EngineDead as error:
                await self._give_up(error)
            if deaths:
                await self._progress.leave_suspect.remote(self._actor, debate_id)
        return debate

    async def _give_up(self, error: EngineDead) -> NoReturn:
        """End the process: raising would retry on this broken actor, a dead one is replaced."""
        words = f"{type(error).__name__}: {error}"
        try:
            async with asyncio.timeout(LAST_WORDS_S):
                await self._progress.last_words.remote(self._actor, words)
        finally:
            os._exit(1)

    async def _count(self, row: Mapping[str, Any]) -> None:
        failed = row["status"] == DebateStatus.FAILED
        self._news.update(
            done=1,
            failed=int(failed),
            output_tokens=row["output_tokens"],
            prompt_tokens=row["prompt_tokens"],
        )
        if failed:
            self._last_error = f"{row['error_type']}: {row['error_message']}"
        if time.monotonic() - self._told > NEWS_EVERY_S:
            await self._tell()

    async def _tell(self) -> None:
        news, self._news, self._told = self._news, Counter(), time.monotonic()
        self._metrics.flush()
        stop = await self._progress.add.remote(dict(news), self._last_error)
        if stop:
            raise TooManyFailures(stop)


def _killer(question: Question, deaths: int, last_words: str) -> Debate:
    """The row of a question that is not held again."""
    return Debate(
        question=question,
        turns=(),
        votes=(),
        final_answer=None,
        final_verdict=None,
        stop_reason=None,
        status=DebateStatus.FAILED,
        error_type=EngineKilled.__name__,
        error_message=(
            f"its engine died {deaths} times while this question was being answered, the last time"
            f" nothing else was; last: {last_words or 'the process was killed'}"
        ),
        wall_s=0.0,
    )


async def _table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows as a table, a few at a time: other debates go on in between."""
    parts = []
    for start in range(0, len(rows), ROWS_AT_ONCE):
        parts.append(
            pa.Table.from_pylist(list(rows[start : start + ROWS_AT_ONCE]), schema=TRACE_SCHEMA)
        )
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
