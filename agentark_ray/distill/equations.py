"""Equations of plain numbers that a text states, such as `12 - 5 = 7`, and whether they hold.

A solution with a right answer may have come to it by luck: two errors that cancel out, or an answer
that does not follow from the steps. A false equation shows it without a model. Only what can be
read beyond doubt is looked at: two numbers, an operator, one number; not parts of longer terms, no
units in between, no percentages, clock times or remainders.
"""

import operator
import re
from collections.abc import Callable, Iterator
from fractions import Fraction

_NUMBER = r"\$?(-?\d[\d,]*(?:\.\d+)?)"
_EQUATION = re.compile(
    # not after a digit, letter, operator or bracket, which would make it a part of a longer term
    r"(?<![\w.,:+*/^%(){}$=-])"
    rf"{_NUMBER} ?([-+*/]) ?{_NUMBER} ?= ?{_NUMBER}"
    r"(?![\w,.:%^]*[\w:%^])"
)
_BEFORE = re.compile(r"(?:[-+*/^(\d]|\bx|\bof|\btimes|\band)\s*$", re.IGNORECASE)
_AFTER = re.compile(r"\s*(?:[-+*/^(\d]|\(?mod\b|r(?:emainder)?\b)", re.IGNORECASE)
_SIGNS = str.maketrans({"\N{MULTIPLICATION SIGN}": "*", "\N{DIVISION SIGN}": "/"})
_OPERATORS: dict[str, Callable[[Fraction, Fraction], Fraction]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}


def false_equation(text: str) -> str | None:
    """The first equation of a text that does not hold, or None."""
    return next((said for said, holds in equations(text) if not holds), None)


def equations(text: str) -> Iterator[tuple[str, bool]]:
    """(an equation, whether it holds) for all that can be read beyond doubt.

    The result may be rounded or cut to the digits it is given with; a division's to a whole number.
    """
    text = text.translate(_SIGNS)
    for found in _EQUATION.finditer(text):
        if _AFTER.match(text, found.end()) or _BEFORE.search(text[: found.start()][-8:]):
            continue
        a, sign, b, c = found.groups()
        left, right, result = (Fraction(number.replace(",", "")) for number in (a, b, c))
        if sign == "/" and not right:
            yield found.group(), False
            continue
        decimals = len(c.partition(".")[2])
        exact = sign != "/" and not (decimals or "." in a + b)
        off = abs(_OPERATORS[sign](left, right) - result)
        yield found.group(), off == 0 if exact else off < Fraction(1, 10**decimals)
