"""Answers that are one number: extraction and exact comparison.

Extraction tries, in this order, the last `\\boxed{...}`, the last `#### ...`, the last "answer is
...", and else the last number of the text. Comparison is between exact rationals, so 0.5 = 1/2 =
.50 and 1,000 = 1000, and no tolerance can hide a difference.
"""

import re
from fractions import Fraction
from functools import lru_cache

from agentark_ray.grading.base import Grader

INSTRUCTION = "Think step by step and end with \\boxed{answer}."

# A number has at most 400 digits here: enough for any answer, and int() stays linear.
_NUMBER = r"[-+]?\$?\d{1,400}(?:,\d{3}){0,40}(?:\.\d{0,400})?(?:/\d{1,400})?|[-+]?\.\d{1,400}"
_NUMBER_RE = re.compile(_NUMBER)
_MARKERS = (
    re.compile(r"\\boxed\s{0,4}\{([^{}]{1,500})\}"),
    re.compile(r"####\s{0,4}([^\n]{1,500})"),
    re.compile(r"answer\s{1,4}is\s{0,4}:?\s{0,4}([^\n]{1,500})", re.IGNORECASE),
)


def _normal(number: str) -> str:
    return number.replace(",", "").replace("$", "").lstrip("+").rstrip(".")


def extract_answer(text: str) -> str | None:
    """The number a text answers with, without thousands separators or currency; None if none."""
    for marker in _MARKERS:
        marked = marker.findall(text)
        if marked:
            found = _NUMBER_RE.search(marked[-1])
            return _normal(found.group()) if found else None
    found_all = _NUMBER_RE.findall(text)
    return _normal(found_all[-1]) if found_all else None


@lru_cache(4096)
def parse(answer: str) -> Fraction | None:
    """The exact value of an extracted answer, or None if it is not a finite number."""
    try:
        return Fraction(_normal(answer.strip()))
    except (ValueError, ZeroDivisionError):
        return None


def equal(a: str, b: str) -> bool:
    """Whether two answers are the same number. Symmetric; text that is no number equals itself."""
    value_a, value_b = parse(a), parse(b)
    if value_a is None or value_b is None:
        return a.strip() == b.strip()
    return value_a == value_b


NUMERIC = Grader(name="numeric", instruction=INSTRUCTION, extract=extract_answer, equal=equal)
