"""Step labels by Monte-Carlo completions (Math-Shepherd, 2312.08935) through the debate's engines.

A row is a question with its solutions (distill/pad.py). Each different beginning of them, up to the
end of a step, is completed K times by the model itself; the task's grader reads every completed
solution. Steps follow each other, the K completions run at once: so an engine holds at most
`engine.in_flight` x K of them.
"""

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import pyarrow as pa

from agentark_ray.config import Config
from agentark_ray.debate.protocol import arm_protocol
from agentark_ray.distill.pad import SOLUTIONS_SCHEMA, prompt_of
from agentark_ray.distill.step_labels import prefix_texts, rollout_labels, rollout_shares
from agentark_ray.engine.base import EngineDead, PromptTooLong
from agentark_ray.engine.settings import refs_of
from agentark_ray.run_folder import RunFolder
from agentark_ray.strategy import PrmConfig
from agentark_ray.tasks.registry import TASKS
from agentark_ray.traces.asking import AskingActor, table
from agentark_ray.traces.deaths import Past
from agentark_ray.traces.generate import ask_each_once, verify_traces
from agentark_ray.types import Completion, DebateStatus, Message, ModelRef, Verdict

Row = Mapping[str, Any]
TOKENS = ("output_tokens", "prompt_tokens", "cached_tokens")
ROLLOUTS_SCHEMA = pa.schema(
    [
        *SOLUTIONS_SCHEMA,
        pa.field("status", pa.string()),  # a DebateStatus
        pa.field("error", pa.string()),
        pa.field("completions", pa.int32()),
        *(pa.field(name, pa.int64()) for name in TOKENS),
    ]
)


def generate_rollouts(
    folder: RunFolder,
    config: Config,
    prm: PrmConfig,
    model: str,
    source: str,
    out: str,
    progress: Any,
) -> None:
    """Label every row of the folder `source` of the run that is not in its folder `out` yet.

    Must not run twice at once in a folder.

    Raises:
        ConfigError, ray.exceptions.RayTaskError, ray.exceptions.RayActorError: as generate_traces.
    """
    refs = refs_of(config, arm_protocol(config, "single").speakers, model)
    actor = partial(RolloutActor, config, prm, model, refs, progress)
    ask_each_once(folder, config, refs, folder.path(source), out, "question_id", actor)


def verify_rollouts(folder: RunFolder, config: Config, out: str, expected: int) -> dict[str, int]:
    """`verify_traces` of labelled questions: each is there once.

    Raises:
        Incomplete: rows are missing, or more failed than the config allows.
    """
    return verify_traces(folder, config, out, expected, "question_id")


class RolloutActor(AskingActor):
    """Turns a block of questions (SOLUTIONS_SCHEMA) into labelled ones (ROLLOUTS_SCHEMA)."""

    def __init__(
        self, config: Config, prm: PrmConfig, model: str, refs: Sequence[ModelRef], progress: Any
    ) -> None:
        super().__init__(config, refs, progress)
        self._prm = prm
        (speaker,) = arm_protocol(config, "single").speakers
        self._sampling = speaker.sampling
        self._generate = self._engines.generate([speaker] * prm.rollouts, model)

    async def __call__(self, block: pa.Table) -> pa.Table:
        """Label the solutions of every question of a block.

        Raises:
            TooManyFailures, EnginesKeepDying: the job as a whole is failing.
        """
        rows = block.select(SOLUTIONS_SCHEMA.names).to_pylist()
        async with self.block([row["question_id"] for row in rows]) as past:
            labelled = await asyncio.gather(*(self._label(row, past) for row in rows))
        return await table(labelled, ROLLOUTS_SCHEMA)

    async def _label(self, row: Row, past: Past) -> dict[str, Any]:
        said: dict[str, list[Completion]] = {}
        error: Exception | None = self.killed(row["question_id"], past)
        if error is None:
            async with self.holding(row["question_id"], past):
                error = await self._complete(row, said)
        shares = {} if error else await self._grade(row, said)
        completions = [one for some in said.values() for one in some]
        sums = {name: sum(getattr(one, name) for one in completions) for name in TOKENS}
        words = f"{type(error).__name__}: {error}" if error else None
        await self.count(
            words,
            done=1,
            failed=int(error is not None),
            output_tokens=sums["output_tokens"],
            prompt_tokens=sums["prompt_tokens"],
        )
        return {
            **row,
            "solutions": [self._labelled(solution, shares) for solution in row["solutions"]],
            "status": DebateStatus.FAILED if error else DebateStatus.OK,
            "error": words,
            "completions": len(completions),
            **sums,
        }

    async def _complete(self, row: Row, said: dict[str, list[Completion]]) -> Exception | None:
        """Fill `said` with completions by what they complete; why that failed, or None.

        A beginning that leaves no room in the context has none.
        """
        prompt = prompt_of(row).prompt
        whole = [solution["text"] for solution in row["solutions"] if solution["whole"]]
        for prefix in dict.fromkeys(prefix for text in whole for prefix in prefix_texts(text)):
            messages: list[Message] = [*prompt, {"role": "assistant", "content": prefix}]
            found = await asyncio.gather(
                *(self._generate(k, messages, self._sampling) for k in range(self._prm.rollouts)),
                return_exceptions=True,
            )
            errors = [one for one in found if isinstance(one, BaseException)]
            for error in sorted(errors, key=lambda error: not isinstance(error, EngineDead)):
                if isinstance(error, EngineDead) or not isinstance(error, Exception):
                    raise error
                if not isinstance(error, PromptTooLong):
                    return error
            said[prefix] = [one for one in found if isinstance(one, Completion)]
        return None

    async def _grade(
        self, row: Row, said: Mapping[str, Sequence[Completion]]
    ) -> dict[str, list[str | None]]:
        """The verdicts of what was completed."""
        grader = TASKS[row["task"]].grader

        def verdicts() -> dict[str, list[str | None]]:
            return {
                prefix: [
                    grader.verdict(grader.extract(prefix + one.text), row["gold"], row["aliases"])
                    for one in some
                ]
                for prefix, some in said.items()
            }

        return await asyncio.to_thread(verdicts) if grader.slow else verdicts()

    def _labelled(
        self, solution: Row, verdicts: Mapping[str, Sequence[str | None]]
    ) -> dict[str, Any]:
        """A solution with shares and labels; without any where nothing was completed."""
        text = solution["text"]
        if not solution["whole"] or not all(prefix in verdicts for prefix in prefix_texts(text)):
            return {**solution, "shares": [None] * len(solution["labels"])}
        verdict = Verdict.CORRECT if solution["right"] else Verdict.INCORRECT
        shares = rollout_shares([verdicts[prefix] for prefix in prefix_texts(text)], verdict)
        return {
            **solution,
            "shares": shares,
            "labels": rollout_labels(shares, self._prm.rollout_above),
        }
