"""Multiple-choice answers: one letter, A to J.

Extraction knows these markers, the clearest first, and takes the last of the clearest kind there
is: a "final answer is" after the last box; a box or tag; a sentence that names the answer ("answer
is (B)", "Answer: B", "I choose C", "(D) is correct"); a last or else a first line that is a letter,
perhaps with the text of its option; "so B."; a letter in bold, in brackets or after "option". The
article "a" and the pronoun "I" are no choices, a letter that is called wrong is none, and where two
are given ("A or C") there is no answer.
"""

import re
from collections.abc import Iterable

from agentark_ray.grading import text as find
from agentark_ray.grading.base import Grader

INSTRUCTION = "Think step by step and end with \\boxed{letter}, the letter of the right option."
TAIL = 20_000  # characters at the end of a text in which markers are looked for

_QUOTES = str.maketrans({**dict.fromkeys('"\u201c\u201d`*${}', ""), "\u2019": "'", "\u2018": "'"})
_MARKUP = re.compile(
    r"\\(?:text(?:bf|it|rm)?|math(?:rm|bf|it|bb)|mbox|boxed|fbox|underline|quad|displaystyle)"
    r"(?![a-zA-Z])|\\[()\[\],; ]|__"
)

_CLOSED = (
    r"(?=\s{0,3}(?:[.,;:!?)\](]|\n|$|[-\u2013\u2014]\s"
    r"|(?:because|since|as|which|due|given|over|instead|rather|is\s(?:the\s)?(?:correct|right|best))\b))"
)
_BRACKETED = r"[(\[]{1,2}\s?(?P<in>[A-J]|[a-hj])\s?[)\]]{1,2}"
# A bare A or I must be closed, or it may be the article or the pronoun.
_LETTER = rf"(?:{_BRACKETED}|(?P<out>(?:[B-HJ]|[AI](?=\W){_CLOSED}|[AI]$)(?![\w'-])))"
_CLOSED_LETTER = rf"(?:{_BRACKETED}|(?P<out>[A-J](?![\w'-])){_CLOSED})"
_FILLER = (
    r"\s{0,3}(?:(?:definitely|clearly|probably|likely|therefore|option|choice|letter|answer|the|is"
    r"|it|that|:|-)\s{0,3}){0,4}"
)
_NOUN = re.compile(
    r"\b(?:answer|option|choice|letter|response|selection)s?(?:_?(?:choice|letter|option|key))?"
    r"(?:'s\b|\b[^\n.:=?!]{0,60}?\b(?:is|was|be|being)\b|\s{0,3}[:=])",
    re.IGNORECASE,
)
_VERB = re.compile(
    r"\b(?:choos|select|pick|mark|go(?:ing)?\swith|opt(?:ing)?\sfor|settle\son|say)(?:e|ing|ed|s|es)?"
    r"\b|\b(?:must|should|has\sto|can\sonly)\sbe\b"
    r"|\bit(?:\sis|'s)\b",
    re.IGNORECASE,
)
_AFTER_NOUN = re.compile(rf"{_FILLER}(?:{_LETTER}|(?P<low>[a-hj])(?=\s{{0,3}}(?:[.,;)\n]|$)))")
_AFTER_VERB = re.compile(rf"{_FILLER}{_CLOSED_LETTER}")
_CALLED_RIGHT = re.compile(
    r"(?<![\w'-])(?:[(\[](?P<in>[A-Ja-hj])[)\]]|(?P<out>[A-Ja-hj]))\s"
    r"(?:is|looks|seems|must\sbe|would\sbe)\s(?:clearly\s|therefore\s|indeed\s|most\slikely\s)?"
    r"(?:the\s)?(?:only\s|most\s)?(?:correct|right|best|true|answer|appropriate|accurate)\b"
)
_SO = re.compile(
    r"\b(?:[Tt]hus|[Tt]herefore|[Hh]ence|[Ss]o|[Cc]onclusion|[Aa]nalysis)\b[,:]?\s"
    rf"(?:option\s|choice\s)?(?:{_BRACKETED}|(?P<out>[A-HJ])(?=\s{{0,3}}(?:[.!]|\n|$)))"
)
_LINE = re.compile(
    r"\W{0,3}(?:[Oo]ption\s|[Cc]hoice\s)?(?:[(\[](?P<in>[A-Ja-hj])[)\]][.:]?|(?P<out>[A-J])(?:[.):]|$)"
    r"|(?P<low>[a-hj])(?:\)|\.?$))(?P<rest>.*)"
)
_BOLD = re.compile(r"(?:\*\*|__)\s?[(\[]?(?P<in>[A-J])(?:[)\].:]|\s?(?:\*\*|__))")
_MARKED = re.compile(
    rf"(?<![\w'-]){_BRACKETED}|\b(?:[Oo]ption|[Cc]hoice|OPTION)\s(?P<out>[A-J])(?![\w'-])"
)
_CONTENT = re.compile(
    r"\W{0,3}(?:(?:the\s)?(?:option|choice|answer|letter)(?:\sis)?:?\s)?(?P<open>[(\[])?"
    r"(?P<in>[A-Ja-j])(?P<end>\s?[)\].:,]|\s[-\u2013\u2014]\s|\s*$)(?P<rest>.*)",
    re.IGNORECASE | re.DOTALL,
)

