"""Figures of an arm, over plain numbers. No I/O; what is certain of them is in statistics.py.

Accuracies and rates are shares in 0..1; latencies are milliseconds.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass


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

    n: int  # answers, failed ones included
    questions: int  # less than answers if the arm answers each several times
    correct: int
    failed: int  # status other than ok; they count as wrong
    unparsable: int  # finished without an answer a grader can read; they count as wrong
    ci_low: float  # Wilson 95 %
    ci_high: float
    output_tokens_per_query: float
    prompt_tokens_per_query: float
    cached_tokens_per_query: float  # of the prompt's
    latency: Latency | None  # None if it was not measured
    self_correction: SelfCorrection | None  # None if the arm has no second look

    @property
    def accuracy(self) -> float:
        return self.correct / self.n


def ratio(part: float, whole: float) -> float | None:
    """part / whole, or None if whole is 0."""
    return part / whole if whole else None


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
