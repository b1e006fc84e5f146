"""Two arms on the same questions: ratio and difference of their means, with what is certain.

Questions are the units: an arm may have answered each several times, and then answers to one
question are alike. Shares are in 0..1. The functions of a `Pair` also take pairs of NumPy arrays,
one element an evaluation, so that many evaluations can be simulated at once.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from agentark_ray.evaluate.statistics import (
    POWER,
    Mcnemar,
    detectable_difference,
    mcnemar_p,
    z_of,
)

Number = Any  # a float, or an array with one element an evaluation
Measure = Literal["ratio", "difference"]
Score = Callable[..., Number]  # of a pair, a value and the correction

LARGEST = {"ratio": 1e6, "difference": 1.0}  # where the search for an interval ends
SMALLEST = {"ratio": 1e-9, "difference": -1.0}
HALF = 0.5  # questions: the continuity correction of a bound
REPLICATES = 2_000
STEPS = 45  # of a bisection
CHUNK = 4_000_000  # drawn numbers held at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Sums over the questions that both arms answered; not whole numbers with several samples."""

    n: Number  # questions
    both: Number  # right in both arms
    only_first: Number
    only_second: Number
    var_first: Number = 0.0  # of a question's accuracy, over questions; used with several samples
    var_second: Number = 0.0
    covariance: Number = 0.0
    samples: int = 1  # answers of an arm to a question, at most

    @property
    def first(self) -> Number:
        """Accuracy of the first arm."""
        return (self.both + self.only_first) / self.n

    @property
    def second(self) -> Number:
        """Accuracy of the second arm."""
        return (self.both + self.only_second) / self.n


def pair_of(first: ArrayLike, second: ArrayLike, *, samples: int = 1) -> Pair:
    """The pair of two arms, each given as its accuracy on every question, in the same order.

    Raises:
        ValueError: no questions, or not as many in both.
    """
    s, d = np.asarray(first, float), np.asarray(second, float)
    if not len(s) or len(s) != len(d):
        raise ValueError(f"paired arms: got {len(s)} and {len(d)} questions")
    return Pair(
        n=len(s),
        both=float((s * d).sum()),
        only_first=float((s * (1 - d)).sum()),
        only_second=float(((1 - s) * d).sum()),
        var_first=float(s.var()),
        var_second=float(d.var()),
        covariance=float(((s - s.mean()) * (d - d.mean())).mean()),
        samples=samples,
    )


def mcnemar(
    first: Mapping[str, float], second: Mapping[str, float], *, samples: int = 1
) -> Mcnemar:
    """Compare two arms, each given as question id -> share of right answers, on common questions.

    With one answer to each the exact test, with several the score test of no difference
    (Obuchowski 1998).
    """
    both = sorted(first.keys() & second.keys())
    if not both:
        return Mcnemar(pairs=0, only_first=0, only_second=0, p=1.0)
    pair = pair_of([first[q] for q in both], [second[q] for q in both], samples=samples)
    if samples == 1:
        only_first, only_second = round(pair.only_first), round(pair.only_second)
        p = mcnemar_p(only_first, only_second)
    else:
        only_first, only_second = pair.only_first, pair.only_second
        p = 2 * float(stats.norm.sf(abs(float(difference_score(pair, 0.0)))))
    return Mcnemar(pairs=len(both), only_first=only_first, only_second=only_second, p=p)


def ratio_score(pair: Pair, ratio: Number, corrected: float = 0.0) -> Number:
    """How many standard errors first - ratio * second is above 0, were `ratio` true.

    The score test of Nam and Blackwelder (2002): the variance is the one of the most likely cells
    among those whose ratio is `ratio`. `corrected` is taken off the distance, in questions.
    """
    n, known = pair.n, pair.both + pair.only_first + pair.only_second
    m = known / n
    # The cell "only first" solves a * x^2 - b * x - c = 0.
    a = ratio * (1 + ratio) * known
    b = m * (
        (ratio**2 - 1) * pair.both
        + (2 * ratio**2 - 1) * pair.only_first
        + ratio**2 * pair.only_second
    )
    c = pair.only_first * ratio * (1 - ratio) * m**2
    with np.errstate(all="ignore"):
        only_first = (b + np.sqrt(np.maximum(b * b + 4 * a * c, 0))) / (2 * a)
        only_second = ratio * only_first + (1 - ratio) * m
        variance = ratio * (only_first + only_second) * n * _design(pair, ratio)
        gap = pair.both + pair.only_first - ratio * (pair.both + pair.only_second)
        return _standardised(gap - corrected, variance)


