"""Scores of solutions by arm: which are asked for, and how they are summed up."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import dataset

from agentark_ray.debate.layouts import ask
from agentark_ray.distill.steps import step_texts
from agentark_ray.grading.numeric import INSTRUCTION
from agentark_ray.step_scores import score_solutions
from agentark_ray.types import Message
from tests.unit.debates import debate, said


class LastDigit:
    """A step is as good as the digit that it ends with, in tenths."""

    def __init__(self) -> None:
        self.prompts: list[Sequence[Message]] = []

    def score(
        self, prompts: Sequence[Sequence[Message]], texts: Sequence[str]
    ) -> list[list[float]]:
        self.prompts += prompts
        return [[int(step[-1]) / 10 for step in step_texts(text)] for text in texts]


def stored(path: Path, *rows: dict[str, Any]) -> list[dataset.Dataset]:
    pq.write_table(pa.Table.from_pylist(list(rows)), path / "a.parquet")
    return [dataset.dataset(path, format="parquet")]


def row(arm: str, question_id: str, *texts: str, **more: Any) -> dict[str, Any]:
    turns = [said(text) for text in texts]
    return debate(turns, arm=arm, question_id=question_id, **more)


def test_means_and_least_scores_by_hand(tmp_path: Path) -> None:
    scorer = LastDigit()
    rows = stored(
        tmp_path,
        row("single", "a", "so 8\nso 4"),  # mean 0.6, least 0.4
        row("single", "b", "so 9"),
        row("single", "c", "so 1"),  # one question too many
        row("single", "a", "so 1", kind="latency"),
        row("single_check", "a", "so 1"),
        row("debate", "a", "so 2", "so 6"),
        row("debate", "b", "so 1", status="failed"),
        row("debate", "b", ""),  # says nothing: no step
    )
    found = score_solutions(rows, scorer, questions=2)
    assert found == {
        "single": {
            "solutions": 2,
            "mean": pytest.approx((0.6 + 0.9) / 2),
            "min": pytest.approx((0.4 + 0.9) / 2),
        },
        "debate": {"solutions": 2, "mean": pytest.approx(0.4), "min": pytest.approx(0.4)},
    }
    asked = ask("How many?", INSTRUCTION)
    assert scorer.prompts == [[{"role": "user", "content": asked}]] * 5
