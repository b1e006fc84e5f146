"""Live metrics of an actor's debates, at the Prometheus endpoint of its node.

Ray prefixes their names with `ray_` and tags them with node and worker. Telling Ray a value costs
40 microseconds, so counts are added up here and told by `flush`.
"""

from collections import Counter as Sums
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from ray.util.metrics import Counter, Gauge, Histogram

from agentark_ray.prices import TokenPrices

DEBATE_BUCKETS_S = [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0]
TOKEN_KINDS = ("prompt", "cached", "output")


class DebateMetrics:
    """One for each actor; the counters of all actors add up in Prometheus."""

    def __init__(self, prices: TokenPrices | None) -> None:
        self._in_flight = 0
        self._prices = prices
        self._usd: defaultdict[tuple[str, str], float] = defaultdict(float)  # (kind of token, arm)
        self._sums: Sums[tuple[str, str, str]] = Sums()  # (counter, its own tag's value, arm)
        self._counters = {
            "status": Counter(
                "agentark_debates", "Debates that ended, by status and arm.", ("status", "arm")
            ),
            "kind": Counter(
                "agentark_tokens",
                "Tokens of debates that ended; cached ones are prompt tokens not computed.",
                ("kind", "arm"),
            ),
        }
        self._cost = Counter(
            "agentark_cost_dollars",
            "What the tokens of debates that ended cost, if the config has prices.",
            ("kind", "arm"),
        )
        self._running = Gauge("agentark_debates_in_flight", "Debates being held now.")
        self._wall = Histogram(
            "agentark_debate_seconds", "From question to answer.", DEBATE_BUCKETS_S, ("arm",)
        )

    def started(self) -> None:
        """A debate has begun."""
        self._in_flight += 1

    def finished(self, row: Mapping[str, Any]) -> None:
        """A debate has ended with `row` (TRACE_SCHEMA), whatever its status."""
        self._in_flight -= 1
        self._sums["status", row["status"], row["arm"]] += 1
        for kind in TOKEN_KINDS:
            self._sums["kind", kind, row["arm"]] += row[f"{kind}_tokens"]
        if self._prices:
            for kind, usd in self._prices.cost(row).items():
                self._usd[kind, row["arm"]] += usd
        self._wall.observe(row["wall_s"], {"arm": row["arm"]})

    def flush(self) -> None:
        """Tell Ray what was counted since the last call."""
        self._running.set(self._in_flight)
        for (tag, value, arm), count in self._sums.items():
            if count:  # Ray refuses to add zero
                self._counters[tag].inc(count, {tag: value, "arm": arm})
        self._sums.clear()
        for (kind, arm), usd in self._usd.items():
            if usd:
                self._cost.inc(usd, {"kind": kind, "arm": arm})
        self._usd.clear()
