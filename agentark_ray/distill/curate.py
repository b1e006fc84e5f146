"""The debates on one question -> training rows, and what became of every right solution. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from agentark_ray.distill.asked import Asked, Sampling, Trace, asked, nothing_right
from agentark_ray.distill.facts import Facts, facts
from agentark_ray.distill.registry import STRATEGIES
from agentark_ray.distill.rows import Drop, RowKind, TrainingRow
from agentark_ray.distill.solutions import (
    Likeness,
    Solution,
    diversity,
    right_solutions,
    step_likeness,
)
from agentark_ray.strategy import StrategyConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Curated:
    """What is learned from one question; `dropped` says why, if nothing is."""

    question: Asked
    facts: Facts
    dropped: Drop | None
    rows: Sequence[TrainingRow] = ()
    solutions: Sequence[Solution] = ()  # right ones the strategy may use, the best first
    sampling: Sampling | None = None
    diversity_before: float | None = None  # of these solutions
    diversity_after: float | None = None  # of those that are rows


def curate(
    traces: Sequence[Trace],
    config: StrategyConfig,
    strategy: str,
    duplicate: bool = False,
    alike: Likeness = step_likeness,
) -> Curated:
    """Rows of all debates on one question (rows of TRACE_SCHEMA), in any order.

    `duplicate` says that another question of the set is all but the same and stands for this one.
    """
    question = asked(traces)
    found = Curated(question=question, facts=facts(question), dropped=Drop.DUPLICATE_QUESTION)
    if duplicate:
        return found
    material = STRATEGIES[strategy].material(question)
    if isinstance(material, Drop):
        return replace(found, dropped=material)
    solutions = right_solutions(material.said, config.curation)
    fit = [solution for solution in solutions if solution.dropped is None]
    rows = STRATEGIES[strategy].rows(question, fit, config, alike)
    taken = {row.target for row in rows if row.kind is RowKind.SOLVE}
    return replace(
        found,
        dropped=None if rows else nothing_right(material.said, solutions),
        rows=rows,
        solutions=[_with_fate(solution, taken) for solution in solutions],
        sampling=material.sampling,
        diversity_before=diversity(alike([solution.text for solution in solutions])),
        diversity_after=diversity(alike([s.text for s in fit if s.text in taken])),
    )


def _with_fate(solution: Solution, taken: set[str]) -> Solution:
    if solution.dropped is None and solution.text not in taken:
        return replace(solution, dropped=Drop.NOT_CHOSEN)
    return solution
