"""Tuples, intervals, sets and lists of plain numbers, compared without any parser."""

import re
from fractions import Fraction

from agentark_ray.grading.latex import plain_number, rewrite
from agentark_ray.grading.number import value

MAX_EXACT_DIGITS = 5  # a longer decimal may be a rounded one, which is for others to decide

_BRACKETED = re.compile(r"([(\[])([^()\[\]{}\\]+)([)\]])")
_SET = re.compile(r"\\\{([^()\[\]{}\\]+)\\\}|([^()\[\]{}\\]+)")


def same_numbers(a: str, b: str) -> bool | None:
    """Whether two collections of numbers are equal; None if they are not both plain ones.

    Tuples and intervals have an order and brackets that count, sets and lists have neither.
    """
    left, right = _numbers(a), _numbers(b)
    if left is None or right is None or (left[0] == "") != (right[0] == ""):
        return None
    if left[0] == "":
        return set(left[1]) == set(right[1])
    return left == right


def _numbers(text: str) -> tuple[str, tuple[Fraction, ...]] | None:
    """(brackets, elements); no brackets for a set or a list."""
    latex = rewrite(text)
    if bracketed := _BRACKETED.fullmatch(latex):
        brackets, content = bracketed[1] + bracketed[3], bracketed[2]
    elif listed := _SET.fullmatch(latex):
        brackets, content = "", listed[1] or listed[2]
    else:
        return None
    elements = content.split(",")
    numbers = [_exact(element) for element in elements]
    if len(elements) < 2 or None in numbers:
        return None
    return brackets, tuple(number for number in numbers if number is not None)


def _exact(element: str) -> Fraction | None:
    canonical = plain_number(element) if re.search(r"\d", element) else None
    if canonical is None or re.search(rf"\.\d{{{MAX_EXACT_DIGITS + 1},}}|[%a-z]", canonical):
        return None
    found = value(canonical)
    return found.number if found is not None else None
