"""Must the student be made anew? Triggers from monitoring data against thresholds. Pure.

A trigger fires when its confidence bound is past the threshold; when only the estimate is, it is
watched. What was not measured cannot fire, and is said; where nothing was, there is no answer.
Only records of the student count, from the time on at which it was made.
"""

import bisect
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from agentark_ray.config import ConfigError
from agentark_ray.evaluate.statistics import independent_difference, share_bounds
from agentark_ray.gates_config import RetrainConfig
from agentark_ray.monitoring import FEATURES, Kind, Request

BINS = 10  # of a feature, with as many reference questions in each
FLOOR = 1e-4  # least share of a bin, so that an empty one is not endless drift
DAY_S = 86_400
NAMED = 5  # other students that a message names


class State(StrEnum):
    """What became of a trigger."""

    FIRED = "fired"
    WATCH = "watch"  # the estimate is past the threshold, its bound is not
    QUIET = "quiet"
    UNMEASURED = "unmeasured"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """One reason to make a new student, or not."""

    name: str  # a field of RetrainConfig
    state: State
    value: float | None
    bound: float | None  # the end of what is certain that must be past the threshold
    threshold: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bins:
    """Reference distribution of a feature: quantile edges, and the share of each bin."""

    edges: tuple[float, ...]  # a value falls into the bin after the edges that are below it
    shares: tuple[float, ...]  # one more than edges

    def place(self, value: float) -> int:
        """The index of a value's bin."""
        return bisect.bisect_left(self.edges, value)


@dataclass(slots=True, kw_only=True)
class Monitored:
    """Sums over records."""

    live: int = 0
    fallbacks: int = 0
    canaries: int = 0  # with a known verdict
    right: int = 0  # of the canaries
    drift: dict[str, Counter[int]] = field(default_factory=dict)  # feature -> bin -> live requests
    unjudged: int = 0  # comparisons with a shadow arm, and canaries without a verdict
    before: int = 0  # of the student's name, from before it was made
    others: Counter[str] = field(default_factory=Counter)  # student -> records


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """The student as it was evaluated."""

    student: str
    correct: int  # on the held-out questions
    n: int
    made: datetime
    bins: Mapping[str, Bins]