_SECOND = re.compile(r"\s?(?:,?\s?(?:and|or)\b|[,/&+])\s?[(\[]?[A-J](?![\w'-])|\s?[(\[][A-J][)\]]")
_FIRST = re.compile(r"[(\[]?[A-J][)\]]?\s?(?:,?\s?(?:and|or)\s?|[,/&+]\s?|(?<=[)\]])\s?)[(\[]?\Z")
_REJECTED = re.compile(
    r"[)\]]?\s?(?:[,:]\s)?(?:is|are|was|can|could|would|does|do|cannot|must)?\s?"
    r"(?:not\b|n't\b|never\b|wrong|incorrect|false|eliminated|ruled\sout|out\b|too\s)",
    re.IGNORECASE,
)
_REJECTING = re.compile(
    r"(?:\bnot|\brule\sout|\beliminat\w{1,5}|\bexclud\w{1,4}|\breject\w{0,3}|\bneither|\bunlike"
    r"|\bthan|\bexcept|\bover)\s(?:option\s|choice\s|answer\s)?\Z",
    re.IGNORECASE,
)


def extract_answer(text: str) -> str | None:
    """The letter that a text chooses, in upper case; None if there is no clear one."""
    text = find.final_part(text)
    for marked in find.final_after_box(text):
        if after := _AFTER_NOUN.match(_plain(marked)):
            return _only(after)
    for content in (find.boxed(text), find.tagged(text)):
        if content is not None and (match := _CONTENT.match(_plain(content))):
            return _in_content(match)
    raw = text[-TAIL:]
    plain = _plain(raw)
    lines = [line for line in plain.splitlines() if line.strip()]
    if not lines:
        return None
    if named := _named(plain):
        return _only(named)
    for line in (lines[-1], lines[0]):
        if (letter := _of_line(line, lines)) is not None:
            return letter
    if concluded := list(_SO.finditer(plain)):
        return _only(concluded[-1])
    return _last_of_few(_BOLD.finditer(raw)) or _last_of_few(_MARKED.finditer(plain))


def _plain(text: str) -> str:
    return _MARKUP.sub(" ", text).translate(_QUOTES).strip()


def _letter(match: re.Match[str]) -> str:
    names = ("in", "out", "low")
    return next(match[name] for name in names if match.groupdict().get(name)).upper()


def _only(match: re.Match[str]) -> str | None:
    """The letter, unless a second one follows."""
    return None if _SECOND.match(match.string, match.end()) else _letter(match)


def _in_content(match: re.Match[str]) -> str | None:
    """The letter of a box or tag."""
    rest = f"{match['end']}{match['rest']}".lstrip(")].: ")
    return None if _SECOND.match(rest) else _letter(match)


def _named(text: str) -> re.Match[str] | None:
    """The last sentence that names the answer."""
    found = [
        after for marker in _NOUN.finditer(text) if (after := _AFTER_NOUN.match(text, marker.end()))
    ]
    found += [
        after for marker in _VERB.finditer(text) if (after := _AFTER_VERB.match(text, marker.end()))
    ]
    found += [match for match in _CALLED_RIGHT.finditer(text) if not _rejecting(match)]
    return max(found, key=lambda match: match.end(), default=None)


def _rejecting(match: re.Match[str]) -> bool:
    return bool(_REJECTING.search(match.string[max(0, match.start() - 40) : match.start()]))


def _of_line(line: str, lines: list[str]) -> str | None:
    """The letter a line starts with, unless it is one of a list of options or called wrong."""
    match = _LINE.match(line.strip())
    if match is None or _SECOND.match(match["rest"]) or _REJECTED.match(match["rest"]):
        return None
    if match["out"] == "I" and match["rest"].strip():
        return None  # the first point of a list in Roman numerals
    others = {_letter(other) for line in lines if (other := _LINE.match(line.strip()))}
    return _letter(match) if not match["rest"].strip() or len(others) == 1 else None


def _last_of_few(found: Iterable[re.Match[str]]) -> str | None:
    """The last letter that stands alone and is not called wrong; three are a list of options."""
    alone = [
        match
        for match in found
        if not _SECOND.match(match.string, match.end())
        and not _REJECTED.match(match.string, match.end())
        and not _FIRST.search(match.string, max(0, match.start() - 10), match.start())
        and not _rejecting(match)
    ]
    letters = [_letter(match) for match in alone]
    return letters[-1] if letters and len(set(letters)) < 3 else None


def equal(a: str, b: str) -> bool:
    """Whether two answers are the same letter, whatever their case and brackets."""
    return a == b or _bare(a) == _bare(b)


def _bare(answer: str) -> str:
    return _plain(answer).strip(" ()[].:").upper()


CHOICE = Grader(name="choice", instruction=INSTRUCTION, extract=extract_answer, equal=equal)
