"""Evaluation of a process reward model on the questions held out of `datasets/NAME/steps`.

`eval/NAME/scores` has every held-out question with the scores of its solutions, `prm.json` the
figures: against the labels, against the true steps where the task knows them, and best of n over
the first answers of the traces.
"""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import ray

from agentark_ray.config import Config
from agentark_ray.debate.vote import majority
from agentark_ray.debate_rows import Row, light_rows
from agentark_ray.distill.pad import SOLUTIONS_SCHEMA, prompt_of
from agentark_ray.distill.steps import step_texts
from agentark_ray.grading.base import GradingTimeout
from agentark_ray.run_folder import RunFolder
from agentark_ray.session import remote
from agentark_ray.tasks.registry import TASKS
from agentark_ray.train.dataset import parquet
from agentark_ray.train.prm import load_scorer
from agentark_ray.train.prm_metrics import BestOfTally, Sample, StepTally

FIGURES = "prm.json"
QUESTIONS_A_BATCH = 64
SCORES_SCHEMA = SOLUTIONS_SCHEMA.append(
    pa.field("scores", pa.list_(pa.list_(pa.float32())))  # p(good) of a solution's steps
)


class ScoreActor:
    """Held-out rows of SOLUTIONS_SCHEMA -> rows of SCORES_SCHEMA."""

    def __init__(self, folder: RunFolder, config: Config, model: str, device: str) -> None:
        self._scorer = load_scorer(folder, config, model, device)

    def __call__(self, block: pa.Table) -> pa.Table:
        rows = block.filter(pc.field("held_out")).to_pylist()
        asked = [(prompt_of(row).prompt, s["text"]) for row in rows for s in row["solutions"]]
        scores = iter(self._scorer.score([p for p, _ in asked], [text for _, text in asked]))
        scored = [{**row, "scores": [next(scores) for _ in row["solutions"]]} for row in rows]
        return pa.Table.from_pylist(scored, schema=SCORES_SCHEMA)


def evaluate_prm(folder: RunFolder, config: Config, model: str, name: str) -> dict[str, Any]:
    """Score and count; the figures, which are also written.

    Args:
        folder: the run.
        config: its config.
        model: the folder of the run in which the process reward model is.
        name: of the data set it was trained on.
    """
    out, on_gpu = f"eval/{name}", config.gpus_per_engine > 0
    folder.remove(out, "scores")
    ray.data.DataContext.get_current().enable_progress_bars = False
    steps = ray.data.read_parquet(folder.path("datasets", name, "steps"))
    steps.select_columns(SOLUTIONS_SCHEMA.names).map_batches(
        ScoreActor,
        fn_constructor_args=(folder, config, model, "cuda" if on_gpu else "cpu"),
        batch_size=QUESTIONS_A_BATCH,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=config.train.workers),
        num_cpus=1,
        num_gpus=int(on_gpu),
    ).write_parquet(folder.path(out, "scores"), compression="zstd")
    figures = remote(count_scores, folder, f"{out}/scores")
    folder.write_json(figures, out, FIGURES)
    return figures


def count_scores(folder: RunFolder, name: str) -> dict[str, Any]:
    """The figures of the scored questions in a folder of the run.

    `labels_vs_truth` are labels read as scores: how good the labels are.
    """
    labels, truth, quality, best = StepTally(), StepTally(), StepTally(), BestOfTally()
    for row in light_rows([parquet(folder, name)], SCORES_SCHEMA.names):
        samples = []
        for solution, scores in zip(row["solutions"], row["scores"], strict=True):
            labels.add(scores, solution["labels"])
            true = true_labels(row, solution["text"])
            if true is not None:
                truth.add(scores, true)
                known = [None if good is None else float(good) for good in solution["labels"]]
                quality.add(*_both_known(known, true))
            samples.append(Sample(times=solution["first"], right=solution["right"], scores=scores))
        best.add(samples, vote_right(row))
    return {
        "labels": labels.figures(),
        "truth": truth.figures(),
        "labels_vs_truth": quality.figures(),
        "best_of_n": best.figures(),
    }


def true_labels(row: Row, text: str) -> list[bool | None] | None:
    """Whether a solution is right after each of its steps; None where the task does not know."""
    known = TASKS[row["task"]].step_truth
    return None if known is None else known(row["question"], step_texts(text))


def _both_known(
    labels: Sequence[float | None], truth: Sequence[bool | None]
) -> tuple[list[float], list[bool | None]]:
    pairs = [pair for pair in zip(labels, truth, strict=True) if pair[0] is not None]
    return [label for label, _ in pairs if label is not None], [true for _, true in pairs]


def vote_right(row: Row) -> float:
    """Whether the leading one among a question's first answers is right."""
    grader = TASKS[row["task"]].grader
    first = [solution for solution in row["solutions"] for _ in range(solution["first"])]

    def equal(a: str, b: str) -> bool:
        try:
            return grader.equal(a, b)
        except GradingTimeout:
            return False

    answer, _ = majority([solution["answer"] for solution in first], equal)
    return float(any(s["right"] for s in first if s["answer"] == answer and answer is not None))
