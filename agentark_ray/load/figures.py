"""What a load test measured, as figures: pure arithmetic over the requests of one rate.

eval/load.json of a run folder:

    {"version": 1, "arms": {NAME: {
      "path": "engine" or "url",       # the engine of the run folder, or a server
      "url": null, "model": "...",
      "measured": "2026-01-31T12:00:00Z",
      "machine": {"host", "cpu", "cores", "memory_bytes", "gpus": [names], "load_average": [3]},
                                        # where the load was made, and with an engine where it ran
      "seed": 17, "seconds": 30.0,      # of arrivals at each rate
      "timeout_s": 60.0, "max_outstanding": 1000, "questions": 500,  # distinct ones
      "targets": {"ms": null, "ttft_ms": null},
      "first_request_ms": 812.0,        # before the rates, not counted in them
      "cold_start_s": 31.2,             # from asking for the engine to its first answer; null: url
      "weights_bytes": 7700000,         # of all its models; null where they are not local
      "resident_bytes": 3200000000, "resident": "pss" or "rss",  # all processes, after the load
      "gpu_bytes": null,                # in use on its GPUs
      "tokens": "usage" or "parts",     # by what tokens were counted; a part may be several
      "sustained_rate": 8.0,            # the highest offered rate it kept up with, or null
      "rates": [{
        "offered": 8.0,                 # requests a second asked for
        "requests": 251,                # that came, by a Poisson process
        "answered": 251,
        "achieved": 8.1,                # answered a second, in steady state
        "output_tokens_per_s": 420.0,   # in steady state
        "e2e_ms": {"p50", "p95", "p99", "max"},   # from the *scheduled* arrival to the last token
        "ttft_ms": {...},               # from the scheduled arrival to the first token
        "inter_token_ms": {...},        # a request's mean time between two tokens
        "censored": 0,                  # timeouts: they count with the time they waited, at least
        "goodput": 7.9, "good_share": 0.98,       # within all targets; null without targets
        "errors": {KIND: count},
        "saturated": false,             # it did not keep up, see `saturated`
        "outstanding_max": 31,          # under way at once
        "generator": {"late": 0, "lag_ms_p99": 0.4, "lag_ms_max": 2.1, "held_back": 0,
                      "kept_up": true, "note": ""}  # whether the load was made as it was planned
      }]}}}

Percentiles are null where there is nothing to take them of. `answered` and `errors` add up to
`requests`. Steady state is the last three quarters of the time in which requests arrive.
"""

import math
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from agentark_ray.evaluate.metrics import percentile, ratio

VERSION = 1
LATE_S = 0.010  # a request sent later than this after its time, and than
LATE_PART = 0.05  # of its latency, is late
LATE_SHARE = 0.01  # with more than this share of late ones the generator has fallen behind
SHORT = 0.1  # with this share of requests not kept up with, an arm is saturated
RAMP = 0.25  # of the time of arrivals, before the steady state
TIMEOUT = "timeout"  # the kind of error that still has a latency


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """What makes a request a good one; None asks nothing."""

    ms: float | None = None  # end to end
    ttft_ms: float | None = None

    def met(self, e2e_s: float, ttft_s: float) -> bool:
        """Whether a request that was answered meets them."""
        return (self.ms is None or e2e_s * 1000 <= self.ms) and (
            self.ttft_ms is None or ttft_s * 1000 <= self.ttft_ms
        )

    @property
    def any(self) -> bool:
        """Whether there is one."""
        return self.ms is not None or self.ttft_ms is not None


NO_TARGETS = Targets()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """One request that is over. Times are seconds since the first moment of the rate."""

    scheduled: float  # when it should have been sent
    sent: float | None  # None: its time was over before it could be
    first: float | None  # when its first token came, if one did
    ended: float
    tokens: int  # output tokens
    inter_token_s: float | None  # mean time between two tokens; None with fewer than two
    error: str | None  # its kind; None: it was answered
    held_back: bool = False  # too many others were under way when its time came

    @property
    def late(self) -> bool:
        """Whether it was sent so late that its latency does not tell of who was asked."""
        if self.sent is None:
            return True
        return self.sent - self.scheduled > max(LATE_S, LATE_PART * (self.ended - self.scheduled))


