"""A gate: a figure of the student, what is certain of it, and whether it is past a threshold.

A gate passes if its confidence bound is past the threshold, fails if even the bound of the other
side is not, and is open between; then it says how many more questions or queries are expected to
decide it. A gate that was not measured fails.
"""

from dataclasses import dataclass
from enum import StrEnum

from agentark_ray.gates_config import DecideBy, GatesConfig


class Status(StrEnum):
    """What became of a gate."""

    PASSED = "passed"
    FAILED = "failed"
    OPEN = "open"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """One condition on the student."""

    name: str  # a field of GatesConfig; of a suite, no_regression:SUITE
    value: float | None  # None if it was not measured
    bound: float | None  # the worse end of what is certain; None if nothing is
    threshold: float
    status: Status
    passed: bool
    more: int | None  # of `unit`, expected to decide an open gate; None if not open, or unknown
    unit: str | None  # questions, queries, right answers
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A figure with its bounds, before it is judged."""

    name: str
    value: float
    worse: float | None  # the bound that must pass; None if the sample is too small for one
    better: float | None  # the bound of the other side
    threshold: float
    least: bool  # the threshold is a lower limit
    strict: bool = False  # and it must be passed, not reached
    needed: int | None = None  # sample that decides, if all stays as it is
    had: int = 0  # sample that there is
    unit: str = "questions"
    form: str = "{:.3f}"
    told: str  # what was measured, and what was asked


def judged(one: Measured, config: GatesConfig) -> Gate:
    """The gate of a figure."""
    if config.decide_by is DecideBy.POINT:
        status = Status.PASSED if _past(one, one.value) else Status.FAILED
    elif one.worse is not None and _past(one, one.worse):
        status = Status.PASSED
    elif one.better is not None and not _past(one, one.better):
        status = Status.FAILED
    else:
        status = Status.OPEN
    more = None
    if status is Status.OPEN and one.needed is not None:
        more = max(1, one.needed - one.had)
    return Gate(
        name=one.name,
        value=one.value,
        bound=one.worse,
        threshold=one.threshold,
        status=status,
        passed=status is Status.PASSED,
        more=more,
        unit=one.unit if status is Status.OPEN else None,
        reason=one.told + _certainty(one, config, status, more),
    )


def _past(one: Measured, value: float) -> bool:
    if one.strict:
        return value > one.threshold if one.least else value < one.threshold
    return value >= one.threshold if one.least else value <= one.threshold


def _certainty(one: Measured, config: GatesConfig, status: Status, more: int | None) -> str:
    if config.decide_by is DecideBy.POINT or (one.worse == one.better == one.value):
        return ""
    side = "least" if one.least else "most"
    if one.worse is None:
        known = f" {one.had:,} {one.unit} are too few for a bound"
    else:
        bound = one.form.format(one.worse)
        known = f" It is at {side} {bound} with {100 * config.confidence:g} % confidence"
    if status is not Status.OPEN:
        return f"{known}."
    if more is None:
        return f"{known}: open, and exactly what was asked, so more {one.unit} would not decide."
    return f"{known}: open; about {more:,} more {one.unit} would decide."


def unmeasured(name: str, threshold: float, reason: str) -> Gate:
    """The gate of a figure that is missing."""
    return Gate(
        name=name,
        value=None,
        bound=None,
        threshold=threshold,
        status=Status.FAILED,
        passed=False,
        more=None,
        unit=None,
        reason=reason,
    )


def count(n: int, noun: str) -> str:
    """A number of things in words."""
    plural = noun.removesuffix("y") + "ies" if noun.endswith("y") else noun + "s"
    return f"{n:,} {noun if n == 1 else plural}"
