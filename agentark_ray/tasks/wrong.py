"""A wrong answer that looks like a right one, for probes of whether a model gives in to it."""

import random
from fractions import Fraction

from agentark_ray.grading.choice import CHOICE
from agentark_ray.grading.math import MATH
from agentark_ray.grading.numeric import NUMERIC
from agentark_ray.tasks.text import LETTERS, split_options
from agentark_ray.types import Question


def wrong_answer(question: Question, grader: str, seed: str) -> str | None:
    """An answer of the same form that is wrong: another letter, a number near the right one.

    Args:
        question: with its gold answer and aliases.
        grader: the name of its grader.
        seed: what decides among the wrong answers.

    Returns:
        None where none can be made: no gold answer, no number, free text.
    """
    if question.gold is None:
        return None
    rng = random.Random(seed)
    right = {question.gold, *question.aliases}
    if grader == CHOICE.name:
        letters = LETTERS[: len(split_options(question.text)[1])]
        others = [letter for letter in letters if letter not in right]
        return rng.choice(others) if others else None
    return _near(question.gold, right, rng) if grader in (NUMERIC.name, MATH.name) else None


def _near(gold: str, right: set[str], rng: random.Random) -> str | None:
    number = _number(gold)
    if number is None:
        return None
    known = {_number(one) for one in right}
    decimals = len(gold.partition(".")[2])
    found = [number + d for d in (1, 2, 3, 10, -1, -2, -3, -10)] + [2 * number, 10 * number]
    if number >= 0:
        found = [one for one in found if one >= 0]
    other = [one for one in found if one not in known and 100 * one not in known]
    chosen = rng.choice([one for one in other if one != 100 * number])
    return f"{float(chosen):.{decimals}f}" if chosen.denominator > 1 else str(chosen.numerator)


def _number(text: str) -> Fraction | None:
    """A plain decimal number; None for anything else."""
    try:
        return Fraction(text) if "/" not in text and len(text) < 30 else None
    except ValueError:
        return None
