"""Statistics of an evaluation, over plain numbers. No I/O.

Accuracies and rates are shares in 0..1; latencies are milliseconds.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

Z_95 = NormalDist().inv_cdf(0.975)  # two-sided 95 %


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Wall time of queries answered alone on an idle engine."""

    p50: float  # ms, like the others
    p95: float
    p99: float
    n: int  # queries measured


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfCorrection:
    """What a second look did to first answers; only answers that got a second look count."""

    wrong_before: int
    fixed: int  # of wrong_before, right after
    right_before: int
    broken: int  # of right_before, wrong after

    @property
    def fixed_rate(self) -> float | None:
        return ratio(self.fixed, self.wrong_before)

    @property
    def broken_rate(self) -> float | None:
        return ratio(self.broken, self.right_before)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmResult:
    """How one arm did on the held-out questions."""

    n: int  # questions asked, failed ones included
    correct: int
    failed: int  # status other than ok; they count as wrong
    unparsable: int  # finished without an answer a grader can read; they count as wrong
    ci_low: float  # Wilson 95 %
    ci_high: float
    output_tokens_per_query: float
    prompt_tokens_per_query: float
    latency: Latency | None  # None if it was not measured
    self_correction: SelfCorrection | None  # None if the arm has no second look

    @property
    def accuracy(self) -> float:
        return self.correct / self.n


@dataclass(frozen=True, slots=True, kw_only=True)
class Mcnemar:
    """Two arms on the same questions."""

    pairs: int  # questions both arms were asked
    only_first: int  # right in the first arm only
    only_second: int
    p: float  # exact, two-sided


def ratio(part: float, whole: float) -> float | None:
    """part / whole, or None if whole is 0."""
    return part / whole if whole else None


def wilson(correct: int, n: int, z: float = Z_95) -> tuple[float, float]:
    """The Wilson score interval of a share (Wilson 1927); (0, 1) if n is 0."""
    if n == 0:
        return 0.0, 1.0
    p = correct / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    # The exact bounds contain p; rounding may miss it by one bit at 0 and 1.
    return max(0.0, min(p, centre - half)), min(1.0, max(p, centre + half))


def percentile(values: Sequence[float], q: float) -> float:
    """The q-th percentile, 0..100, linear between the two closest ranks (numpy's default).

    Raises:
        ValueError: no values.
    """
    if not values:
        raise ValueError(f"percentile {q} of no values")
    ordered = sorted(values)
    rank = (len(ordered) - 1) * q / 100
    low = math.floor(rank)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (rank - low)


def latency(wall_ms: Sequence[float]) -> Latency | None:
    """Percentiles of wall times in ms, to the microsecond; None if there are none."""
    if not wall_ms:
        return None
    p50, p95, p99 = (round(percentile(wall_ms, q), 3) for q in (50, 95, 99))
    return Latency(p50=p50, p95=p95, p99=p99, n=len(wall_ms))


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


def mcnemar(first: Mapping[str, bool], second: Mapping[str, bool]) -> Mcnemar:
    """Compare two arms, each given as question id -> right, on the questions both have."""
    both = first.keys() & second.keys()
    only_first = sum(first[q] and not second[q] for q in both)
    only_second = sum(second[q] and not first[q] for q in both)
    p = mcnemar_p(only_first, only_second)
    return Mcnemar(pairs=len(both), only_first=only_first, only_second=only_second, p=p)
