"""Perplexity of gold reasoning: how likely models find the worked solutions of held-out questions.

Only some tasks have such solutions (`Question.solution`). All models read the same ones, after the
prompt of an arm that answers alone.
"""

import heapq
import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import ray

from agentark_ray.config import Config
from agentark_ray.debate.layouts import ask, chat
from agentark_ray.engine.settings import gpus_of, settings_of
from agentark_ray.models import local_model
from agentark_ray.run_folder import RunFolder
from agentark_ray.session import TASK_RETRIES, remote
from agentark_ray.tasks.registry import TASKS
from agentark_ray.traces.requests import stored_questions
from agentark_ray.train.gold import GoldReader
from agentark_ray.types import Message, ModelRef, Split

SOLUTIONS = 200  # of the questions with the least ids: the same for every arm

Row = Mapping[str, Any]


class Reader(Protocol):
    """What is asked of a model (train/gold.py)."""

    def read(self, messages: Sequence[Message], solution: str) -> tuple[float, int] | None:
        """Nats and tokens of a solution; None if it cannot be read."""
        ...


def gold_perplexity(
    folder: RunFolder, config: Config, models: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """Arm -> figures of its model; empty if the questions have no solutions.

    `models` has the folder, URI or Hugging Face id of every arm's model. Each
    is read in a task of the cluster, one after the other.
    """
    rows: Any = remote(gold_rows, folder)
    found: dict[str, dict[str, Any]] = {}
    for arm, model in models.items() if rows else ():
        gpus = gpus_of(config, ModelRef(name=model))
        task: Any = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=TASK_RETRIES)(_read)
        found[arm] = ray.get(task.remote(config, model, gpus, rows))
    return found


def gold_rows(folder: RunFolder, limit: int = SOLUTIONS) -> list[Row]:
    """Questions with a solution, those with the least ids."""
    names = ("question_id", "question", "task", "solution")
    with_one = (
        {name: row[name] for name in names}
        for row in stored_questions(folder, Split.EVAL)
        if row.get("solution")
    )
    return heapq.nsmallest(limit, with_one, key=lambda row: row["question_id"])


def _read(config: Config, model: str, gpus: int, rows: Sequence[Row]) -> dict[str, Any]:
    engine = settings_of(config, ModelRef(name=model))
    reader = GoldReader.load(
        local_model(model), engine.chat_template_kwargs, gpus, engine.trust_remote_code
    )
    return read_solutions(reader, rows)


def read_solutions(reader: Reader, rows: Sequence[Row]) -> dict[str, Any]:
    """Mean negative log-likelihood of a token in nats (`nll`), and `perplexity`, its exponential.

    Every token counts alike. Both are None if no solution could be read.
    """
    read = []
    for row in rows:
        asked = chat("", [ask(row["question"], TASKS[row["task"]].grader.instruction)])
        read.append(reader.read(asked, row["solution"]))
    kept = [one for one in read if one is not None]
    tokens = sum(n for _, n in kept)
    nll = math.fsum(nats for nats, _ in kept) / tokens if tokens else None
    return {
        "solutions": len(kept),
        "left_out": len(read) - len(kept),  # longer than the model's context
        "tokens": tokens,
        "nll": nll,
        "perplexity": None if nll is None else math.exp(nll),
    }
