"""Two arms on the same questions: scores against numeric likelihoods, bounds, the bootstrap."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats

from agentark_ray.evaluate.paired import (
    Measure,
    Pair,
    bootstrap,
    bounds,
    detectable,
    difference_score,
    interval,
    pair_of,
    questions_needed,
    ratio_score,
)
from agentark_ray.evaluate.statistics import detectable_difference, wilson

CELLS = st.tuples(*[st.integers(0, 60)] * 4).filter(lambda c: sum(c) > 0)
ANSWERS = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=60)


def pair(both: int, only_first: int, only_second: int, neither: int) -> Pair:
    n = both + only_first + only_second + neither
    return Pair(n=n, both=both, only_first=only_first, only_second=only_second)


def likeliest(cells: tuple[int, ...], only_second: Any, most: float) -> tuple[float, float]:
    """The cells "only first" and "only second" of highest likelihood, searched for.

    `only_second` gives the other cells (both, only second, neither) from "only first".
    """

    def loss(x: float) -> float:
        shares = only_second(x)
        if min(shares) <= 0:
            return 1e9
        return -sum(count * math.log(p) for count, p in zip(cells, shares, strict=True))

    found = optimize.minimize_scalar(
        loss, bounds=(0, most), method="bounded", options={"xatol": 1e-10}
    )
    shares = only_second(found.x)
    return shares[1], shares[2]


@pytest.mark.parametrize("ratio", [0.8, 0.95, 1.05])
@pytest.mark.parametrize("cells", [(60, 12, 20, 8), (30, 5, 9, 56), (80, 3, 10, 7)])
def test_the_ratio_score_has_the_variance_of_the_likeliest_cells(
    cells: tuple[int, int, int, int], ratio: float
) -> None:
    n, known = sum(cells), sum(cells[:3]) / sum(cells)

    def shares(x: float) -> tuple[float, float, float, float]:
        second = ratio * x + (1 - ratio) * known
        return known - x - second, x, second, 1 - known

    first, second = likeliest(cells, shares, known)
    both, only_first, only_second, _ = cells
    gap = both + only_first - ratio * (both + only_second)
    expected = gap / math.sqrt(n * ratio * (first + second))
    assert float(ratio_score(pair(*cells), ratio)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("difference", [-0.1, -0.02, 0.05])
@pytest.mark.parametrize("cells", [(60, 12, 20, 8), (30, 5, 9, 56), (80, 3, 10, 7)])
def test_the_difference_score_has_the_variance_of_the_likeliest_cells(
    cells: tuple[int, int, int, int], difference: float
) -> None:
    n = sum(cells)
    same = (cells[0] + cells[3]) / n  # how the concordant cells share what is left

    def shares(x: float) -> tuple[float, float, float, float]:
        left = 1 - 2 * x + difference
        return left * cells[0] / n / same, x, x - difference, left * cells[3] / n / same

    first, second = likeliest(cells, shares, 0.6)
    expected = (cells[1] - cells[2] - n * difference) / math.sqrt(
        n * (first + second - difference**2)
    )
    assert float(difference_score(pair(*cells), difference)) == pytest.approx(expected, rel=1e-5)


def test_without_a_difference_the_score_is_mcnemars() -> None:
    assert float(difference_score(pair(5, 12, 4, 9), 0.0)) == pytest.approx(8 / math.sqrt(16))
    assert float(ratio_score(pair(5, 12, 4, 9), 1.0)) == pytest.approx(8 / math.sqrt(16))


def test_a_difference_by_hand() -> None:
    # No pair disagrees: n = 50, the interval is +-d with d * n / sqrt(n * d * (1 - d)) = z,
    # so d = z^2 / (n + z^2) = 3.8415 / 53.8415.
    low, high = interval(pair(40, 0, 0, 10), "difference", 0.95)
    assert (low, high) == pytest.approx((-0.071347, 0.071347), abs=1e-6)


def test_against_a_debate_that_is_always_right_the_ratio_is_wilsons() -> None:
    low, high = interval(pair(81, 0, 182, 0), "ratio", 0.95)
    assert (low, high) == pytest.approx(wilson(81, 263), abs=1e-6)


@pytest.mark.parametrize("measure", ["ratio", "difference"])
@given(CELLS)
def test_bounds_are_in_order_and_hold_the_estimate(
    measure: Measure, cells: tuple[int, ...]
) -> None:
    found = pair(*cells)
    if measure == "ratio" and not found.second:
        return
    value = found.first / found.second if measure == "ratio" else found.first - found.second
    low, high = bounds(found, measure, 0.95)
    assert low <= value + 1e-6
    assert value - 1e-6 <= high
    wide = bounds(found, measure, 0.99)
    assert wide[0] <= low + 1e-9
    assert high <= wide[1] + 1e-9
    inner = interval(found, measure, 0.9)  # without the correction of half a question
    assert low <= inner[0] + 1e-6
    assert inner[1] - 1e-6 <= high


@given(CELLS)
def test_swapping_the_arms_mirrors_the_difference(cells: tuple[int, ...]) -> None:
    both, first, second, neither = cells
    low, high = bounds(pair(both, first, second, neither), "difference", 0.95)
    assert bounds(pair(both, second, first, neither), "difference", 0.95) == pytest.approx(
        (-high, -low), abs=1e-9
    )


@given(ANSWERS)
def test_one_answer_each_makes_whole_cells(answers: list[tuple[bool, bool]]) -> None:
    found = pair_of([a for a, _ in answers], [b for _, b in answers])
    assert (found.n, found.both) == (len(answers), sum(a and b for a, b in answers))
    assert found.only_first == sum(a and not b for a, b in answers)
    assert found.only_second == sum(b and not a for a, b in answers)


def test_the_same_answer_four_times_is_known_no_better_than_once() -> None:
    rng = np.random.default_rng(3)
    first, second = rng.random(200) < 0.7, rng.random(200) < 0.8
    once, often = pair_of(first, second), pair_of(first, second, samples=4)
    assert bounds(often, "ratio", 0.95) == pytest.approx(bounds(once, "ratio", 0.95), abs=1e-9)


def test_several_different_answers_to_a_question_make_the_interval_narrower() -> None:
    rng = np.random.default_rng(4)
    hard = rng.random(300)
    first, second = (rng.binomial(4, hard) / 4 for _ in range(2))
    low, high = interval(pair_of(first, second, samples=4), "difference", 0.95)
    # A question's difference has the variance s^2, its mean s / sqrt(300).
    assert (high - low) / 2 == pytest.approx(1.96 * (first - second).std() / 300**0.5, rel=0.05)
    assert high - low < 0.7 * np.subtract(
        *interval(pair_of(first, second), "difference", 0.95)[::-1]
    )


def test_many_evaluations_at_once_are_each_as_alone() -> None:
    counts = np.array([[60, 12, 20, 8], [30, 5, 9, 56]]).T
    many = bounds(
        Pair(n=100, both=counts[0], only_first=counts[1], only_second=counts[2]), "ratio", 0.95
    )
    for i, cells in enumerate(counts.T):
        alone = bounds(pair(*map(int, cells)), "ratio", 0.95)
        assert (many[0][i], many[1][i]) == pytest.approx(alone)


def test_questions_needed_by_hand() -> None:
    # first - 0.95 second is 0.02 a question, of variance 78 * 0.05^2 + 2 * 0.95^2 = 2 of 100, less
    # 0.02^2: 0.0196. Were 0.95 true, "only second" would be 0.05 * 0.8 and the variance
    # 0.95 * 0.04 = 0.038. 1.644854 * sqrt(0.038) + 0.841621 * sqrt(0.0196) = 0.438466, and
    # ((0.438466 + sqrt(0.438466^2 + 4 * 0.02 / 2)) / 0.04)^2 = 529.4
    assert questions_needed(pair(78, 0, 2, 20), "ratio", 0.95, 0.95) == 530
    # 0.1 above -0.02 by 0.12, of variance 0.5 - 0.01. Were -0.02 true, "only second" would solve
    # 2 x^2 - 0.538 x + 0.00408 = 0, so 0.26119, and the variance be 0.50198.
    # ((1.754522 + sqrt(1.754522^2 + 0.24)) / 0.24)^2 = 222.03
    assert questions_needed(pair(20, 30, 20, 30), "difference", -0.02, 0.95) == 223
    assert questions_needed(pair(20, 30, 30, 20), "difference", 0.0, 0.95) is None


def test_questions_as_many_as_needed_decide_in_four_of_five_evaluations() -> None:
    cells = (0.78, 0.02, 0.02, 0.18)
    exact = Pair(n=1, both=cells[0], only_first=cells[1], only_second=cells[2])
    needed = questions_needed(exact, "ratio", 0.95, 0.95)
    assert needed is not None
    drawn = np.random.default_rng(5).multinomial(needed, cells, 4_000).T
    found = Pair(n=needed, both=drawn[0], only_first=drawn[1], only_second=drawn[2])
    assert np.mean(bounds(found, "ratio", 0.95)[0] >= 0.95) == pytest.approx(0.8, abs=0.05)


def test_paired_arms_must_have_the_same_questions() -> None:
    with pytest.raises(ValueError, match="got 2 and 1 questions"):
        pair_of([1, 0], [1])


@pytest.mark.parametrize("measure", ["ratio", "difference"])
def test_the_bootstrap_agrees_with_scipys(measure: Measure) -> None:
    rng = np.random.default_rng(6)
    second = rng.gamma(1.0, 300.0, 80)
    first = 0.1 * second + rng.gamma(1.0, 20.0, 80)

    def compare(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
        a, b = a.mean(axis=axis), b.mean(axis=axis)
        return a / b if measure == "ratio" else a - b

    theirs = stats.bootstrap(
        (first, second),
        compare,
        paired=True,
        vectorized=True,
        confidence_level=0.9,
        n_resamples=10_000,
        method="BCa",
        rng=1,
    ).confidence_interval
    ours = bootstrap(first.tolist(), second.tolist(), measure, 0.95, seed=2, replicates=10_000)
    width = theirs.high - theirs.low
    assert ours == pytest.approx((theirs.low, theirs.high), abs=0.05 * width)


def test_the_bootstrap_is_seeded_and_bounds_the_estimate() -> None:
    first, second = [10.0, 20.0, 30.0, 25.0], [100.0, 250.0, 200.0, 300.0]
    one = bootstrap(first, second, "ratio", 0.95, seed=1)
    assert one == bootstrap(first, second, "ratio", 0.95, seed=1)
    assert one != bootstrap(first, second, "ratio", 0.95, seed=2)
    assert one[0] < 85 / 850 < one[1]


def test_figures_that_never_vary_are_certain() -> None:
    assert bootstrap([5.0] * 9, [50.0] * 9, "ratio", 0.95, seed=0) == (0.1, 0.1)


@pytest.mark.parametrize(("first", "second"), [([], []), ([1.0], []), ([1.0], [0.0])])
def test_a_bootstrap_of_nothing_is_an_error(first: list[float], second: list[float]) -> None:
    with pytest.raises(ValueError, match="bootstrap of a ratio"):
        bootstrap(first, second, "ratio", 0.95, seed=0)


def test_four_answers_to_a_question_show_less_than_one_but_no_more_than_four_questions() -> None:
    """Accuracies 1/4 and 3/4, first less second +1/2, -1/2: a variance of 1/4 instead of 5/8."""
    one = pair_of([1, 1, 0, 0] * 50, [1, 0, 1, 0] * 50)
    assert detectable(one, 0.95) == detectable_difference(0.5, 200)
    four = pair_of([0.75, 0.25] * 100, [0.25, 0.75] * 100, samples=4)
    apart = four.only_first + four.only_second
    assert apart == pytest.approx(200 * 0.625)  # 3/4 * 3/4 + 1/4 * 1/4, answers being independent
    assert detectable(four, 0.95) == pytest.approx(detectable_difference(0.625, 200 * 0.625 / 0.25))
