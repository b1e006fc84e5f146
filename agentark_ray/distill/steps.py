"""What a step of a solution is: one definition for labels, the process reward model and GRPO.

A step is a line, or a sentence where a line has several. What stands in a block (fenced code,
displayed mathematics, a LaTeX environment) is not cut. A piece without a letter or digit belongs to
the step before it; one that only announces the next (it ends in a colon, or is a bare list number)
to the step after it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

_BLOCK = re.compile(r"```|\$\$|\\\[|\\begin\{(\w{1,30}\*?)\}")
_CLOSING = {"```": "```", "$$": "$$", r"\[": r"\]"}
# What may end a sentence: its mark, closing quotes and brackets, then blanks before the next one.
_SENTENCE_END = re.compile(r"([.!?])[\"')\]*]{0,3}[ \t]+(?=\S)|[\u3002\uff01\uff1f]")
_OPENING = "\"'([*"  # may stand before a sentence's first letter
_ABBREVIATIONS = frozenset(
    [
        *("mr", "mrs", "ms", "dr", "prof", "st", "jr", "sr", "vs", "eq", "fig", "approx"),
        *("cf", "resp", "e.g", "i.e"),
    ]
)
_MARKER = re.compile(r"[*_]{0,2}(?:\d{1,3}|[a-zA-Z])[.)][*_]{0,2}")


@dataclass(frozen=True, slots=True)
class Step:
    """A part of a text, as offsets into it; without white space at its ends."""

    start: int
    end: int  # one past its last character


@lru_cache(512)  # agents that agree say the same words
def split_steps(text: str) -> tuple[Step, ...]:
    """The steps of a solution, in order; between them there is only white space.

    Time is linear in the length of the text.
    """
    steps: list[Step] = []
    start = 0
    for end in (*_cuts(text), len(text)):
        piece = _trimmed(text, start, end)
        start = end
        if piece is None:
            continue
        if steps and (not _says(text, piece) or _announces(text, steps[-1])):
            piece = Step(steps.pop().start, piece.end)
        steps.append(piece)
    return tuple(steps)


def step_texts(text: str) -> list[str]:
    """The steps of a solution as texts."""
    return [text[step.start : step.end] for step in split_steps(text)]


def _cuts(text: str) -> Iterator[int]:
    """Where lines and sentences end, outside blocks; ascending."""
    blocks = _blocks(text)
    block = next(blocks, None)
    for cut in _ends(text):
        while block and block[1] <= cut:
            block = next(blocks, None)
        if not block or cut <= block[0]:
            yield cut


def _ends(text: str) -> Iterator[int]:
    start = 0
    for line in text.splitlines(keepends=True):
        for found in _SENTENCE_END.finditer(line):
            if not found.group(1) or _ends_sentence(line, found.end(1), found.end()):
                yield start + found.end()
        start += len(line)
        yield start


def _ends_sentence(line: str, end: int, next_: int) -> bool:
    """Whether the mark before `end` ends a sentence and another one starts at `next_`.

    It may belong to an abbreviation or an initial.
    """
    first = line[next_ : next_ + 4].lstrip(_OPENING)[:1]
    if first not in ("$", "\\") and (not first.isalnum() or first.islower()):
        return False
    word = line[max(0, end - 12) : end - 1].rpartition(" ")[2].lstrip(_OPENING)
    return word.lower() not in _ABBREVIATIONS and not (len(word) == 1 and word.isupper())


def _blocks(text: str) -> Iterator[tuple[int, int]]:
    """(start, end) of blocks that are closed; ascending, none in another."""
    never_closed: set[str] = set()
    position = 0
    while found := _BLOCK.search(text, position):
        closing = _CLOSING.get(found.group()) or f"\\end{{{found.group(1)}}}"
        end = -1 if closing in never_closed else text.find(closing, found.end())
        if end < 0:
            never_closed.add(closing)
            position = found.end()
        else:
            position = end + len(closing)
            yield found.start(), position


def _trimmed(text: str, start: int, end: int) -> Step | None:
    piece = text[start:end]
    inner = piece.strip()
    if not inner:
        return None
    start += len(piece) - len(piece.lstrip())
    return Step(start, start + len(inner))


def _says(text: str, step: Step) -> bool:
    return any(char.isalnum() for char in text[step.start : step.end])


def _announces(text: str, step: Step) -> bool:
    said = text[step.start : step.end]
    return said.endswith(":") or not _says(text, step) or bool(_MARKER.fullmatch(said))
