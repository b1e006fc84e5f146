"""The Ray Data actor that holds debates: its engines, many debates in flight, no barrier.

Ray Data hands it blocks concurrently; all of an actor's blocks share one event loop, its engines
and one set of slots, so a slow debate of one block never keeps another block's debates waiting.
"""

import asyncio
import os
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pyarrow as pa

from agentark_ray.config import Config
from agentark_ray.debate.protocol import arm_protocol
from agentark_ray.debate.run import run_debate
from agentark_ray.debate.talk import DebateProtocol
from agentark_ray.engine.base import EngineDead, Generate
from agentark_ray.engine.make import Engines
from agentark_ray.tasks.registry import TASKS
from agentark_ray.traces.metrics import DebateMetrics
from agentark_ray.traces.schema import TRACE_SCHEMA, row_question, trace_row
from agentark_ray.types import DebateStatus, ModelRef

NEWS_EVERY_S = 0.5


class TooManyFailures(RuntimeError):
    """More debates failed than the config allows."""


class Slots:
    """`size` debates at once, first come first served; an exclusive one runs alone."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._free = size
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def hold(self, exclusive: bool) -> AsyncIterator[None]:
        """Hold one slot, or all of them."""
        need = self._size if exclusive else 1
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
        self._metrics = DebateMetrics()
        self._arms: dict[str, tuple[DebateProtocol, Generate]] = {}
        self._news: Counter[str] = Counter()
        self._last_error = ""
        self._told = time.monotonic()

    async def __call__(self, block: pa.Table) -> pa.Table:
        """Hold every debate of a block.

        Raises:
            TooManyFailures: the job as a whole is failing.
        """
        await self._engines.ready()
        await self._progress.engine_ready.remote()
        rows = await asyncio.gather(*(self._hold(request) for request in block.to_pylist()))
        await self._tell()
        return pa.Table.from_pylist(rows, schema=TRACE_SCHEMA)

    def _arm(self, arm: str) -> tuple[DebateProtocol, Generate]:
        if arm not in self._arms:
            protocol = arm_protocol(self._config, arm)
            self._arms[arm] = protocol, self._engines.generate(protocol.speakers, self._model)
        return self._arms[arm]

    async def _hold(self, request: Mapping[str, Any]) -> dict[str, Any]:
        protocol, generate = self._arm(request["arm"])
        question = row_question(request)
        grader = TASKS[question.task].grader
        async with self._slots.hold(exclusive=request["kind"] == "latency"):
            self._metrics.started()
            try:
                debate = await run_debate(question, protocol, generate, grader)
            except EngineDead:
                # Raising would retry on this broken actor; a dead process is replaced by Ray.
                os._exit(1)
        row = trace_row(request, debate, model=self._model, speakers=protocol.speakers)
        self._metrics.finished(row)
        await self._count(row)
        return row

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
        stop = await self._progress.add.remote(dict(news), self._last_error)
        if stop:
            raise TooManyFailures(stop)
