"""Live metrics of an actor's debates, at the Prometheus endpoint of its node.

Ray prefixes their names with `ray_` and tags them with node and worker.
"""

from collections.abc import Mapping
from typing import Any

from ray.util.metrics import Counter, Gauge, Histogram

LATENCY_BUCKETS_S = [0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0]
TOKEN_KINDS = ("prompt", "cached", "output")


class DebateMetrics:
    """One for each actor; the counters of all actors add up in Prometheus."""

    def __init__(self) -> None:
        self._in_flight = 0
        self._debates = Counter(
            "agentark_debates", "Debates that ended, by status and arm.", ("status", "arm")
        )
        self._tokens = Counter(
            "agentark_tokens",
            "Tokens of debates that ended; cached ones are prompt tokens that were not computed.",
            ("kind", "arm"),
        )
        self._running = Gauge("agentark_debates_in_flight", "Debates being held now.")
        self._latency = Histogram(
            "agentark_completion_latency_seconds",
            "From a request to the engine to its last token.",
            LATENCY_BUCKETS_S,
            ("arm",),
        )

    def started(self) -> None:
        """A debate has begun."""
        self._in_flight += 1
        self._running.set(self._in_flight)

    def finished(self, row: Mapping[str, Any]) -> None:
        """A debate has ended with `row` (TRACE_SCHEMA), whatever its status."""
        self._in_flight -= 1
        self._running.set(self._in_flight)
        arm = {"arm": row["arm"]}
        self._debates.inc(1, {**arm, "status": row["status"]})
        for kind in TOKEN_KINDS:
            if tokens := row[f"{kind}_tokens"]:  # Ray refuses to add zero
                self._tokens.inc(tokens, {**arm, "kind": kind})
        for turn in row["turns"]:
            self._latency.observe(turn["latency_s"], arm)
