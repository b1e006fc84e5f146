"""The Ray Data actor that holds debates: many in flight, no barrier."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from agentark_ray.config import Config
from agentark_ray.debate.protocol import arm_protocol
from agentark_ray.debate.run import run_debate
from agentark_ray.debate.talk import DebateProtocol
from agentark_ray.engine.base import Generate
from agentark_ray.tasks.registry import TASKS
from agentark_ray.traces.asking import AskingActor, EngineKilled, table
from agentark_ray.traces.deaths import Past
from agentark_ray.traces.metrics import DebateMetrics
from agentark_ray.traces.schema import TRACE_SCHEMA, row_question, trace_row
from agentark_ray.types import Debate, DebateStatus, ModelRef, Question


class DebateActor(AskingActor):
    """Turns a block of requests (REQUEST_SCHEMA) into a block of traces (TRACE_SCHEMA)."""

    def __init__(self, config: Config, model: str, refs: Sequence[ModelRef], progress: Any) -> None:
        super().__init__(config, refs, progress)
        self._model = model
        self._metrics = DebateMetrics(config.prices.tokens)
        self._arms: dict[str, tuple[DebateProtocol, Generate]] = {}

    async def __call__(self, block: pa.Table) -> pa.Table:
        """Hold every debate of a block.

        Raises:
            TooManyFailures, EnginesKeepDying: the job as a whole is failing.
        """
        requests = block.to_pylist()
        async with self.block([request["debate_id"] for request in requests]) as past:
            rows = await asyncio.gather(*(self._hold(request, past) for request in requests))
        return await table(rows, TRACE_SCHEMA)

    async def tell(self) -> None:
        """Send the news, and the metrics.

        Raises:
            TooManyFailures: the job as a whole is failing.
        """
        self._metrics.flush()
        await super().tell()

    def _arm(self, arm: str) -> tuple[DebateProtocol, Generate]:
        if arm not in self._arms:
            protocol = arm_protocol(self._config, arm)
            self._arms[arm] = protocol, self._engines.generate(protocol.speakers, self._model)
        return self._arms[arm]

    async def _hold(self, request: Mapping[str, Any], past: Past) -> dict[str, Any]:
        protocol, generate = self._arm(request["arm"])
        question, debate_id = row_question(request), request["debate_id"]
        if killed := self.killed(debate_id, past):
            self._metrics.started()
            debate = _killer(question, killed)
        else:
            async with self.holding(debate_id, past, alone=request["kind"] == "latency"):
                self._metrics.started()
                debate = await run_debate(question, protocol, generate, TASKS[question.task].grader)
        row = trace_row(request, debate, model=self._model, speakers=protocol.speakers)
        self._metrics.finished(row)
        failed = row["status"] != DebateStatus.OK
        await self.count(
            f"{row['error_type']}: {row['error_message']}" if failed else None,
            done=1,
            failed=int(failed),
            prompts_too_long=int(row["status"] == DebateStatus.PROMPT_TOO_LONG),
            output_tokens=row["output_tokens"],
            prompt_tokens=row["prompt_tokens"],
        )
        return row


def _killer(question: Question, killed: EngineKilled) -> Debate:
    """The row of a question that is not held again."""
    return Debate(
        question=question,
        turns=(),
        votes=(),
        final_answer=None,
        final_verdict=None,
        stop_reason=None,
        status=DebateStatus.FAILED,
        error_type=type(killed).__name__,
        error_message=str(killed),
        wall_s=0.0,
    )