@dataclass(slots=True, kw_only=True)
class Tally:
    """Sums over the requests of one rate: a few numbers for each of them, no texts."""

    offered: float  # requests a second
    seconds: float  # of arrivals
    targets: Targets = NO_TARGETS
    e2e: array = field(default_factory=lambda: array("d"))  # seconds, as all
    ttft: array = field(default_factory=lambda: array("d"))
    inter_token: array = field(default_factory=lambda: array("d"))
    lag: array = field(default_factory=lambda: array("d"))
    errors: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    good: int = 0
    late: int = 0  # and not held back
    held_back: int = 0
    outstanding_max: int = 0
    answered_steady: int = 0
    tokens_steady: int = 0
    arrived_ramp: int = 0
    ended_ramp: int = 0
    ended_arrivals: int = 0  # until the last moment of the arrivals

    def add(self, one: Ended) -> None:
        """Count one request."""
        self.requests += 1
        self._add_times(one)
        if one.error is not None:
            self.errors[one.error] += 1
        self.held_back += one.held_back
        if one.sent is not None:
            self.lag.append(one.sent - one.scheduled)
        self.late += not one.held_back and one.late
        self._add_flow(one)

    def _add_times(self, one: Ended) -> None:
        e2e = one.ended - one.scheduled
        first = one.ended if one.first is None else one.first
        if one.error is None:
            self.good += self.targets.met(e2e, first - one.scheduled)
            if one.inter_token_s is not None:
                self.inter_token.append(one.inter_token_s)
        if one.error in (None, TIMEOUT):
            self.e2e.append(e2e)
            self.ttft.append(first - one.scheduled)

    def _add_flow(self, one: Ended) -> None:
        ramp = RAMP * self.seconds
        self.arrived_ramp += one.scheduled <= ramp
        self.ended_ramp += one.ended <= ramp
        self.ended_arrivals += one.ended <= self.seconds
        if one.error is None and ramp < one.ended <= self.seconds:
            self.answered_steady += 1
            self.tokens_steady += one.tokens


def figures(tally: Tally) -> dict[str, Any]:
    """An entry of `rates`, as the head of this file has it."""
    steady_s = (1 - RAMP) * tally.seconds
    good = tally.good if tally.targets.any else None
    return {
        "offered": tally.offered,
        "requests": tally.requests,
        "answered": tally.requests - tally.errors.total(),
        "achieved": tally.answered_steady / steady_s,
        "output_tokens_per_s": tally.tokens_steady / steady_s,
        "e2e_ms": quantiles(tally.e2e),
        "ttft_ms": quantiles(tally.ttft),
        "inter_token_ms": quantiles(tally.inter_token),
        "censored": tally.errors[TIMEOUT],
        "goodput": None if good is None else good / tally.seconds,
        "good_share": None if good is None else ratio(good, tally.requests),
        "errors": dict(sorted(tally.errors.items())),
        "saturated": saturated(
            arrived=tally.requests - tally.arrived_ramp,
            before=tally.arrived_ramp - tally.ended_ramp,
            after=tally.requests - tally.ended_arrivals,
            errors=tally.errors.total(),
            requests=tally.requests,
        ),
        "outstanding_max": tally.outstanding_max,
        "generator": generator(tally),
    }


def quantiles(seconds: Sequence[float]) -> dict[str, float | None]:
    """Percentiles and the maximum in ms, to the microsecond."""
    if not seconds:
        return dict.fromkeys(("p50", "p95", "p99", "max"))
    found = {f"p{q}": round(percentile(seconds, q) * 1000, 3) for q in (50, 95, 99)}
    return {**found, "max": round(max(seconds) * 1000, 3)}


def saturated(*, arrived: int, before: int, after: int, errors: int, requests: int) -> bool:
    """Whether requests came faster than they were answered.

    Either more than a tenth of all failed, or of the `arrived` ones of the steady state more than a
    tenth piled up on those that were under way `before`, and by more than chance: of an arm that
    keeps up, both numbers under way are Poisson distributed, so their difference has about the
    variance `before` + `after`; it must be above two standard deviations.
    """
    grown = after - before
    piled_up = grown > SHORT * arrived and grown > 2 * math.sqrt(before + after)
    return piled_up or errors > SHORT * requests


def generator(tally: Tally) -> dict[str, Any]:
    """Whether the load came as planned; latencies count from the planned time in any case."""
    lag = quantiles(tally.lag)
    notes = []
    if tally.late > LATE_SHARE * tally.requests:
        notes.append(
            f"the load generator fell behind: {tally.late} of {tally.requests} requests were sent"
            f" late by more than {LATE_S * 1000:g} ms and {LATE_PART:.0%} of their latency (p99 of"
            f" all delays {lag['p99'] or 0:,.0f} ms)"
        )
    if tally.held_back:
        notes.append(
            f"{tally.held_back} of {tally.requests} requests were held back, because"
            f" {tally.outstanding_max} were under way"
        )
    return {
        "late": tally.late,
        "lag_ms_p99": lag["p99"],
        "lag_ms_max": lag["max"],
        "held_back": tally.held_back,
        "kept_up": not notes,
        "note": "; ".join(notes) + ("; their latency includes that" if notes else ""),
    }


def sustained(rates: Iterable[Mapping[str, Any]]) -> float | None:
    """The highest offered rate that was kept up with, below every one that was not."""
    ordered = sorted(rates, key=lambda one: one["offered"])
    kept: float | None = None
    for one in ordered:
        if one["saturated"]:
            break
        kept = one["offered"]
    return kept


def targets_of(targets: Targets) -> dict[str, float | None]:
    """As load.json has them."""
    return asdict(targets)
