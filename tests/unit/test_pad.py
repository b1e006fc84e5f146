"""Solutions with step labels from debates, by hand."""

from typing import Any

import pyarrow as pa
import pytest

from agentark_ray.distill.asked import asked
from agentark_ray.distill.pad import SOLUTIONS_SCHEMA, diverging, solutions_row, step_solutions
from agentark_ray.strategy import PrmConfig
from agentark_ray.tasks.base import content_id, is_held_out
from tests.unit.debates import WRONG, debate, said

GOLD = "2 + 3 = 5.\n5 - 1 = 4.\nSo 4"
SLIP = "2 + 3 = 5.\n5 - 1 = 3.\nSo 3"  # leaves GOLD at its second step
OTHER = "2 + 3 = 6.\n6 - 1 = 5.\nSo 5"
OUTCOME, DIVERGENCE = PrmConfig(step_labels="outcome"), PrmConfig(step_labels="divergence")


def labels(prm: PrmConfig, *turns: dict[str, Any]) -> dict[str, list[bool | None]]:
    found = step_solutions(asked([debate(list(turns))]), prm, None)
    return {solution.text: solution.labels for solution in found}


def test_outcome_says_what_the_verdict_says() -> None:
    assert labels(OUTCOME, said(GOLD), said(SLIP, WRONG), said("I give up.", "unparsable")) == {
        GOLD: [True] * 3,
        SLIP: [False] * 3,
        "I give up.": [False],
    }


def test_divergence_takes_the_right_solution_that_is_followed_longest() -> None:
    found = labels(DIVERGENCE, said("So 4, as 2 + 3 - 1 = 4."), said(GOLD), said(SLIP, WRONG))
    assert found[SLIP] == [True, False, False]
    assert found[GOLD] == [True] * 3
    assert labels(DIVERGENCE, said(SLIP, WRONG)) == {SLIP: [None, None, False]}
    assert diverging("", False, []) == []


def test_rollouts_are_left_to_be_made() -> None:
    assert labels(PrmConfig(), said(GOLD), said(SLIP, WRONG)) == {
        GOLD: [None] * 3,
        SLIP: [None] * 3,
    }


def test_nothing_is_known_of_the_steps_of_a_text_that_was_cut() -> None:
    cut = said("2 + 3 = 5.\n5 -", "unparsable", finish_reason="length")
    (found,) = step_solutions(asked([debate([cut])]), OUTCOME, None)
    assert (found.whole, found.right, found.labels) == (False, False, [None, None])
    (empty,) = step_solutions(asked([debate([said("", "unparsable")])]), OUTCOME, None)
    assert (empty.whole, empty.labels) == (False, [])
    # A right solution that was cut is no way to compare with.
    found_ = labels(DIVERGENCE, said(GOLD, finish_reason="length"), said(SLIP, WRONG))
    assert found_[SLIP] == [None, None, False]


def test_first_answers_are_counted_and_equal_texts_are_one() -> None:
    trace = debate(
        [said(GOLD), said(SLIP, WRONG), said(f" {GOLD}\n")], [said(GOLD), said(GOLD), said(OTHER)]
    )
    found = {s.text: s.first for s in step_solutions(asked([trace]), OUTCOME, None)}
    assert found == {GOLD: 2, SLIP: 1, OTHER: 0}


def test_wrong_and_right_ones_take_turns() -> None:
    turns = [*[said(GOLD)] * 3, *[said("It is 4")] * 2, said(SLIP, WRONG), said(OTHER, WRONG)]
    trace = debate(turns)
    chosen = [s.text for s in step_solutions(asked([trace]), OUTCOME, 3)]
    assert chosen == [SLIP, GOLD, OTHER]
    # What is not chosen is still compared with.
    found = {s.text: s.labels for s in step_solutions(asked([trace]), DIVERGENCE, 1)}
    assert found == {SLIP: [True, False, False]}


@pytest.mark.parametrize("verdict", [None, "timeout"])
def test_what_nobody_could_decide_is_no_solution(verdict: str | None) -> None:
    row = solutions_row(asked([debate([said(GOLD, verdict)])]), OUTCOME, False)
    assert (row["solutions"], row["dropped"]) == ([], "ungraded")
    failed = solutions_row(asked([debate([said(GOLD)], status="failed")]), OUTCOME, False)
    assert (failed["solutions"], failed["dropped"]) == ([], "failed")
    double = solutions_row(asked([debate([said(GOLD)])]), OUTCOME, True)
    assert (double["solutions"], double["dropped"]) == ([], "duplicate_question")


def test_held_out_questions_keep_all_their_solutions() -> None:
    prm = PrmConfig(step_labels="outcome", solutions=1, held_out=0.5)
    rows = [
        solutions_row(
            asked([debate([said(GOLD), said(SLIP, WRONG)], question_id=f"q{i}")]), prm, False
        )
        for i in range(60)
    ]
    assert 15 < sum(row["held_out"] for row in rows) < 45
    for row in rows:
        assert row["held_out"] == is_held_out(content_id("prm", row["question_id"]), 0.5)
        assert len(row["solutions"]) == (2 if row["held_out"] else 1)
    table = pa.Table.from_pylist(rows, schema=SOLUTIONS_SCHEMA)
    assert table.to_pylist()[0]["solutions"][0]["text"] == SLIP
    assert table.to_pylist()[0]["gold"] == "4"
