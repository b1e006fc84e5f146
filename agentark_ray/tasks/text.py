"""How a question with options or a document is put into words, and taken apart again.

document
                            the document comes first and may be long
Question: question
A) option                   options in letters, one a line
B) option
"""

import re
from collections.abc import Sequence

LETTERS = "ABCDEFGHIJ"  # that the grader `choice` reads
_QUESTION = "\n\nQuestion: "
_OPTION = re.compile(r"\n([A-J])\) ([^\n]*)\Z")


def with_context(context: str, question: str) -> str:
    """A question below the document it is about."""
    return f"{context}{_QUESTION}{question}"


def split_context(text: str) -> tuple[str, str]:
    """The document (empty if there is none) and the question."""
    context, _, question = text.rpartition(_QUESTION)
    return context, question


def with_options(question: str, options: Sequence[str | None]) -> str:
    """A question with its options; one that is null or empty keeps its letter.

    Raises:
        ValueError: fewer than 2 or more than 10 options.
    """
    if not 2 <= len(options) <= len(LETTERS):
        raise ValueError(f"expected 2 to {len(LETTERS)} options, got {len(options)}")
    lines = (
        f"{letter}) {' '.join((option or '').split())}"
        for letter, option in zip(LETTERS, options, strict=False)
    )
    return "\n".join([question, *lines])


def split_options(text: str) -> tuple[str, list[str]]:
    """The question and its options, none if it has none."""
    options: list[str] = []
    letters, rest = "", text
    while not letters.startswith("A") and (match := _OPTION.search(rest)):
        letters = match[1] + letters
        options.insert(0, match[2])
        rest = rest[: match.start()]
    return (rest, options) if letters and LETTERS.startswith(letters) else (text, [])


def letter_of(index: object, options: Sequence[object]) -> str:
    """The letter of an option given by its index from 0.

    Raises:
        ValueError: it is no index of these options.
    """
    if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < len(options):
        raise ValueError(
            f"the right option must be a number from 0 to {len(options) - 1}, got {index!r}"
        )
    return LETTERS[index]
