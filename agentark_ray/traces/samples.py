"""Samples of single agents on the training questions, up to what the debates on them cost.

A debate's first answers are such samples already: nobody has read anybody yet. The control rft
(distill/rft.py) spends the debate's output tokens on samples alone, so that it needs more of them:
as many as are expected to fit into what a debate cost beyond its first answers.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from agentark_ray.config import Config, ConfigError
from agentark_ray.debate.protocol import generation_hash
from agentark_ray.debate_rows import light_rows, turn_leaves
from agentark_ray.distill.rft import ALONE, role
from agentark_ray.run_folder import RunFolder
from agentark_ray.traces.read import trace_dataset
from agentark_ray.traces.requests import known_as, request_row, write_rows
from agentark_ray.traces.schema import QUESTION_SCHEMA, REQUEST_SCHEMA
from agentark_ray.types import DebateStatus

ARM = "single"
COSTS = ("status", "output_tokens", *turn_leaves("role", "round", "output_tokens"))
COLUMNS = (
    *COSTS,
    "aliases.list.element",
    *(name for name in QUESTION_SCHEMA.names if name != "aliases"),
)


def write_sample_requests(folder: RunFolder, config: Config, model: str, name: str) -> int:
    """Write requests/`name`.parquet from the run's traces; returns how many samples are asked."""
    return write_rows(folder, _requests(folder, config, model), REQUEST_SCHEMA, f"requests/{name}")


def _requests(folder: RunFolder, config: Config, model: str) -> Iterator[dict[str, Any]]:
    config_hash = generation_hash(config, known_as(folder, model), ARM)
    for trace in light_rows([trace_dataset(folder, "traces")], COLUMNS):
        for replica in range(samples_wanted(trace)):
            yield request_row(trace, config_hash, ARM, replica=replica)


def samples_wanted(trace: Mapping[str, Any]) -> int:
    """Samples as long as the debate's first answers that its other tokens pay for, rounded up."""
    first = first_answers(trace)
    if not sum(first):
        return 0
    mean = sum(first) / len(first)
    return math.ceil((trace["output_tokens"] - sum(first)) / mean)


def first_answers(trace: Mapping[str, Any]) -> list[int]:
    """Output tokens of what agents answered who knew only the question; none if it failed."""
    if trace["status"] != DebateStatus.OK:
        return []
    return [
        turn["output_tokens"]
        for turn in trace["turns"]
        if not turn["round"] and role(turn) in ALONE
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Mean output tokens in the run's debates."""

    debate_tokens: float  # of a finished debate
    answer_tokens: float  # of a first answer in one

    @property
    def samples(self) -> int:
        """Single answers that are expected to cost what a debate costs, to the nearest one."""
        return max(1, round(self.debate_tokens / self.answer_tokens))


def measure_budget(folder: RunFolder) -> Budget:
    """What the run's debates on training questions cost.

    Raises:
        ConfigError: there is no finished debate with answers.
    """
    debates = tokens = answers = answer_tokens = 0
    stored = [trace_dataset(folder, "traces")] if folder.exists("traces") else []
    for trace in light_rows(stored, COSTS):
        if first := first_answers(trace):
            debates, tokens = debates + 1, tokens + trace["output_tokens"]
            answers, answer_tokens = answers + len(first), answer_tokens + sum(first)
    if not answer_tokens:
        raise ConfigError(
            f"{folder.path('traces')}: no finished debate to measure the token budget of"
            " self_consistency with; say evaluate.self_consistency_samples=N"
        )
    return Budget(debate_tokens=tokens / debates, answer_tokens=answer_tokens / answers)