def difference_score(pair: Pair, difference: Number, corrected: float = 0.0) -> Number:
    """As `ratio_score`, for first - second - difference: the score test of Tango (1998)."""
    n, d = pair.n, difference
    b = (2 * n - pair.only_first + pair.only_second) * d - pair.only_first - pair.only_second
    c = 8 * n * pair.only_second * d * (1 - d)
    with np.errstate(all="ignore"):
        only_second = (np.sqrt(np.maximum(b * b + c, 0)) - b) / (4 * n)
        spread = np.maximum(2 * only_second + d * (1 - d), 0)
        variance = spread * n * _design(pair, 1.0)
        return _standardised(pair.only_first - pair.only_second - n * d - corrected, variance)


SCORES: dict[Measure, Score] = {"ratio": ratio_score, "difference": difference_score}


def _standardised(gap: Number, variance: Number) -> Number:
    """The gap in standard errors; endless where there is a gap and no variance."""
    certain = np.where(gap == 0, 0.0, np.copysign(np.inf, gap))
    return np.where(variance > 0, gap / np.sqrt(variance), certain)


def _design(pair: Pair, ratio: Number) -> Number:
    """Variance of a question's first - ratio * second, over what it is with one answer each.

    1 with one sample (Rao and Scott 1992). Never less than if answers to a question were
    independent of it.
    """
    if pair.samples == 1:
        return 1.0
    mean = pair.first - ratio * pair.second
    square = pair.both * (1 - ratio) ** 2 + pair.only_first + ratio**2 * pair.only_second
    alone = square / pair.n - mean**2
    clustered = pair.var_first - 2 * ratio * pair.covariance + ratio**2 * pair.var_second
    known = np.where(alone > 0, clustered / np.where(alone > 0, alone, 1.0), 1.0)
    return np.clip(known, 1 / pair.samples, 1.0)


def detectable(pair: Pair, confidence: float) -> float | None:
    """The least true difference that the pair's questions show; see `detectable_difference`.

    Several answers to a question count as the questions they are worth.
    """
    apart = float(pair.only_first + pair.only_second) / float(pair.n)
    worth = float(pair.n) / float(_design(pair, 1.0))
    return detectable_difference(apart, worth, confidence)


def bounds(pair: Pair, measure: Measure, confidence: float) -> tuple[Number, Number]:
    """One-sided lower and upper bound of ratio or difference, each at `confidence`.

    With the continuity correction of half a question, so that a gate on the bound errs at most in
    1 - `confidence` of the evaluations: benchmarks/gates.py measures it.
    """
    z = z_of(confidence)
    return _solve(pair, measure, z, HALF), _solve(pair, measure, -z, -HALF)


def interval(pair: Pair, measure: Measure, confidence: float) -> tuple[Number, Number]:
    """The two-sided interval of ratio or difference: what the score test does not reject."""
    z = z_of((1 + confidence) / 2)
    return _solve(pair, measure, z, 0.0), _solve(pair, measure, -z, 0.0)


def _solve(pair: Pair, measure: Measure, z: float, corrected: float) -> Number:
    """Where the score, which falls, crosses z; by bisection, of a ratio in its logarithm."""
    score, log = SCORES[measure], measure == "ratio"
    ends = [SMALLEST[measure], LARGEST[measure]]
    shape = np.shape(pair.n + pair.both + pair.only_first + pair.only_second)
    low, high = (np.full(shape, math.log(end) if log else end) for end in ends)
    for _ in range(STEPS):
        middle = (low + high) / 2
        above = score(pair, np.exp(middle) if log else middle, corrected) > z
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    found = np.exp(high) if log else high
    found = np.where(found <= ends[0] * 1.001, 0.0, found) if log else found
    return found if shape else float(found)


