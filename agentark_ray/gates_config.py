"""The sections `gates` and `retrain`: what a student must reach, and when it must be made anew."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from agentark_ray.section import OPERATIONAL, Section

HELD_OUT = "held_out"  # the suite of the questions that every arm answers


class DecideBy(StrEnum):
    """What of a measurement must be past a gate's threshold."""

    BOUND = "bound"  # its confidence bound
    POINT = "point"  # the estimate itself


class GatesConfig(Section):
    """What the student must reach to replace the debate; null leaves a gate out."""

    accuracy_ratio: Annotated[float, Field(gt=0)] | None = 0.95
    """Student accuracy over debate accuracy, at least."""
    token_ratio: Annotated[float, Field(gt=0)] | None = 0.2
    """Student output tokens a query over the debate's, at most."""
    p95_ms: Annotated[float, Field(gt=0)] | None = 80.0
    p99_ms: Annotated[float, Field(gt=0)] | None = 200.0
    adversarial_failure: Annotated[float, Field(gt=0, lt=1)] | None = 0.01
    """Share of the student's right answers that are wrong when the question is changed, less than;
    of the worst kind and strength (`evaluate.robustness`)."""
    min_traces: Annotated[int, Field(ge=0)] | None = 1000
    """Finished debates on training questions, at least."""
    no_regression: tuple[str, ...] = ()
    """Suites of questions on which the student must not be less accurate than the single model:
    `held_out`, `ood` or names of `evaluate.ood`."""
    regression_margin: Annotated[float, Field(ge=0, lt=1)] = 0.02
    """Of accuracy (0.02 is two points), that is no regression yet."""
    hybrid_accuracy_ratio: Annotated[float, Field(gt=0)] = 0.8
    """Below the accuracy gate, but at least this ratio: hybridize instead of continue."""
    confidence: Annotated[float, Field(ge=0.5, lt=1)] = 0.95
    """Of the one-sided bounds; 1 - confidence is the chance that a student passes a threshold that
    it truly misses."""
    decide_by: DecideBy = DecideBy.BOUND
    """`bound`: a gate passes if its confidence bound does; `point`: if the estimate does."""


class RetrainConfig(Section):
    """When a student that is in use must be made anew; null leaves a trigger out."""

    accuracy_drop: Annotated[float | None, Field(gt=0, lt=1, json_schema_extra=OPERATIONAL)] = 0.02
    """Canary accuracy below the accuracy of the evaluation, by more than this."""
    fallback_rate: Annotated[float | None, Field(gt=0, lt=1, json_schema_extra=OPERATIONAL)] = 0.3
    """Share of the requests that were handed to the debate, more than."""
    psi: Annotated[float | None, Field(gt=0, json_schema_extra=OPERATIONAL)] = 0.2
    """Population stability index of a feature of the questions, more than."""
    max_age_days: Annotated[float | None, Field(gt=0, json_schema_extra=OPERATIONAL)] = 90.0
    confidence: Annotated[float, Field(ge=0.5, lt=1, json_schema_extra=OPERATIONAL)] = 0.95
    """Of the bounds that accuracy and fallback rate must pass to count."""
    min_requests: Annotated[int, Field(ge=1, json_schema_extra=OPERATIONAL)] = 200
    """Fewer requests say nothing about drift."""
