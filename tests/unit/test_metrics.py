"""Statistics against hand arithmetic and published values, and what must hold for all inputs."""

import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentark_ray.evaluate.metrics import (
    Latency,
    SelfCorrection,
    latency,
    percentile,
    ratio,
)
from agentark_ray.evaluate.paired import mcnemar
from agentark_ray.evaluate.statistics import mcnemar_p, wilson
from agentark_ray.round_tally import RoundResult, RoundTally

COUNTS = st.tuples(st.integers(0, 2_000), st.integers(1, 2_000)).map(lambda t: (min(t), max(t)))
VALUES = st.lists(st.floats(0, 1e6), min_size=1, max_size=50)


@pytest.mark.parametrize(
    ("correct", "n", "low", "high"),
    [
        # z = 1.96, z^2 = 3.8415; 8 of 10: centre .716728, half width .226555
        (8, 10, 0.490162, 0.943318),
        # Newcombe 1998, table I: 81 of 263, and 0 of 20
        (81, 263, 0.2553, 0.3662),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_is_as_published(correct: int, n: int, low: float, high: float) -> None:
    assert wilson(correct, n) == pytest.approx((low, high), abs=1e-4)


def test_wilson_of_nothing_is_everything() -> None:
    assert wilson(0, 0) == (0.0, 1.0)


@given(COUNTS)
def test_wilson_contains_the_estimate_and_stays_a_share(counts: tuple[int, int]) -> None:
    correct, n = counts
    low, high = wilson(correct, n)
    assert 0 <= low <= correct / n <= high <= 1
    assert low < high


@given(COUNTS)
def test_wilson_of_wrong_answers_mirrors_that_of_right_ones(counts: tuple[int, int]) -> None:
    correct, n = counts
    low, high = wilson(correct, n)
    assert wilson(n - correct, n) == pytest.approx((1 - high, 1 - low), abs=1e-9)


@pytest.mark.parametrize(
    ("q", "expected"),
    # four values, ranks 0..3: p50 is rank 1.5, p95 rank 2.85, p99 rank 2.97
    [(0, 10), (50, 25), (95, 38.5), (99, 39.7), (100, 40)],
)
def test_percentiles_are_linear_between_ranks(q: float, expected: float) -> None:
    assert percentile([40, 10, 30, 20], q) == pytest.approx(expected)


def test_a_percentile_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 95)


@given(VALUES)
def test_percentiles_rise_with_q_and_stay_within_the_values(values: list[float]) -> None:
    found = [percentile(values, q) for q in (0, 50, 95, 99, 100)]
    assert all(a <= b or math.isclose(a, b) for a, b in pairwise(found))
    assert (found[0], found[-1]) == (min(values), max(values))


def test_latency_is_rounded_to_microseconds_and_counted() -> None:
    assert latency([10.00004, 20.0, 30.0]) == Latency(p50=20.0, p95=29.0, p99=29.8, n=3)
    assert latency([]) is None


@pytest.mark.parametrize(
    ("first", "second", "p"),
    [
        (0, 0, 1.0),
        (0, 6, 2 / 64),
        (1, 5, 2 * (1 + 6) / 64),
        (2, 8, 2 * (1 + 10 + 45) / 1024),
        (5, 5, 1.0),
    ],
)
def test_mcnemar_counts_coin_flips(first: int, second: int, p: float) -> None:
    assert mcnemar_p(first, second) == pytest.approx(p, rel=1e-12)


@given(st.integers(0, 300), st.integers(0, 300))
def test_mcnemar_is_symmetric_and_a_probability(first: int, second: int) -> None:
    p = mcnemar_p(first, second)
    assert p == mcnemar_p(second, first)
    assert 0 < p <= 1


@given(st.integers(0, 100), st.integers(0, 100))
def test_mcnemar_falls_as_the_imbalance_grows(least: int, more: int) -> None:
    assert mcnemar_p(least, least + more + 1) <= mcnemar_p(least, least + more)


def test_mcnemar_of_many_pairs_neither_overflows_nor_loses_its_value() -> None:
    # z = (20000 - 1) / sqrt(20000) = 141: zero in floating point, not an error
    assert mcnemar_p(0, 20_000) == 0.0
    # z = (10100 - 9900 - 1) / sqrt(20000) = 1.4071, two-sided 0.1594
    assert mcnemar_p(9_900, 10_100) == pytest.approx(0.1594, abs=1e-4)


def test_mcnemar_pairs_on_common_questions_only() -> None:
    first = {"a": True, "b": True, "c": False, "only first": True}
    second = {"a": True, "b": False, "c": False, "only second": True}
    found = mcnemar(first, second)
    assert (found.pairs, found.only_first, found.only_second, found.p) == (3, 1, 0, 1.0)


def test_rates_are_shares_of_what_was_there_before() -> None:
    found = SelfCorrection(wrong_before=8, fixed=2, right_before=12, broken=3)
    assert (found.fixed_rate, found.broken_rate) == (0.25, 0.25)


def test_a_rate_of_nothing_is_none() -> None:
    found = SelfCorrection(wrong_before=0, fixed=0, right_before=4, broken=1)
    assert (found.fixed_rate, found.broken_rate) == (None, 0.25)
    assert ratio(1, 0) is None


def vote(round_: int, count: int, verdict: str) -> dict[str, Any]:
    return {"round": round_, "count": count, "agents": 5, "verdict": verdict}


def test_a_stopped_debate_keeps_its_last_vote_and_failed_ones_count_as_wrong() -> None:
    tally = RoundTally()
    tally.add([vote(0, 5, "correct")])
    tally.add([vote(1, 4, "correct"), vote(0, 2, "incorrect")])
    # Two more failed. Agreement: (5/5 + 2/5) / 2, then (5/5 + 4/5) / 2.
    assert tally.results(graded=4) == [
        RoundResult(round=0, agreement=0.7, vote_accuracy=1 / 4, running=1.0),
        RoundResult(round=1, agreement=0.9, vote_accuracy=2 / 4, running=0.5),
    ]
    assert tally.results(graded=0)[1].vote_accuracy is None


def test_no_debate_has_no_rounds() -> None:
    assert RoundTally().results(graded=3) == []
