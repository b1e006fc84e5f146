"""Which strategy the debates are good for.

    few questions with a right solution, or only final answers      -> RSFT
    step-level debates: many solutions of several steps that were
        wrong and then put right by the same agent                  -> PAD
    many structured solutions, and more than one to learn from      -> DA
    many structured solutions that are all but one a question       -> RSFT

PAD needs to know at which step a solution goes wrong, and a correction shows it; DA needs a second
different solution or a correction, else it has nothing to add to RSFT. The thresholds are choices,
not measurements: a thousand is where this project's default gate (`gates.min_traces`) begins to
believe a training set, three steps are the least of which one can be wrong and the others right.
"""

from dataclasses import asdict, dataclass
from typing import Any

FEW = 1_000  # questions
STRUCTURED = 3  # steps
MORE = 0.2  # second solutions and corrections a question, at least, for DA


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What the recommendation rests on."""

    questions: int
    solved: int  # questions with a right solution
    median_steps: int | None  # of their solutions
    different: float | None  # right solutions of a solved question, on average
    corrected: int  # agents that were wrong and then right
    step_level: int  # questions with such an agent and solutions of STRUCTURED steps or more


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """A strategy, its reason, and the figures."""

    strategy: str  # RSFT, DA or PAD
    reason: str
    figures: Figures

    def to_json(self) -> dict[str, Any]:
        """As the data card has it."""
        return asdict(self)


def recommend(found: Figures) -> Recommendation:
    """The strategy by the table above, the first line that holds."""
    strategy, reason = _decide(found)
    return Recommendation(strategy=strategy, reason=reason, figures=found)


def _decide(found: Figures) -> tuple[str, str]:
    if found.solved < FEW:
        return "RSFT", (
            f"{found.solved:,} questions have a right solution, fewer than {FEW:,}: too few"
            " to teach more than their best solutions."
        )
    if found.median_steps is None or found.median_steps < STRUCTURED:
        return "RSFT", (
            f"The median right solution has {found.median_steps or 0} steps, fewer than"
            f" {STRUCTURED}: there are answers, but no steps to augment or to judge."
        )
    if found.step_level >= FEW:
        return "PAD", (
            f"In {found.step_level:,} questions an agent put a solution of {STRUCTURED} steps or"
            f" more right, at least {FEW:,}: they show which step was wrong, which a process"
            " reward model needs."
        )
    more = (found.different or 1) - 1 + found.corrected / found.solved
    if more < MORE:
        return "RSFT", (
            f"A solved question has {more:.3g} second solutions and corrections, fewer than"
            f" {MORE:g}: data augmentation has next to nothing to add."
        )
    return "DA", (
        f"{found.solved:,} questions have right solutions of {found.median_steps} steps, and"
        f" {more:.3g} second solutions and corrections each; {found.step_level:,} questions with a"
        f" corrected solution of several steps are fewer than the {FEW:,} that PAD needs."
    )
