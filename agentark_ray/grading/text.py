"""Where a text says its answer: boxes, tags, marked sentences. Every search is linear in the text.

Nothing here knows what an answer looks like; the graders read what these functions find.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_THINK_END = "</think>"
_SPECIAL = re.compile(r"<\|[^|<>\n]{1,40}\|>|</?s>|<(?:eos|bos|pad|end_of_turn|eot_id)>")
SPAN = 500  # characters after a marker in which an answer must stand

_BOX_WORD = re.compile(r"\\++(?:boxed|fbox)(?![a-zA-Z])")
_BOX_TOKEN = re.compile(
    r"\\++(?:boxed|fbox)(?![a-zA-Z])\s{0,4}+(?:(?P<open>\{)|(?P<bare>[^\s${}\\]{1,40}))?|\\.|[{}]",
    re.DOTALL,
)
# Between boxes that are one answer: "\boxed{1} and \boxed{2}", "\boxed{1}, y = \boxed{2}".
_LIST = re.compile(
    r"(?:\s|[,;$&.]|\\[()\[\],;:! ]|\\q?quad|\\text\s?\{[^{}]{0,40}\}|\([a-z]\)"
    r"|(?:and|or|for|part|case|also|both|respectively)\b|[a-zA-Z](?:_\{?\w\}?)?\s{0,2}=)*+"
    r"|\$?\s[a-z]{2,15}\sand\s\$?"
)
_SEPARATOR = re.compile(r"[,;]|\b(?:and|or)\b")

_TAG = re.compile(r"<(/?)answer>", re.IGNORECASE)
_HASHES = re.compile(r"(?<!#)####(?!#)[ \t]{0,8}([^\n]{1,500})")
_ANSWER_IS = re.compile(
    r"\banswers?\b"
    r"(?:[^\n.:=?!]{0,60}?\b(?:is|are|was|be|equals|becomes)\b[\s*_\"']{0,6}:?|[*_\s)\"']{0,6}[:=])"
    r"[\s*_:]{0,12}",
    re.IGNORECASE,
)
_FINAL = re.compile(r"final\s{1,4}\Z", re.IGNORECASE)
_NEGATED = re.compile(r"\W{0,4}(?:not\b|n't|never\b)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A closed `\\boxed{...}` or `\\fbox{...}` that is not empty."""

    start: int
    end: int
    content: str


def final_part(text: str) -> str:
    """What a thinking model says after its thoughts; the whole text if that is nothing.

    Special tokens that were left in the text are taken out.
    """
    if "<" not in text:
        return text
    _, found, after = text.rpartition(_THINK_END)
    return _SPECIAL.sub(" ", after if found and after.strip() else text)


def boxes(text: str) -> list[Box]:
    """Outermost boxes in their order. Braces are matched in one pass; an unclosed box is none."""
    first = _BOX_WORD.search(text)
    if first is None:
        return []
    found: list[Box] = []
    open_braces: list[tuple[int, int] | None] = []  # (start, content's start) of a box, or a brace
    for token in _BOX_TOKEN.finditer(text, first.start()):
        if token["open"]:
            open_braces.append((token.start(), token.end()))
        elif token["bare"]:
            found.append(Box(start=token.start(), end=token.end(), content=token["bare"]))
        elif token.group() == "{":
            open_braces.append(None)
        elif token.group() == "}" and open_braces:
            box = open_braces.pop()
            if box is not None and text[box[1] : token.start()].strip():
                while found and found[-1].start > box[0]:
                    found.pop()
                content = text[box[1] : token.start()]
                found.append(Box(start=box[0], end=token.end(), content=content))
    return found


def boxed(text: str) -> str | None:
    """The content of the last box, or of the last boxes joined by ", " if they are a list."""
    found = boxes(text)
    if not found:
        return None
    contents = [found[-1].content]
    for before, after in zip(reversed(found[:-1]), reversed(found), strict=False):
        if not _is_list(text[before.end : after.start]):
            break
        if before.content.strip() not in [content.strip() for content in contents[:8]]:
            contents.append(before.content)
    joined = ", ".join(reversed(contents))
    return _BOX_WORD.sub("", joined).strip()


def final_after_box(text: str) -> Iterator[str]:
    """What follows a "final answer is" that stands after the last box, the last first."""
    found = boxes(text)
    if found and "inal" in text[found[-1].end :]:
        yield from after_answer_is(text[found[-1].end :], only_final=True)


def _is_list(between: str) -> bool:
    if len(between) > 70 or not _LIST.fullmatch(between):
        return False
    return bool(_SEPARATOR.search(between)) or not between.strip(" $\\()[]")


def tagged(text: str) -> str | None:
    """The content of the last `<answer>...</answer>`."""
    content, opened = None, None
    for tag in _TAG.finditer(text):
        if not tag[1]:
            opened = tag.end()
        elif opened is not None:
            content = text[opened : tag.start()].strip() or content
            opened = None
    return content


def after_hashes(text: str) -> Iterator[str]:
    """What follows `####` on its line, the last first. Headings of Markdown are among them."""
    return (match[1].strip() for match in reversed(list(_HASHES.finditer(text))))


def after_answer_is(text: str, only_final: bool = False) -> Iterator[str]:
    """What follows "answer is", "Answer:" and the like on its line, the last first.

    "The answer is not ..." is left out, with `only_final` all but "final answer".
    """
    for match in reversed(list(_ANSWER_IS.finditer(text))):
        if only_final and not _FINAL.search(text, max(0, match.start() - 10), match.start()):
            continue
        span, _, _ = text[match.end() : match.end() + SPAN].partition("\n")
        if span.strip() and not _NEGATED.match(span):
            yield span.strip()