def bins_of(values: Sequence[float]) -> Bins:
    """At most BINS bins with as equal numbers of the values as ties allow.

    Raises:
        ValueError: no values.
    """
    if not values:
        raise ValueError("bins of no values")
    ordered = sorted(values)
    cuts = (ordered[min(len(ordered) - 1, len(ordered) * i // BINS)] for i in range(1, BINS))
    edges = tuple(sorted({cut for cut in cuts if cut < ordered[-1]}))
    empty = Bins(edges=edges, shares=())
    counts = Counter(map(empty.place, ordered))
    shares = tuple(counts[i] / len(ordered) for i in range(len(edges) + 1))
    return Bins(edges=edges, shares=shares)


def psi(expected: Sequence[float], actual: Sequence[float]) -> float:
    """The population stability index: the sum of (a - e) ln(a / e) over the shares of bins."""
    pairs = ((max(e, FLOOR), max(a, FLOOR)) for e, a in zip(expected, actual, strict=True))
    return sum((a - e) * math.log(a / e) for e, a in pairs)


def monitored(requests: Iterable[Request], reference: Reference) -> Monitored:
    """Sums over the requests that `reference.student` got since it was made.

    A few numbers a feature are kept. The rest is only counted, to be said.
    """
    sums = Monitored(drift={name: Counter() for name in reference.bins})
    for request in requests:
        if request.student != reference.student:
            sums.others[request.student] += 1
        elif request.time < reference.made:
            sums.before += 1
        else:
            _add(sums, request, reference)
    return sums


def _add(sums: Monitored, request: Request, reference: Reference) -> None:
    if request.kind is Kind.LIVE:
        sums.live += 1
        sums.fallbacks += request.fallback
        for name, bins in reference.bins.items():
            sums.drift[name][bins.place(request.features[name])] += 1
    elif request.kind is Kind.CANARY and request.correct is not None:
        sums.canaries += 1
        sums.right += request.correct
    else:
        sums.unjudged += 1


def told(sums: Monitored, reference: Reference) -> str:
    """Which records count and which do not, with their numbers."""
    left = [
        (sums.unjudged, "comparisons and canaries without a verdict"),
        (sums.before, f"of {reference.student!r} from before"),
        *((n, f"of {name!r}") for name, n in sums.others.most_common(NAMED)),
        (sum(sorted(sums.others.values(), reverse=True)[NAMED:]), "of further students"),
    ]
    words = ", ".join(f"{n:,} {what}" for n, what in left if n) or "none"
    return (
        f"{sums.live:,} live and {sums.canaries:,} canary requests to student"
        f" {reference.student!r} since it was made, {reference.made:%Y-%m-%d %H:%M} UTC; records"
        f" left out: {words}"
    )


def triggers(
    config: RetrainConfig, reference: Reference, sums: Monitored, now: datetime
) -> tuple[Trigger, ...]:
    """Every trigger that has a threshold.

    Raises:
        ConfigError: no record counts for those that need some, and the student's age does not fire.
    """
    every = (
        _accuracy(config, reference, sums),
        _fallback(config, sums),
        _drift(config, reference, sums),
        _age(config, reference, now),
    )
    found = tuple(trigger for trigger in every if trigger is not None)
    asked = any(trigger.state is State.UNMEASURED for trigger in found)
    if asked and not sums.live and not sums.canaries and not fired(found):
        raise ConfigError(
            f"--monitoring: nothing was measured: {told(sums, reference)}; give the records of this"
            " student, or the student of these records"
        )
    return found


def fired(found: Iterable[Trigger]) -> bool:
    """Whether a new student must be made."""
    return any(trigger.state is State.FIRED for trigger in found)


def _accuracy(config: RetrainConfig, reference: Reference, sums: Monitored) -> Trigger | None:
    threshold = config.accuracy_drop
    if threshold is None:
        return None
    if not sums.canaries:
        return _unmeasured("accuracy_drop", threshold, "There are no canary requests.")
    was, now = reference.correct / reference.n, sums.right / sums.canaries
    least = independent_difference(
        reference.correct, reference.n, sums.right, sums.canaries, config.confidence
    )[0]
    return Trigger(
        name="accuracy_drop",
        state=_state(was - now, least, threshold),
        value=was - now,
        bound=least,
        threshold=threshold,
        reason=f"Right on {now:.1%} of {sums.canaries:,} canary requests, on {was:.1%} of"
        f" {reference.n:,} held-out questions when it was evaluated: a drop of {was - now:.1%},"
        f" of {least:.1%} at least; more than {threshold:.1%} fires.",
    )


def _fallback(config: RetrainConfig, sums: Monitored) -> Trigger | None:
    threshold = config.fallback_rate
    if threshold is None:
        return None
    if not sums.live:
        return _unmeasured("fallback_rate", threshold, "There are no live requests.")
    value = sums.fallbacks / sums.live
    least = share_bounds(sums.fallbacks, sums.live, config.confidence)[0]
    return Trigger(
        name="fallback_rate",
        state=_state(value, least, threshold),
        value=value,
        bound=least,
        threshold=threshold,
        reason=f"{value:.1%} of {sums.live:,} live requests fell back to the debate, {least:.1%} at"
        f" least; more than {threshold:.1%} fires.",
    )


def _drift(config: RetrainConfig, reference: Reference, sums: Monitored) -> Trigger | None:
    threshold = config.psi
    if threshold is None:
        return None
    if sums.live < config.min_requests:
        return _unmeasured(
            "psi",
            threshold,
            f"{sums.live:,} live requests are too few for drift (retrain.min_requests ="
            f" {config.min_requests:,}).",
        )
    found = {name: _psi_of(bins, sums.drift[name]) for name, bins in reference.bins.items()}
    worst = max(found, key=lambda name: found[name])
    value = found[worst]
    told = ", ".join(f"{name} {of:.3f}" for name, of in found.items())
    return Trigger(
        name="psi",
        state=State.FIRED if value > threshold else State.QUIET,
        value=value,
        bound=value,
        threshold=threshold,
        reason=f"The questions' {worst} have a population stability index of {value:.3f} over"
        f" {sums.live:,} live requests ({told}); more than {threshold:g} fires.",
    )


def _psi_of(bins: Bins, counts: Counter[int]) -> float:
    n = counts.total()
    return psi(bins.shares, [counts[i] / n for i in range(len(bins.shares))])


def _age(config: RetrainConfig, reference: Reference, now: datetime) -> Trigger | None:
    threshold = config.max_age_days
    if threshold is None:
        return None
    days = (now - reference.made.astimezone(UTC)).total_seconds() / DAY_S
    return Trigger(
        name="max_age_days",
        state=State.FIRED if days > threshold else State.QUIET,
        value=days,
        bound=days,
        threshold=threshold,
        reason=f"The student is {days:,.1f} days old; more than {threshold:g} fires.",
    )


def _state(value: float, least: float, threshold: float) -> State:
    if least > threshold:
        return State.FIRED
    return State.WATCH if value > threshold else State.QUIET


def _unmeasured(name: str, threshold: float, reason: str) -> Trigger:
    return Trigger(
        name=name,
        state=State.UNMEASURED,
        value=None,
        bound=None,
        threshold=threshold,
        reason=reason,
    )


def feature_bins(texts: Iterable[Mapping[str, int]]) -> dict[str, Bins]:
    """The bins of every feature, from features of reference questions."""
    rows = list(texts)
    return {name: bins_of([row[name] for row in rows]) for name in FEATURES}
