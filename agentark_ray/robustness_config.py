"""The `evaluate.robustness` and `evaluate.ood` sections: which changed questions are asked, too.

What a perturbation does is in evaluate/perturb/.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, model_validator

from agentark_ray.questions import GENERATED, ColumnsConfig, GraderName, TaskName
from agentark_ray.section import Section


class Kind(StrEnum):
    """A way to change a question."""

    REPEAT = "repeat"  # nothing changes: what flips by sampling alone
    TYPOS = "typos"
    PUNCTUATION = "punctuation"
    NUMBER_WORDS = "number_words"
    IRRELEVANT = "irrelevant"
    RENAMED = "renamed"
    REORDERED = "reordered"
    OPTIONS = "options"
    INJECTION = "injection"
    PEER = "peer"


SHARES = (Kind.TYPOS, Kind.PUNCTUATION, Kind.NUMBER_WORDS)  # strength: a share, above 0, up to 1
COUNTS: Mapping[Kind, int] = {Kind.IRRELEVANT: 3, Kind.PEER: 4}  # strength: 1 up to this number
# Without the reordered: hardly any question has sentences that may change places (2 % of GSM8K's),
# so that no set would be large enough for a gate that every kind must pass.
DEFAULT_KINDS: dict[Kind, tuple[float, ...]] = {
    Kind.TYPOS: (0.1, 0.3),
    Kind.PUNCTUATION: (0.1, 0.3, 0.5),
    Kind.NUMBER_WORDS: (1,),
    Kind.IRRELEVANT: (1,),
    Kind.RENAMED: (1,),
    Kind.OPTIONS: (1,),
    Kind.INJECTION: (1,),
    Kind.PEER: (1,),
}


def check_strength(kind: Kind, strength: float) -> None:
    """Whether a kind can be had with a strength.

    Raises:
        ValueError: it cannot.
    """
    if kind in SHARES:
        if not 0 < strength <= 1:
            raise ValueError(f"{kind}: strength is a share above 0 and up to 1, got {strength:g}")
    elif strength not in range(1, COUNTS.get(kind, 1) + 1):
        most = COUNTS.get(kind, 1)
        rule = f"a whole number from 1 to {most}" if most > 1 else "always 1"
        raise ValueError(f"{kind}: strength is {rule}, got {strength:g}")


class RobustnessConfig(Section):
    """Held-out questions that are asked once more, changed; see README."""

    questions: Annotated[int, Field(ge=0)] = 0
    """The first held-out questions that are; 0: robustness is not measured."""
    arms: tuple[str, ...] = ()
    """Arms that answer them, of `evaluate.arms`; `student` is every student. Empty: all."""
    kinds: dict[Kind, tuple[float, ...]] = DEFAULT_KINDS
    """Which changes, with the strengths of each: a share of the words (typos, punctuation) or of
    the numbers (number_words), how many sentences (irrelevant) or peers (peer); 1 for others."""

    @model_validator(mode="after")
    def _strengths_fit(self) -> "RobustnessConfig":
        for kind, strengths in self.kinds.items():
            for strength in strengths:
                check_strength(kind, strength)
            if not strengths or len(set(strengths)) < len(strengths):
                raise ValueError(f"kinds.{kind}: expected strengths, once each, got {strengths}")
        return self

    @property
    def cells(self) -> list[tuple[Kind, float]]:
        """Every kind with each of its strengths; none if robustness is not measured."""
        if not self.questions:
            return []
        return [(kind, float(s)) for kind, strengths in self.kinds.items() for s in strengths]


_CHANGED = "changed:"


def row_kind(kind: Kind, strength: float) -> str:
    """The column `kind` of requests and traces of changed questions."""
    return f"{_CHANGED}{kind}:{strength:g}"


def cell_of(row_kind: str) -> tuple[Kind, float] | None:
    """Kind and strength of a row's `kind`; None for questions as they are."""
    if not row_kind.startswith(_CHANGED):
        return None
    kind, _, strength = row_kind.removeprefix(_CHANGED).partition(":")
    return Kind(kind), float(strength)


OOD = "ood"  # the set of `tasks.ood_path`; others are ood-NAME
OodName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,40}$")]


def ood_kind(name: str) -> str:
    """The column `kind` of requests and traces of a set of another distribution."""
    return f"{OOD}:{name}"


def ood_of(row_kind: str) -> str | None:
    """The set of another distribution that a row's `kind` names, if it names one."""
    return row_kind.removeprefix(f"{OOD}:") if row_kind.startswith(f"{OOD}:") else None


class OodConfig(Section):
    """A set of questions of another distribution, for evaluation only."""

    task: TaskName
    path: str | None = None
    """As `tasks.path`; its test or validation files if it has any, else all. The task `arithmetic`
    needs none: its stories are longer than those of training."""
    questions: Annotated[int, Field(ge=1)] | None = None
    """At most this many; null for all."""
    grader: GraderName | None = None
    """Of a `custom` task."""
    columns: ColumnsConfig = ColumnsConfig()
    """Of a `custom` task."""
    context: Literal["full", "evidence"] = "full"
    context_words: Annotated[int, Field(ge=20)] | None = None

    @model_validator(mode="after")
    def _has_what_its_task_needs(self) -> "OodConfig":
        if (self.task == GENERATED) != (self.path is None):
            raise ValueError(f"the task {self.task} got path={self.path}; files are for the others")
        if (self.task == "custom") != (self.grader is not None):
            raise ValueError(f"a grader is for the task custom, which needs one; got {self.task}")
        return self
