"""What the gates are asked of: figures of the student, the debate and the single model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from agentark_ray.evaluate.metrics import ArmResult
from agentark_ray.evaluate.paired import Pair
from agentark_ray.evaluate.statistics import Mcnemar

DEBATE, SINGLE, STUDENT = "debate", "single", "student"

Arms = Mapping[str, ArmResult]


@dataclass(frozen=True, slots=True, kw_only=True)
class Flips:
    """Answers of the student to changed questions, of one kind and strength."""

    kind: str
    strength: float
    right: int  # right on the question as it was
    flipped: int  # of those, not right on the changed one


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """What the student must be better than to be worth its making."""

    arm: str
    name: str  # in a sentence
    pair: Pair  # student, rival


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that is known of a student; what was not measured is None or empty."""

    arms: Arms
    mcnemar: Mapping[str, Mcnemar]  # an arm against the debate
    train_traces: int  # finished debates on training questions
    pair: Pair | None = None  # student, debate
    tokens: tuple[Sequence[float], Sequence[float]] | None = None
    """Output tokens of student and debate on each common question."""
    wall_ms: Sequence[float] = ()
    """Of the student's queries, each alone."""
    flips: Sequence[Flips] = ()
    """Without the kind that changes nothing."""
    suites: Mapping[str, Pair] = field(default_factory=dict)
    """Suite -> student, single model."""
    rivals: Sequence[Rival] = ()
    seed: int = 0  # of the bootstrap
