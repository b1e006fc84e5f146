"""The engine of a run folder under load: an actor with the engines that the evaluation's have.

The load is made in the actor's own event loop, as the evaluation's debates are held in it, so what
is measured is the engine and nothing between it and its caller; how far this holds the generator up
is among the figures. An arm that answers alone is heard token by token. What a debate says is known
when it has ended, so its first token comes with its last.
"""

import itertools
import time
from collections.abc import Sequence
from typing import Any

from agentark_ray.config import Config
from agentark_ray.console import State
from agentark_ray.debate.protocol import arm_protocol
from agentark_ray.debate.run import run_debate
from agentark_ray.engine.make import Engines
from agentark_ray.engine.settings import placement, refs_of
from agentark_ray.engine.streaming import StreamingEngine
from agentark_ray.load.figures import TIMEOUT
from agentark_ray.load.machine import gpu_bytes, machine, model_bytes
from agentark_ray.load.offer import Heard, Live, Plan, RequestFailed
from agentark_ray.models import resolve_model
from agentark_ray.tasks.registry import TASKS
from agentark_ray.traces.asking import spare_garbage_collection
from agentark_ray.types import Debate, DebateStatus, Question


class LoadActor:
    """An arm of a run, with its engines; `model` is the folder or id of the arm's model.

    A completion that fails is not asked for again, whatever `engine.retries` says: it is counted.
    """

    def __init__(
        self, config: Config, arm: str, model: str, questions: Sequence[Question], plan: Plan
    ) -> None:
        engine = config.engine.model_copy(update={"retries": 0})
        config = config.model_copy(update={"engine": engine})
        self._protocol = arm_protocol(config, arm)
        self._refs = refs_of(config, self._protocol.speakers, model)
        self._gpus = placement(config, self._refs).total("GPU")
        self._engines = Engines(config, self._refs, StreamingEngine)
        self._generate = self._engines.generate(self._protocol.speakers, model)
        self._questions = itertools.cycle(questions)
        self._live = Live(self.ask, self._questions, plan)

    async def start(self) -> None:
        """Start the engines; they have answered when this returns."""
        await self._engines.ready()
        spare_garbage_collection()

    async def ask(self, question: Question, heard: Heard) -> None:
        """Hold one debate.

        Raises:
            RequestFailed: it failed. EngineDead: the engine is gone.
        """
        grader = TASKS[question.task].grader
        debate = await run_debate(question, self._protocol, self._generate, grader)
        if debate.status != DebateStatus.OK:
            raise RequestFailed(_kind(debate), debate.error_message or "")
        heard.whole(sum(turn.completion.output_tokens for turn in debate.turns), _first(debate))

    async def first(self) -> float:
        """Seconds of one request that is not counted."""
        began = time.monotonic()
        await self.ask(next(self._questions), Heard())
        return time.monotonic() - began

    async def offer(self, rate: float) -> dict[str, Any]:
        """The figures of one rate."""
        return await self._live.offer(rate)

    async def state(self) -> State | None:
        """How far it is."""
        return self._live.state()

    async def weight(self) -> dict[str, Any]:
        """Where it ran, and what it holds there, as load.json has it."""
        resident, counted = await self._engines.resident()
        sizes = [model_bytes(resolve_model(ref.name)) for ref in self._refs if not ref.endpoint]
        known = [size for size in sizes if size is not None]
        return {
            "weights_bytes": sum(known) if len(known) == len(sizes) else None,
            "resident_bytes": resident,
            "resident": counted,
            "gpu_bytes": gpu_bytes(self._gpus),
            "machine": machine(),
        }


def _kind(debate: Debate) -> str:
    if debate.status == DebateStatus.PROMPT_TOO_LONG:
        return "prompt too long"
    return TIMEOUT if debate.error_type == TimeoutError.__name__ else str(debate.error_type)


def _first(debate: Debate) -> float | None:
    """When the first token of an arm that answers alone came, by time.monotonic()."""
    if len(debate.turns) != 1:
        return None
    completion = debate.turns[0].completion
    if completion.first_token_s is None:
        return None
    return time.monotonic() - (completion.latency_s - completion.first_token_s)
