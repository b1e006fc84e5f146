"""Scores of a process reward model for the solutions of every arm, on the same few questions."""

from collections import defaultdict
from collections.abc import Sequence
from statistics import fmean
from typing import Any, Protocol

import ray
from pyarrow import dataset

from agentark_ray.config import Config
from agentark_ray.debate.layouts import ask, chat
from agentark_ray.debate_rows import Row, light_rows
from agentark_ray.evaluate.step_quality import QUALITY_COLUMNS, is_main, last_solutions
from agentark_ray.run_folder import RunFolder
from agentark_ray.session import TASK_RETRIES
from agentark_ray.tasks.registry import TASKS
from agentark_ray.traces.read import trace_dataset
from agentark_ray.train.prm import load_scorer
from agentark_ray.types import Message

QUESTIONS = 100  # those with the least ids: the same for every arm
SOLUTIONS_AT_ONCE = 256
NAMES = ("question_id", "arm", "kind", "status")


class Scorer(Protocol):
    """What is asked of a process reward model (train/prm.py)."""

    def score(
        self, prompts: Sequence[Sequence[Message]], texts: Sequence[str]
    ) -> list[list[float]]:
        """p(good) at the end of every step of every text."""
        ...


def prm_scores(
    folder: RunFolder, config: Config, model: str, names: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Arm -> what the reward model in the folder `model` of the run says of its solutions.

    `mean` and `min` are means over solutions of the mean and the least p(good) of their steps.
    `names` are the folders of transcripts. It runs in one task of the cluster.
    """
    on_gpu = config.gpus_per_engine > 0
    task = ray.remote(num_cpus=1, num_gpus=int(on_gpu), max_retries=TASK_RETRIES)(_score)
    return ray.get(task.remote(folder, config, model, names, "cuda" if on_gpu else "cpu"))


def _score(
    folder: RunFolder, config: Config, model: str, names: Sequence[str], device: str
) -> dict[str, dict[str, Any]]:
    stored = [trace_dataset(folder, name) for name in names]
    found = score_solutions(stored, load_scorer(folder, config, model, device))
    return {arm: {"model": model, **figures} for arm, figures in found.items()}


def score_solutions(
    stored: Sequence[dataset.Dataset], scorer: Scorer, questions: int = QUESTIONS
) -> dict[str, dict[str, Any]]:
    """Arm -> figures of the solutions to so many questions; solutions without a step have none."""
    ids = {row["question_id"] for row in light_rows(stored, NAMES) if is_main(row)}
    wanted = set(sorted(ids)[:questions])
    found: dict[str, list[list[float]]] = defaultdict(list)
    waiting: list[tuple[Row, str]] = []
    for row in light_rows(stored, QUALITY_COLUMNS):
        if is_main(row) and row["question_id"] in wanted:
            waiting += [(row, text) for text in last_solutions(row)]
        if len(waiting) >= SOLUTIONS_AT_ONCE:
            _flush(scorer, waiting, found)
    _flush(scorer, waiting, found)
    return {
        arm: {
            "solutions": len(scores),
            "mean": fmean(map(fmean, scores)),
            "min": fmean(map(min, scores)),
        }
        for arm, scores in found.items()
        if scores
    }


def _flush(
    scorer: Scorer, waiting: list[tuple[Row, str]], found: dict[str, list[list[float]]]
) -> None:
    prompts = [
        chat("", [ask(row["question"], TASKS[row["task"]].grader.instruction)])
        for row, _ in waiting
    ]
    scores = scorer.score(prompts, [text for _, text in waiting])
    for (row, _), score in zip(waiting, scores, strict=True):
        if score:  # a text without a step has none
            found[row["arm"]].append(score)
    waiting.clear()
