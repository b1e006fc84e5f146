"""A long document made short for one question, visibly: never a silent cut."""

import math
import re
from collections import Counter
from collections.abc import Sequence

from agentark_ray.config import TasksConfig
from agentark_ray.tasks.text import split_context

GAP = "[...]"  # stands for what is left out
_WORD = re.compile(r"\w+")
_BLANKS = re.compile(r"\S+\s*")  # a word with the blanks after it


def context_of(paragraphs: Sequence[str], question: str, config: TasksConfig) -> str:
    """The paragraphs as one text, at most `config.context_words` long if that is set."""
    kept = [paragraph.strip() for paragraph in paragraphs if paragraph.strip()]
    if config.context_words is not None:
        kept = window(kept, question, config.context_words)
    return "\n".join(kept)


def is_windowed(text: str) -> bool:
    """Whether something of a question's context was left out."""
    return GAP in split_context(text)[0].split("\n")


def window(paragraphs: Sequence[str], question: str, limit: int) -> list[str]:
    """The paragraphs that share most with the question, `limit` words together at most.

    They stay in their order, with GAP for what is left out between them. A paragraph longer than
    `limit` counts as several. Shared words weigh by how few paragraphs have them (idf, Spärck
    Jones 1972); between equals the earlier one is kept.
    """
    pieces = [piece for paragraph in paragraphs for piece in _pieces(paragraph, limit)]
    sizes = [len(piece.split()) for piece in pieces]
    if sum(sizes) <= limit:
        return list(paragraphs)
    words = [set(_WORD.findall(piece.lower())) for piece in pieces]
    counts = Counter(word for found in words for word in found)
    asked = set(_WORD.findall(question.lower()))
    weights = [sum(math.log(len(pieces) / counts[w]) for w in found & asked) for found in words]
    kept: set[int] = set()
    room = limit
    for i in sorted(range(len(pieces)), key=lambda i: (-weights[i], i)):
        if sizes[i] <= room:
            kept.add(i)
            room -= sizes[i]
    return _with_gaps(pieces, kept)


def _pieces(paragraph: str, limit: int) -> list[str]:
    words = _BLANKS.findall(paragraph)
    if len(words) <= limit:
        return [paragraph]
    size = limit // 4  # so that a window still has room for several
    return ["".join(words[i : i + size]).strip() for i in range(0, len(words), size)]


def _with_gaps(pieces: Sequence[str], kept: set[int]) -> list[str]:
    shown: list[str] = []
    for i, piece in enumerate(pieces):
        if i in kept:
            shown.append(piece)
        elif not shown or shown[-1] != GAP:
            shown.append(GAP)
    return shown
