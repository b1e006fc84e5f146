"""Figures of a process reward model, by hand; the AUC also against all pairs."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentark_ray.train.prm_metrics import (
    AGGREGATES,
    BestOfTally,
    Sample,
    StepTally,
    auc,
    best_of,
    first_error,
)


def tally(*solutions: tuple[list[float], list[bool | None]]) -> StepTally:
    found = StepTally()
    for scores, labels in solutions:
        found.add(scores, labels)
    return found


def test_auc_by_hand() -> None:
    # The example of scikit-learn's manual: of four pairs 0.4 (bad) and 0.35 (good) is out of order.
    assert tally(([0.1, 0.4, 0.35, 0.8], [False, False, True, True])).figures()["auc"] == 0.75
    assert tally(([0.1, 0.4, 0.35, 0.8], [False, True, False, True])).figures()["auc"] == 1.0
    assert tally(([0.5, 0.5], [False, True])).figures()["auc"] == 0.5
    assert tally(([0.5, 0.6], [True, True])).figures()["auc"] is None
    assert auc(np.array([1, 2, 0]), np.array([0, 2, 1])) == (2 * (1 + 1) + 3) / 9


SCORED = st.lists(st.tuples(st.integers(0, 100), st.booleans()), min_size=1, max_size=30)


@given(SCORED)
def test_auc_is_the_share_of_pairs_in_order(scored: list[tuple[int, bool]]) -> None:
    found = tally(([s / 100 for s, _ in scored], [g for _, g in scored])).figures()["auc"]
    pairs = [(g, b) for g, good in scored if good for b, bad in scored if not bad]
    if not pairs:
        assert found is None
        return
    ordered = sum((g > b) + (g == b) / 2 for g, b in pairs)
    assert found == pytest.approx(ordered / len(pairs))


def test_accuracy_counts_known_steps() -> None:
    figures = tally(
        ([0.5, 0.49, 1.0], [True, True, None]), ([0.2, 0.9], [False, False]), ([0.0], [None])
    ).figures()
    assert figures["steps"] == 4
    assert figures["good_share"] == 0.5
    assert figures["accuracy"] == 0.5


def test_first_errors_by_hand() -> None:
    assert first_error([True, False, False]) == 1
    assert first_error([True, True]) is None
    figures = tally(
        ([0.9, 0.2, 0.9], [True, False, False]),  # found
        ([0.2, 0.2], [True, False]),  # too early
        ([0.9, 0.9], [True, False]),  # missed
        ([0.9, 0.1], [False, False]),  # too late
        ([0.9, 0.5], [True, True]),  # accepted
        ([0.9, 0.4], [True, True]),  # called wrong
        ([0.9, 0.4], [True, None]),  # not known
    ).figures()["first_error"]
    assert figures["solutions"] == 6
    assert (figures["wrong_found"], figures["right_accepted"]) == (0.25, 0.5)
    assert figures["f1"] == pytest.approx(2 * 0.25 * 0.5 / 0.75)
    nothing = tally(([0.9], [True])).figures()["first_error"]
    assert (nothing["wrong_found"], nothing["f1"]) == (None, None)
    assert tally(([0.9], [False]), ([0.1], [True])).figures()["first_error"]["f1"] == 0.0


def sample(times: int, right: bool, *scores: float) -> Sample:
    return Sample(times=times, right=right, scores=scores)


def test_the_best_of_a_question() -> None:
    samples = [sample(3, False, 0.9, 0.8, 0.1), sample(1, True, 0.5, 0.5, 0.6)]
    found = {name: best_of(samples, chosen) for name, chosen in AGGREGATES.items()}
    assert found == {"min": 1.0, "mean": 0.0, "last": 1.0}
    alike = [sample(3, False, 0.5), sample(1, True, 0.5)]
    assert best_of(alike, min) == 0.25
    assert best_of([sample(1, True), sample(1, False, 0.1)], AGGREGATES["min"]) == 0.0


def test_lift_by_hand() -> None:
    found = BestOfTally()
    found.add([sample(3, False, 0.1), sample(1, True, 0.9), sample(0, False, 1.0)], 0.0)
    found.add([sample(2, True, 0.3), sample(2, False, 0.6)], 1.0)
    found.add([sample(1, True, 0.9)], 1.0)  # a single sample tells nothing
    figures = found.figures()
    assert (figures["questions"], figures["n"], figures["single"]) == (2, 4, 0.375)
    # lifts 0.75 and -0.5: mean 0.125, deviation 0.625
    assert figures["min"]["accuracy"] == 0.5
    assert figures["min"]["lift"] == 0.125
    assert figures["min"]["stderr"] == round(0.625 / math.sqrt(2), 4)
    assert figures["vote"]["accuracy"] == 0.5
    assert figures["any"]["accuracy"] == 1.0
    assert BestOfTally().figures() == {"questions": 0}
