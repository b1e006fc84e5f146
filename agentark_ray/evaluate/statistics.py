"""Intervals, bounds and tests of shares and quantiles, over plain numbers. No I/O.

What compares two arms on the same questions is in paired.py. Shares are in 0..1; a `confidence` is
one-sided where a function gives a bound, two-sided where it gives an interval.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from scipy import stats

Z_95 = NormalDist().inv_cdf(0.975)  # two-sided 95 %
POWER = 0.8  # of the sizes that are recommended


@dataclass(frozen=True, slots=True, kw_only=True)
class Mcnemar:
    """Two arms on the same questions."""

    pairs: int  # questions both arms were asked
    only_first: float  # right in the first arm only; of several answers, in the mean
    only_second: float
    p: float  # two-sided; exact with one answer a question


def z_of(confidence: float) -> float:
    """The standard normal quantile of a one-sided confidence."""
    return NormalDist().inv_cdf(confidence)


def wilson(correct: float, n: float, z: float = Z_95) -> tuple[float, float]:
    """The Wilson score interval of a share (Wilson 1927); (0, 1) if n is 0."""
    if n == 0:
        return 0.0, 1.0
    p = correct / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    # The exact bounds contain p; rounding may miss it by one bit at 0 and 1.
    return max(0.0, min(p, centre - half)), min(1.0, max(p, centre + half))


def clustered_wilson(shares: Sequence[float], samples: int) -> tuple[float, float]:
    """The Wilson interval of the mean of questions' accuracies, of `samples` answers each.

    Answers to a question are alike, so they count for less than as many questions: for as many as
    would have the variance that the accuracies have (Rao and Scott 1992).
    """
    n = len(shares)
    p = math.fsum(shares) / n if n else 0.0
    spread = math.fsum((share - p) ** 2 for share in shares)
    alone = n * n * p * (1 - p)
    worth = min(max(alone / spread, n), n * samples) if spread > 0 else n
    return wilson(p * worth, worth)


def share_bounds(count: int, n: int, confidence: float) -> tuple[float, float]:
    """One-sided lower and upper bound of a share, each exact (Clopper and Pearson 1934)."""
    low = float(stats.beta.ppf(1 - confidence, count, n - count + 1)) if count else 0.0
    high = float(stats.beta.ppf(confidence, count + 1, n - count)) if count < n else 1.0
    return low, high


def quantile_bounds(
    ordered: Sequence[float], q: float, confidence: float
) -> tuple[float | None, float | None]:
    """One-sided lower and upper bound of the q-quantile (0..1), whatever the distribution.

    They are order statistics: the k-th smallest of n values is an upper bound if fewer than k fall
    below the quantile with probability `confidence` (Conover 1999, section 3.2). None where the
    values are too few: an upper bound of the 95th percentile at 95 % takes 59, of the 99th 299.
    """
    n = len(ordered)
    below = stats.binom(n, q)  # how many values fall below the quantile
    upper = int(below.ppf(confidence)) + 1  # the least k with P(fewer than k) >= confidence
    lower = int(below.ppf(1 - confidence))  # P(at least k) >= confidence for every k up to it
    return (
        ordered[lower - 1] if lower >= 1 else None,
        ordered[upper - 1] if upper <= n else None,
    )


def mcnemar_p(only_first: int, only_second: int) -> float:
    """Two-sided p of the exact McNemar test: a fair coin on the discordant pairs.

    Integer arithmetic, so that no number of pairs under- or overflows.
    """
    n, least = only_first + only_second, min(only_first, only_second)
    term = tail = 1
    for i in range(least):
        term = term * (n - i) // (i + 1)  # n choose i + 1
        tail += term
    return min(1.0, 2 * tail / (1 << n))


def detectable_difference(
    discordant: float, n: float, confidence: float = 0.95, power: float = POWER
) -> float | None:
    """The least true difference of two accuracies that n common questions show.

    Shown means: McNemar's two-sided test at 1 - `confidence` finds it with probability `power`.

    Args:
        discordant: the share of the questions on which exactly one arm is right.
        n: questions.

    Returns:
        The difference, 0..1 (Connor 1987, solved for the difference); None if not even a
        difference of `discordant`, the largest there can be, is shown.
    """
    both = (z_of((1 + confidence) / 2), z_of(power))

    def shown(difference: float) -> bool:
        spread = math.sqrt(max(0.0, discordant - difference * difference))
        return difference * math.sqrt(n) >= both[0] * math.sqrt(discordant) + both[1] * spread

    if discordant <= 0 or not shown(discordant):
        return None
    low, high = 0.0, discordant
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if shown(middle) else (middle, high)
    return high


def mean_size(mean: float, variance: float, confidence: float, power: float = POWER) -> int | None:
    """How many values show that their true mean has the sign of `mean`.

    The one-sided test at `confidence` does so with probability `power` if mean and variance are
    as given; None if the mean is 0.
    """
    if mean == 0:
        return None
    return max(1, math.ceil((z_of(confidence) + z_of(power)) ** 2 * variance / mean**2))


def share_size(share: float, against: float, confidence: float, power: float = POWER) -> int | None:
    """How many trials show on which side of `against` a true `share` lies, None if it is on it.

    The normal approximation of the one-sided test, and at least as many as it takes when all
    trials, or none, succeed.
    """
    if share == against:
        return None
    spread = z_of(confidence) * math.sqrt(against * (1 - against))
    spread += z_of(power) * math.sqrt(share * (1 - share))
    alone = against if share > against else 1 - against  # of a trial when the share is `against`
    least = math.log(1 - confidence) / math.log(alone) if 0 < alone < 1 else 1.0
    return math.ceil(max((spread / (share - against)) ** 2, least))


def independent_difference(
    first: int, first_n: int, second: int, second_n: int, confidence: float
) -> tuple[float, float]:
    """One-sided bounds of the difference of two shares of different questions, first - second.

    From both Wilson intervals (Newcombe 1998, method 10).
    """
    z = z_of(confidence)
    (low_1, high_1), (low_2, high_2) = wilson(first, first_n, z), wilson(second, second_n, z)
    p_1, p_2 = first / first_n, second / second_n
    return (
        p_1 - p_2 - math.hypot(p_1 - low_1, high_2 - p_2),
        p_1 - p_2 + math.hypot(high_1 - p_1, p_2 - low_2),
    )