def questions_needed(
    pair: Pair, measure: Measure, threshold: float, confidence: float
) -> int | None:
    """Questions whose `bounds` are past a threshold with probability POWER, if all stays as it is.

    None if what was measured is the threshold itself.
    """
    z = abs(float(SCORES[measure](pair, threshold)))
    ratio, shift = (threshold, 0.0) if measure == "ratio" else (1.0, threshold)
    mean = pair.first - ratio * pair.second
    gap = abs(mean - shift)
    if not z or not gap:
        return None
    square = pair.both * (1 - ratio) ** 2 + pair.only_first + ratio**2 * pair.only_second
    variance = max(0.0, square / pair.n - mean**2) * float(_design(pair, ratio))
    # gap * n - HALF = root * sqrt(n), where the score's own error is gap * sqrt(n) / z
    root = z_of(confidence) * gap * math.sqrt(pair.n) / z + z_of(POWER) * math.sqrt(variance)
    return math.ceil(((root + math.sqrt(root**2 + 4 * gap * HALF)) / (2 * gap)) ** 2)


def bootstrap(
    first: Sequence[float],
    second: Sequence[float],
    measure: Measure,
    confidence: float,
    seed: int,
    replicates: int = REPLICATES,
) -> tuple[float, float]:
    """One-sided lower and upper bound of a ratio or difference of means, by drawing questions.

    For figures that are no shares, such as tokens. A question is drawn with all it has in both
    arms. Bias-corrected and accelerated (Efron 1987), with the exact jackknife of means.

    Args:
        first: an arm's mean on every question.
        second: the other arm's, on the same questions in the same order.

    Raises:
        ValueError: no questions, not as many in both, or a ratio to a mean of 0.
    """
    s, d = np.asarray(first, float), np.asarray(second, float)
    if not len(s) or len(s) != len(d) or (measure == "ratio" and not d.any()):
        raise ValueError(
            f"bootstrap of a {measure}: got {len(s)} and {len(d)} questions, {d.sum()=}"
        )
    found = _compare(s.mean(), d.mean(), measure)
    drawn = _replicates(s, d, measure, np.random.default_rng(seed), replicates)
    if np.ptp(drawn) == 0:
        return float(found), float(found)
    rest = len(s) - 1 or 1
    left = _compare((s.sum() - s) / rest, (d.sum() - d) / rest, measure)
    low, high = (
        np.quantile(drawn, _adjusted(drawn, found, left, p)) for p in (1 - confidence, confidence)
    )
    return float(low), float(high)


def _replicates(
    s: np.ndarray, d: np.ndarray, measure: Measure, rng: np.random.Generator, replicates: int
) -> np.ndarray:
    at_once = max(1, CHUNK // len(s))
    parts = []
    for start in range(0, replicates, at_once):
        rows = min(at_once, replicates - start)
        drawn = rng.integers(0, len(s), (rows, len(s)))
        parts.append(_compare(s[drawn].mean(1), d[drawn].mean(1), measure))
    return np.concatenate(parts)


def _compare(first: Any, second: Any, measure: Measure) -> Any:
    if measure == "difference":
        return first - second
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(second == 0, np.inf, first / second)


def _adjusted(drawn: np.ndarray, found: float, left: np.ndarray, p: float) -> float:
    """The share of the replicates below the bound whose plain share would be p."""
    below = ((drawn < found).mean() + (drawn <= found).mean()) / 2
    shift = z_of(float(np.clip(below, 1 / len(drawn), 1 - 1 / len(drawn))))
    away = left.mean() - left
    cubes, squares = (away**3).sum(), (away**2).sum()
    pull = cubes / (6 * squares**1.5) if squares > 0 and np.isfinite(squares) else 0.0
    moved = shift + z_of(p)
    return float(stats.norm.cdf(shift + moved / (1 - pull * moved)))
