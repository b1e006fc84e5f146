"""When a hybrid asks the debate: the confidence a student's answer must have. Pure.

Confidence is the mean log-probability of the answer's tokens. The threshold is the lowest one with
which the hybrid is as accurate on the held-out questions as asked for. Chosen and measured on the
same questions it would look too good, so its figures come from the other half: each half of the
questions is answered by the threshold of the other one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

NEVER = -math.inf  # the confidence of an answer that cannot be read


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One held-out question, answered by both."""

    confidence: float  # mean log-probability, 0 at most; NEVER
    student_right: bool
    debate_right: bool
    student_tokens: int  # output tokens
    debate_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Hybrid:
    """What a threshold does. Shares are 0..1."""

    threshold: float
    n: int
    accuracy: float  # on questions that did not choose the threshold
    debate_accuracy: float
    student_accuracy: float
    handed_over: float  # share of the questions
    token_ratio: float | None  # output tokens over the debate's; the student's count, too


def calibrate(cases: Sequence[Case], target_ratio: float) -> Hybrid:
    """The threshold for an accuracy of `target_ratio` times the debate's, and what it does.

    Args:
        cases: at least 2, in an order that has nothing to do with the answers.
        target_ratio: 1 is as accurate as the debate.

    Raises:
        ValueError: too few cases, or no threshold reaches the target; it says the best.
    """
    if len(cases) < 2:
        raise ValueError(f"got {len(cases)} questions that both answered, expected at least 2")
    halves = cases[::2], cases[1::2]
    right = tokens = handed = 0
    for mine, other in (halves, halves[::-1]):
        threshold = _threshold(other, target_ratio)
        for case in mine:
            alone = case.confidence >= threshold
            right += case.student_right if alone else case.debate_right
            tokens += case.student_tokens + (0 if alone else case.debate_tokens)
            handed += not alone
    n, debate_tokens = len(cases), sum(case.debate_tokens for case in cases)
    return Hybrid(
        threshold=_threshold(cases, target_ratio),
        n=n,
        accuracy=right / n,
        debate_accuracy=sum(case.debate_right for case in cases) / n,
        student_accuracy=sum(case.student_right for case in cases) / n,
        handed_over=handed / n,
        token_ratio=tokens / debate_tokens if debate_tokens else None,
    )


def _threshold(cases: Sequence[Case], target_ratio: float) -> float:
    """The lowest threshold whose hybrid reaches the target on these questions."""
    ordered = sorted(cases, key=lambda case: -case.confidence)
    debate_right = sum(case.debate_right for case in cases)
    needed = target_ratio * debate_right
    right, best, found = debate_right, debate_right, _above(ordered[0].confidence)
    reached = right >= needed
    for k, case in enumerate(ordered):
        right += case.student_right - case.debate_right
        if case.confidence == NEVER:
            break
        if k + 1 < len(ordered) and ordered[k + 1].confidence == case.confidence:
            continue  # equal ones go together
        best = max(best, right)
        if right >= needed:
            reached, found = True, case.confidence
    if not reached:
        raise ValueError(
            f"no threshold reaches {target_ratio:g} x the debate's accuracy"
            f" ({debate_right / len(cases):.1%}); the best hybrid has {best / len(cases):.1%}"
        )
    return found


def _above(confidence: float) -> float:
    """A threshold that no answer reaches."""
    return math.nextafter(max(confidence, -1e300), math.inf)
