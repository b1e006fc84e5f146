"""The right solutions of one question: the fit ones, without doubles, and the most different few.

Few solutions are compared, so exactly: Jaccard on the shingles of their steps. (MinHash pays off
where many are; among questions it does, see train/duplicates.py.) How different solutions are may
be measured otherwise, see `Likeness`; doubles are always a matter of words. Everything here depends
on the set of solutions alone, not on the order in which they come.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from agentark_ray.distill.equations import false_equation
from agentark_ray.distill.rows import Drop
from agentark_ray.distill.screen import fault
from agentark_ray.distill.steps import step_texts
from agentark_ray.similar import jaccard_matrix, shingles, words
from agentark_ray.strategy import CurationConfig
from agentark_ray.types import Verdict

Trace = Mapping[str, Any]  # a row of TRACE_SCHEMA
# N texts -> how alike each pair is, 0..1, as a symmetric array of shape (N, N), 1 on its diagonal.
Likeness = Callable[[Sequence[str]], np.ndarray]
EQUAL = 1e-5  # apart at most: an embedding's cosine with itself is not exactly 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A solver's turn and the debate it is of."""

    debate_id: str
    question: str
    turn: Mapping[str, Any]  # a turn of TRACE_SCHEMA

    @property
    def text(self) -> str:
        """What was said, without white space around it."""
        return self.turn["text"].strip()

    @property
    def right(self) -> bool:
        """Whether the verdict is correct."""
        return self.turn["verdict"] == Verdict.CORRECT

    def fault(self, settings: CurationConfig) -> Drop | None:
        """Why it is not fit to be shown, whatever its answer."""
        return fault(self.text, self.turn["finish_reason"], self.question, settings)

    def flaw(self, settings: CurationConfig) -> Drop | None:
        """Why it is not fit to be learned, although its answer is right."""
        if found := self.fault(settings):
            return found
        return Drop.FALSE_EQUATION if settings.true_equations and _false(self.text) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """A right solution, and why it is not to be learned, if so."""

    said: Said
    text: str
    shingles: frozenset[str]  # of its steps
    dropped: Drop | None


def right_solutions(said: Sequence[Said], settings: CurationConfig) -> list[Solution]:
    """The right ones among what was said, the best first; doubles go to the better one.

    Best is what the model itself finds most likely (mean log-probability), the shorter one where
    equal.
    """
    ranked = sorted((one for one in said if one.right), key=_rank)
    found = [
        Solution(
            said=one,
            text=one.text,
            shingles=step_shingles(one.text),
            dropped=one.flaw(settings),
        )
        for one in ranked
    ]
    return _without_doubles(found, settings.near_duplicate)


def _rank(one: Said) -> tuple[Any, ...]:
    turn = one.turn
    best = (-turn["mean_logprob"], turn["output_tokens"], one.text)
    return (*best, one.debate_id, turn["round"], turn["agent"])


@lru_cache(512)  # agents that agree say the same words
def _false(text: str) -> bool:
    return false_equation(text) is not None


@lru_cache(512)
def step_shingles(text: str) -> frozenset[str]:
    """Shingles of words that do not reach from one step into the next."""
    return frozenset().union(*(shingles(words(step)) for step in step_texts(text)))


def step_likeness(texts_N: Sequence[str]) -> np.ndarray:
    """The default Likeness, without a model: Jaccard on the shingles of steps."""
    return jaccard_matrix([step_shingles(text) for text in texts_N])


def _without_doubles(solutions: Sequence[Solution], near: float) -> list[Solution]:
    """A fit solution is dropped if a better one that stays has its words, or nearly."""
    alike_N_N = jaccard_matrix([solution.shingles for solution in solutions])
    read: set[tuple[str, ...]] = set()
    stay: list[int] = []
    result = []
    for index, solution in enumerate(solutions):
        if solution.dropped is None:
            said = tuple(words(solution.text))
            if said in read:
                solution = replace(solution, dropped=Drop.DUPLICATE)
            elif near < 1 and (alike_N_N[index, stay] >= near).any():
                solution = replace(solution, dropped=Drop.NEAR_DUPLICATE)
            else:
                stay.append(index)
                read.add(said)
        result.append(solution)
    return result


def most_different(alike_N_N: np.ndarray, k: int) -> list[int]:
    """At most k places, so that what is chosen is as different as possible (farthest first).

    The first is always chosen; then, again and again, the one whose nearest chosen one is farthest
    (Gonzalez 1985: at most twice as close as the best choice of k, where distances are a metric);
    the earlier one where equal. What equals a chosen one is never chosen.
    """
    if not len(alike_N_N) or not k:
        return []
    apart_N_N = 1 - alike_N_N
    chosen = [0]
    nearest_N = apart_N_N[0]
    while len(chosen) < k:
        farthest = int(np.argmax(nearest_N))
        if nearest_N[farthest] <= EQUAL:
            break
        chosen.append(farthest)
        nearest_N = np.minimum(nearest_N, apart_N_N[farthest])
    return chosen


def diversity(alike_N_N: np.ndarray) -> float | None:
    """Mean distance (1 - likeness) of all pairs, 0..1; None for less than two."""
    n = len(alike_N_N)
    if n < 2:
        return None
    return float(1 - (alike_N_N.sum() - np.trace(alike_N_N)) / (n * (n - 1)))
