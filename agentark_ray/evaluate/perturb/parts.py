"""A question taken apart into what may be changed and what must not.

A change is made in the stem: the question without its document and its options. Within the stem
mathematics, code, addresses and numbers are protected.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from agentark_ray.distill.steps import split_steps
from agentark_ray.tasks.text import LETTERS, split_context, split_options, with_context

_PROTECTED = re.compile(
    r"```.*?(?:```|\Z)|`[^`\n]*`"  # code
    r"|\$\$.*?\$\$|\$[^$\n]+\$|\\\[.*?\\\]|\\\(.*?\\\)"  # mathematics
    r"|\\begin\{(\w{1,30}\*?)\}.*?\\end\{\1\}|\\[a-zA-Z]+(?:\{[^{}]*\})*"
    r"|https?://\S+|\b\w+\([^()\n]*\)",  # addresses, calls and functions
    re.DOTALL,
)
_ASKS = re.compile(
    r"\?|^\W*(?:how|what|which|who|when|where|why|find|calculate|compute|determine|express"
    r"|solve|evaluate|give|state|if)\b",
    re.IGNORECASE,
)
# A word or number beside one of these is a part of a term.
OPERATORS = "=+-*/^<>\\_|\u00d7\u00f7\u2212\u2013\u2264\u2265\u2260"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """A question's text: `"".join` of them in the form of tasks/text.py is the text again."""

    context: str  # empty if there is none
    stem: str
    options: tuple[str, ...]  # without letters; none if there are none

    def text(self) -> str:
        """The whole question."""
        told = [
            f"\n{letter}) {option}" for letter, option in zip(LETTERS, self.options, strict=False)
        ]
        asked = self.stem + "".join(told)
        return with_context(self.context, asked) if self.context else asked


def take_apart(text: str) -> Parts:
    """The parts of a question's text."""
    context, asked = split_context(text)
    stem, options = split_options(asked)
    return Parts(context=context, stem=stem, options=tuple(options))


def protected(text: str) -> list[tuple[int, int]]:
    """(start, end) of mathematics, code and addresses; ascending."""
    return [found.span() for found in _PROTECTED.finditer(text)]


def free(start: int, end: int, spans: Sequence[tuple[int, int]]) -> bool:
    """Whether a place is in none of the spans."""
    return all(end <= first or last <= start for first, last in spans)


def in_term(text: str, start: int, end: int) -> bool:
    """Whether a place is beside an operator: a part of a formula."""
    before, after = text[:start].rstrip()[-1:], text[end:].lstrip()[:1]
    return (bool(before) and before in OPERATORS) or (bool(after) and after in OPERATORS)


def sentences(text: str) -> list[tuple[int, int]]:
    """(start, end) of the sentences of a stem; between them is only white space."""
    return [(step.start, step.end) for step in split_steps(text)]


def asks(sentence: str) -> bool:
    """Whether a sentence asks for something, or may."""
    return bool(_ASKS.search(sentence))


def replaced(text: str, changes: Sequence[tuple[int, int, str]]) -> str:
    """The text with (start, end, what comes there) done; the places do not overlap."""
    for start, end, new in sorted(changes, reverse=True):
        text = text[:start] + new + text[end:]
    return text


def share_of(strength: float, places: int) -> int:
    """How many of some places are changed: their share, at least one."""
    return min(places, max(1, round(strength * places)))
