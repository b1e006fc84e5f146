"""The `evaluate` section of a configuration: which arms answer the held-out questions, and how."""

import re
from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from agentark_ray.debate.protocols.registry import TeamConfig
from agentark_ray.robustness_config import OOD, Kind, OodConfig, OodName, RobustnessConfig
from agentark_ray.section import Section
from agentark_ray.team import AgentConfig

ArmName = Literal[
    "single", "single_greedy", "self_consistency", "debate", "student", "student_greedy"
]
ARMS: tuple[ArmName, ...] = get_args(ArmName)
GREEDY = "_greedy"  # at the end of an arm's name: its most likely answer, temperature 0
# Ends of names that are not free, and names of files in requests/ that are no arm's.
ENDS = ("_check", "_peer", GREEDY, "-prm", ".json", "_checkpoint", "_earlier")
RESERVED = (*ARMS, "base", "train", "samples")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def check_arm_name(name: str) -> None:
    """Whether an arm may have a name.

    Raises:
        ValueError: it may not.
    """
    if not _NAME.fullmatch(name) or name.endswith(ENDS):
        raise ValueError(
            f"{name!r}: expected up to 64 letters, digits and ._-, not ending in {', '.join(ENDS)}"
        )
    if name in RESERVED:
        raise ValueError(f"{name!r}: is the name of an arm; choose another one")


class EvaluateConfig(Section):
    """Which arms answer the held-out questions, and how latency is probed."""

    arms: tuple[ArmName, ...] = ARMS
    """`single`, `debate` and `student` are always among them; `student` is every student."""
    teams: dict[str, TeamConfig] = Field(default_factory=dict)
    """Further debates, by names of your choice, each as the section `debate`."""
    endpoints: dict[str, AgentConfig] = Field(default_factory=dict)
    """Models behind OpenAI-compatible servers, by names of your choice, that answer alone: each as
    an agent of a team that has an `endpoint`."""
    samples: Annotated[int, Field(ge=1, le=64)] = 1
    """Answers of an arm to a question. Greedy arms, changed questions, other sets, second turns
    and latency have one."""
    self_consistency_samples: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Answers that self-consistency votes over. null: as many as are expected to cost what a
    debate costs, by the output tokens of the run's debates and of the first answers in them."""
    latency_queries: Annotated[int, Field(ge=0)] = 300
    """Questions a student answers one at a time on an otherwise idle engine, for its latency. To be
    95 % sure of a p99 takes 299, of a p95 59. Greedy arms have none."""
    other_latency_queries: Annotated[int, Field(ge=0)] = 60
    """As many at most of arms of no student: debates are slow, and no gate is about them."""
    peer_questions: Annotated[int, Field(ge=0)] = 100
    """The first held-out questions on which a single model reads a confident wrong peer."""
    robustness: RobustnessConfig = RobustnessConfig()
    ood: dict[OodName, OodConfig] = Field(default_factory=dict)
    """Further sets of questions, by names of your choice; that of `tasks.ood_path` is `ood`."""

    @property
    def base_arms(self) -> tuple[str, ...]:
        """Arms that the run's model answers as, without those of students."""
        own = [arm for arm in self.arms if not arm.startswith("student")]
        return (*own, *self.teams)

    @property
    def given_names(self) -> tuple[str, ...]:
        """Arms that the user has named."""
        return (*self.teams, *self.endpoints)

    def student_arms(self, arm: str) -> tuple[str, ...]:
        """The arms of the student that answers as `arm`."""
        return (arm, f"{arm}{GREEDY}") if "student_greedy" in self.arms else (arm,)

    def listed(self, arm: str) -> str:
        """What an arm is called in this section: all students are `student`."""
        if arm in (*ARMS, *self.given_names):
            return arm
        return "student_greedy" if arm.endswith(GREEDY) else "student"

    def changes(self, arm: str) -> list[tuple[Kind, float]]:
        """Kinds and strengths of the changed questions that an arm answers."""
        tried = not self.robustness.arms or self.listed(arm) in self.robustness.arms
        return self.robustness.cells if tried else []

    def timed(self, arm: str) -> int:
        """Questions that an arm answers for its latency."""
        of = self.listed(arm)
        if of.endswith(GREEDY):
            return 0
        if of == "student":
            return self.latency_queries
        return min(self.latency_queries, self.other_latency_queries)

    @model_validator(mode="after")
    def _own_names(self) -> "EvaluateConfig":
        for section, names in {"teams": self.teams, "endpoints": self.endpoints}.items():
            for name in names:
                try:
                    check_arm_name(name)
                except ValueError as error:
                    raise ValueError(f"{section}: {error}") from None
        if twice := sorted(self.teams.keys() & self.endpoints.keys()):
            raise ValueError(f"{twice} are both in teams and in endpoints")
        there = [*self.arms, *self.given_names]
        if unknown := sorted(set(self.robustness.arms) - set(there)):
            raise ValueError(f"robustness.arms: {unknown} are not among arms={there}")
        if OOD in self.ood:
            raise ValueError(f"ood.{OOD}: is the name of the set of tasks.ood_path")
        return self

    @model_validator(mode="after")
    def _needed_arms(self) -> "EvaluateConfig":
        missing = {"single", "debate", "student"} - set(self.arms)
        if missing or len(set(self.arms)) < len(self.arms):
            raise ValueError(
                f"arms must name single, debate and student once each, got {list(self.arms)}"
            )
        return self

    @model_validator(mode="after")
    def _endpoints_are_some(self) -> "EvaluateConfig":
        for name, agent in self.endpoints.items():
            if not agent.endpoint:
                raise ValueError(f"endpoints.{name}: needs an endpoint, e.g. http://host:8000/v1")
        return self
