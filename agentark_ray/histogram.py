"""Percentiles of any number of values in a bounded memory."""

import math
from collections import Counter

BINS_A_DECADE = 100


class LogHistogram:
    """Counts of positive numbers in log-spaced bins; a percentile is within 1.2 % of the truth.

    It holds at most one bin for every hundredth of a decade that occurs.
    """

    def __init__(self) -> None:
        self.bins: Counter[int] = Counter()  # by floor(100 log10(value))

    def add(self, value: float) -> None:
        """Count a value; below a microsecond it counts as one."""
        self.bins[math.floor(math.log10(max(value, 1e-6)) * BINS_A_DECADE)] += 1

    def percentile(self, q: float) -> float | None:
        """The middle of the bin that holds the q-th percentile, 0..100 (nearest rank)."""
        rank = max(1, math.ceil(self.bins.total() * q / 100))
        for number in sorted(self.bins):
            rank -= self.bins[number]
            if rank <= 0:
                return 10 ** ((number + 0.5) / BINS_A_DECADE)
        return None

    def coarse(self, bins: int) -> list[tuple[float, int]]:
        """(middle, count) of bins `bins` times as wide, in order, with an empty one at each end."""
        merged: Counter[int] = Counter()
        for number, count in self.bins.items():
            merged[number // bins] += count
        numbers = range(min(merged) - 1, max(merged) + 2) if merged else ()
        width = bins / BINS_A_DECADE
        return [(10 ** ((number + 0.5) * width), merged[number]) for number in numbers]
