"""What the debates on a question show, whatever is made of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median_low

from agentark_ray.debate_rows import AgentPath, PathClass, agent_paths, turn_leaves
from agentark_ray.distill.asked import Asked, solver_turns
from agentark_ray.distill.solutions import Said
from agentark_ray.distill.steps import split_steps
from agentark_ray.types import DebateStatus, Verdict

COLUMNS = (  # of a trace that has one debate on a question
    *("debate_id", "question_id", "question", "task", "arm", "kind", "status"),
    *turn_leaves("agent", "role", "round", "text", "verdict"),
)
EASY, MEDIUM = 0.8, 0.4  # share of the first answers that are right, at least


class Difficulty(StrEnum):
    """How many of the agents were right before they read each other."""

    EASY = "easy"
    MEDIUM = "medium"
    HARD = "hard"  # fewer, but somebody
    UNSOLVED = "unsolved"  # nobody
    UNKNOWN = "unknown"  # no first answer has a verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Of all solvers' turns in debates that ended well."""

    difficulty: Difficulty
    paths: Sequence[AgentPath]
    right: int  # turns
    wrong: int  # turns; an unparsable answer is wrong, one that was not graded is neither
    different_right: int  # texts
    steps: int  # of the median right solution; if none is right, of the median solution

    @property
    def corrected(self) -> int:
        """Agents that were wrong and then right."""
        return sum(found.path is PathClass.CORRECTED for found in self.paths)


def facts(question: Asked) -> Facts:
    """Counts over the debates on one question."""
    held = [trace for trace in question.debates if trace["status"] == DebateStatus.OK]
    said = [one for trace in held for one in solver_turns(trace)]
    right = {one.text for one in said if one.right}
    texts = right or {one.text for one in said}
    return Facts(
        difficulty=difficulty(said),
        paths=[found for trace in held for found in agent_paths(trace)],
        right=sum(one.right for one in said),
        wrong=sum(_wrong(one) for one in said),
        different_right=len(right),
        steps=median_low(len(split_steps(text)) for text in texts) if texts else 0,
    )


def difficulty(said: Sequence[Said]) -> Difficulty:
    """By the share of right first answers among those with a verdict."""
    first = [one for one in said if one.turn["round"] == 0 and (one.right or _wrong(one))]
    if not first:
        return Difficulty.UNKNOWN
    share = sum(one.right for one in first) / len(first)
    if share >= EASY:
        return Difficulty.EASY
    if share >= MEDIUM:
        return Difficulty.MEDIUM
    return Difficulty.HARD if share else Difficulty.UNSOLVED


def _wrong(one: Said) -> bool:
    return one.turn["verdict"] in (Verdict.INCORRECT, Verdict.UNPARSABLE)
