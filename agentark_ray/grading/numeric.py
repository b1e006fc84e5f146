"""Answers that are one number: extraction and exact comparison.

Extraction tries, in this order, a "final answer is ..." after the last box, the last
`\\boxed{...}`, `<answer>...</answer>`, `#### ...`, "answer is ...", a text that is nothing but a
number, and else the last number of the text. A box,
tag or marked sentence that holds something else (a range, a list, an expression) is not searched
for digits that happen to stand in it: the answer is then unparsable.

Comparison is between exact rationals, so 0.5 = 1/2 = .50 and 1,000 = 1000, and no tolerance can
hide a difference: 0.33 is not 1/3. A percent sign or a scale word may be a unit or a factor: 50%
equals 50 and 0.5, 2 million equals 2 and 2000000.
"""

import re

from agentark_ray.grading import text as find
from agentark_ray.grading.base import Grader
from agentark_ray.grading.number import MAX_DIGITS, Value, last_number, only_number, value

INSTRUCTION = "Think step by step and end with \\boxed{answer}."

HEADING = re.compile(r"\d{1,3}[.):]\s|(?![-+\u2212\u2013$€£¥\\*(.]*\s?[-\u2212]?\.?\d|\\frac)")
_BARE = re.compile(r"(?!-\s.*[a-z])[-+\u2212\u2013$€£¥₹(\\\s]{0,6}\.?\d[^\n]{0,60}\Z")


def extract_answer(text: str) -> str | None:
    """The number a text answers with, without thousands separators or currency; None if none."""
    text = find.final_part(text)
    for marked in find.final_after_box(text):
        any_number, number = only_number(_sentence(marked), strict=False)
        if any_number:
            return number
    for marked in (find.boxed(text), find.tagged(text)):
        if marked is not None:
            return only_number(marked, strict=True)[1]
    for marked in find.after_hashes(text):
        if not HEADING.match(marked):
            return only_number(marked, strict=True)[1]
    for marked in find.after_answer_is(text):
        any_number, number = only_number(_sentence(marked), strict=False)
        if any_number:
            return number
    if _BARE.match(text.strip()):
        any_number, number = only_number(text, strict=True)
        if any_number:
            return number
    return last_number(text)


def _sentence(text: str) -> str:
    """The first sentence of a text, if it holds a digit."""
    end = re.search(r"[.!?]\s", text)
    first = text[: end.end()] if end else text
    return first if any(char.isdigit() for char in first) else text


def parse(answer: str) -> Value | None:
    """The exact value of an answer, or None if it is not one finite number."""
    if len(answer) > MAX_DIGITS:
        return None
    known = value(answer)
    if known is not None:
        return known
    number = only_number(answer, strict=True)[1]
    return value(number) if number is not None else None


def equal(a: str, b: str) -> bool:
    """Whether two answers are the same number. Symmetric; text that is no number equals itself."""
    if a == b:
        return True
    value_a, value_b = parse(a), parse(b)
    if value_a is None or value_b is None:
        return a.strip() == b.strip()
    return value_a.equals(value_b)


NUMERIC = Grader(name="numeric", instruction=INSTRUCTION, extract=extract_answer, equal=equal)
