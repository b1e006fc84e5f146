"""How solutions are written: their steps, words of verification and revision, whether sums hold.

Read are the last words of every solver in debates that came to an end. Nothing here knows whether
an answer is right; the scores of a process reward model are in ../step_scores.py.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from agentark_ray.debate_rows import Row, solves, turn_leaves
from agentark_ray.distill.equations import equations
from agentark_ray.distill.steps import split_steps
from agentark_ray.evaluate.metrics import ratio
from agentark_ray.evaluate.tally import CHECK, PEER
from agentark_ray.types import DebateStatus

QUALITY_COLUMNS = (
    *("question_id", "arm", "kind", "status", "task", "question"),
    *turn_leaves("agent", "role", "round", "text"),
)
_VERIFIES = re.compile(
    r"\blet(?:['\N{RIGHT SINGLE QUOTATION MARK}]s| us| me) (?:check|verify|confirm)\b"
    r"|\b(?:double|re|cross)-? ?check|\bverif(?:y|ies|ied|ying|ication)\b|\bsanity check"
    r"|\bto (?:check|confirm)\b|\bcheck(?:ing|s)? (?:this|that|it|our|my|each|the (?:answer|result"
    r"|solution|work|calculation))\b|\bcheck:|\bconfirm(?:s|ing)? (?:that|this|the|our|my)\b"
    r"|\b(?:plug|substitut)\w* [^.\n]{0,40}\bback\b",
    re.IGNORECASE,
)
_REVISES = re.compile(
    r"(?:^|[.!?\n] ?)(?:wait|hold on|oops|hmm)\b|\bactually,|\bon second thought"
    r"|\b(?:made|found|spotted|see|notice) (?:a|an|the|my|another) (?:\w+ )?(?:mistake|error)\b"
    r"|\blet me (?:redo|reconsider|rethink|recalculate|correct|fix|start over)\b|\bi was wrong\b"
    r"|\bmy (?:earlier|previous|first|initial) (?:answer|solution|step|calculation) "
    r"(?:is|was) (?:wrong|incorrect)\b|\bcorrection:|\bi (?:now )?revise\b",
    re.IGNORECASE,
)


@dataclass(slots=True, kw_only=True)
class Quality:
    """Sums over the solutions of an arm."""

    solutions: int = 0
    steps: int = 0
    verifying: int = 0  # solutions with at least one word of verification
    revising: int = 0  # and of revision
    equations: int = 0  # that can be read beyond doubt
    holding: int = 0
    checkable: int = 0  # solutions with such equations
    consistent: int = 0  # solutions in which all of them hold

    def add(self, text: str) -> None:
        """Count one solution."""
        held = [holds for _, holds in equations(text)]
        self.solutions += 1
        self.steps += len(split_steps(text))
        self.verifying += bool(_VERIFIES.search(text))
        self.revising += bool(_REVISES.search(text))
        self.equations += len(held)
        self.holding += sum(held)
        self.checkable += bool(held)
        self.consistent += bool(held) and all(held)

    def figures(self) -> dict[str, Any]:
        """Means and shares, 0 to 1, a solution; null where there is nothing to share in."""
        return {
            "solutions": self.solutions,
            "steps": ratio(self.steps, self.solutions),
            "verifying": ratio(self.verifying, self.solutions),
            "revising": ratio(self.revising, self.solutions),
            "equations": self.equations,
            "equations_holding": ratio(self.holding, self.equations),
            "checkable": self.checkable,
            "consistent": ratio(self.consistent, self.checkable),
        }


def last_solutions(row: Row) -> list[str]:
    """The last words of every solver of a debate, by agent."""
    last: dict[int, tuple[int, str]] = {}
    for turn in filter(solves, row["turns"] or ()):
        if turn["agent"] not in last or turn["round"] > last[turn["agent"]][0]:
            last[turn["agent"]] = turn["round"], turn["text"]
    return [text for _, (_, text) in sorted(last.items())]


def is_main(row: Row) -> bool:
    """Whether a row is an arm's answer to a held-out question, and came to an end."""
    own = row["kind"] == "main" and not row["arm"].endswith((CHECK, PEER))
    return own and row["status"] == DebateStatus.OK


def step_quality(rows: Iterable[Row]) -> Mapping[str, dict[str, Any]]:
    """Arm -> its figures."""
    arms: dict[str, Quality] = {}
    for row in filter(is_main, rows):
        of_arm = arms.setdefault(row["arm"], Quality())
        for text in last_solutions(row):
            of_arm.add(text)
    return {arm: found.figures() for arm, found in arms.items()}
