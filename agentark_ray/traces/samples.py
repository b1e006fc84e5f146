"""Samples of single agents on the training questions, up to what the debates on them cost.

A debate's first answers are such samples already: nobody has read anybody yet. The control rft
(distill/rft.py) spends the debate's output tokens on samples alone, so that it needs more of them:
as many as are expected to fit into what a debate cost beyond its first answers.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from agentark_ray.config import Config
from agentark_ray.debate.protocol import generation_hash
from agentark_ray.debate_rows import light_rows, turn_leaves
from agentark_ray.distill.rft import ALONE, role
from agentark_ray.run_folder import RunFolder
from agentark_ray.traces.read import trace_dataset
from agentark_ray.traces.requests import request_row, write_rows
from agentark_ray.traces.schema import QUESTION_SCHEMA, REQUEST_SCHEMA
from agentark_ray.types import DebateStatus

ARM = "single"
COLUMNS = (
    *("status", "output_tokens", "aliases.list.element"),
    *(name for name in QUESTION_SCHEMA.names if name != "aliases"),
    *turn_leaves("role", "round", "output_tokens"),
)


def write_sample_requests(folder: RunFolder, config: Config, model: str, name: str) -> int:
    """Write requests/`name`.parquet from the run's traces; returns how many samples are asked."""
    return write_rows(folder, _requests(folder, config, model), REQUEST_SCHEMA, f"requests/{name}")


def _requests(folder: RunFolder, config: Config, model: str) -> Iterator[dict[str, Any]]:
    config_hash = generation_hash(config, model, ARM)
    for trace in light_rows([trace_dataset(folder, "traces")], COLUMNS):
        for replica in range(samples_wanted(trace)):
            yield request_row(trace, config_hash, ARM, replica=replica)


def samples_wanted(trace: Mapping[str, Any]) -> int:
    """Samples as long as the debate's first answers that its other tokens pay for, rounded up."""
    if trace["status"] != DebateStatus.OK:
        return 0
    first = [
        turn["output_tokens"]
        for turn in trace["turns"]
        if not turn["round"] and role(turn) in ALONE
    ]
    if not sum(first):
        return 0
    mean = sum(first) / len(first)
    return math.ceil((trace["output_tokens"] - sum(first)) / mean)
