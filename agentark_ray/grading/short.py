"""Short answers in words (HotpotQA, QASPER): exact match and F1 over words, as SQuAD defines them.

The scores are those of SQuAD's script (Rajpurkar et al., 1606.05250): lower case, no punctuation,
articles and extra spaces. Two answers are equal if the same words are left, or if F1 is at least
F1_EQUAL and none of this is so:

- they name different numbers ("12 May 1990" is not "19 May 1990");
- both have at most FEW_WORDS words and neither contains the other ("Oxford University" is not
  "Cambridge University", but "Obama" is "Barack Obama");
- one is negated and the other is not.

Yes and no are equal only to themselves, with or without a reason after them; the many ways to say
that a question has no answer are equal (QASPER's "Unanswerable").
"""

import re
import string
from collections import Counter

from agentark_ray.grading import text as find
from agentark_ray.grading.base import Grader

INSTRUCTION = "Think step by step and end with 'The answer is: ...', in as few words as possible."
F1_EQUAL = 0.6
FEW_WORDS = 5
MAX_WORDS = 30  # of a last line that is taken as the answer

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_PUNCTUATION = str.maketrans(
    dict.fromkeys(string.punctuation + "\u2018\u2019\u201c\u201d\u2013", "")
)
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3})")
_POINT = re.compile(r"(?<=\d)\.(?=\d)|(?<![\w)])[-\u2212](?=\d)")
_INITIALS = re.compile(r"(?<=\b[a-z])\s+(?=[a-z]\b)")
_PLURAL = re.compile(r"(?<=[a-z]{3})(?<!s)s\Z")
_HYPHENS = str.maketrans("-/\u2013\u2014", "    ")
_LATEX = re.compile(r"\\(?:text(?:bf|it|rm)?|math(?:rm|bf|it))\s?\{([^{}]{0,500})\}")
_MARKUP = re.compile(r"\*\*|__|`|^#{1,6}\s|^[-*]\s|<[^>]{1,20}>")
_SENTENCE_END = re.compile(
    r"(?<!\b[A-Z])(?<!\b(?:Mr|Ms|Dr|St|Jr|Sr|vs|No|Co|Mt|Lt))(?<!\b(?:Mrs|Inc|Ltd|Gen|Col|Rev))"
    r"(?<!\bProf)[.!?]\s+(?=[A-Z\"(])"
)
_YES_NO = re.compile(
    r"\s*(yes|no)\b(?=\s*(?:[.,;:!\u2013\u2014-]|$)|\s+(?:they|it|he|she|there|both|neither|this|that"
    r"|these|those|only|not|because|since|we|you|i)\b)",
    re.IGNORECASE,
)
_NO_ANSWER = re.compile(
    r"\b(?:unanswerable|not?\s(?:be\s)?answer(?:able|ed)?|no\sanswer|unknown|cannot\sbe\s"
    r"(?:answered|determined|inferred|known)|(?:not|never)\s(?:mentioned|specified|stated|given"
    r"|provided|known|available)|insufficient\sinformation|not\senough\sinformation)\b",
    re.IGNORECASE,
)
_NEGATIONS = frozenset(("not", "no", "never", "none", "neither", "nor", "without", "cannot"))


def extract_answer(text: str) -> str | None:
    """The answer in a text: boxed, tagged, after "answer is", or else its last line; or None."""
    text = find.final_part(text)
    for marked in find.final_after_box(text):
        return _clean(marked)
    for content in (find.boxed(text), find.tagged(text)):
        if content is not None:
            return _clean(content)
    for marked in find.after_answer_is(text):
        if answer := _clean(marked):
            return answer
    lines = [line for line in text.splitlines() if line.strip()]
    answer = _clean(lines[-1]) if lines else None
    return answer if answer and len(answer.split()) <= MAX_WORDS else None


def _clean(text: str) -> str | None:
    """The first sentence of an answer, without markup, quotes and its full stop."""
    text = _MARKUP.sub("", _LATEX.sub(r"\1", text.strip())).replace("$", "").strip()
    end = _SENTENCE_END.search(text)
    text = (text[: end.start()] if end else text).strip().rstrip(".;,")
    for quote in ('"', "'"):
        if len(text) > 1 and text[0] == text[-1] == quote:
            text = text[1:-1]
    return text.strip(" \u201c\u201d") or None


def squad_words(answer: str) -> tuple[str, ...]:
    """The words that SQuAD's script compares."""
    return tuple(_ARTICLES.sub(" ", answer.lower().translate(_PUNCTUATION)).split())


def words(answer: str) -> tuple[str, ...]:
    """The words that decide on equality: SQuAD's, but 3.5 is not 35, -5 not 5, 1,000 is 1000.

    Plurals count as singulars. Where nothing is left without articles, they stay.
    """
    plain = _THOUSANDS.sub("", answer.lower())
    plain = _POINT.sub("\x00", plain).translate(_HYPHENS).translate(_PUNCTUATION)
    plain = _INITIALS.sub("", plain)
    kept = _ARTICLES.sub(" ", plain).split() or plain.split() or [answer.strip()]
    return tuple(_PLURAL.sub("", word) for word in kept)


def _f1(words_a: tuple[str, ...], words_b: tuple[str, ...]) -> float:
    common = (Counter(words_a) & Counter(words_b)).total()
    length = len(words_a) + len(words_b)
    return 2 * common / length if length else 1.0


def scores(answer: str, gold: str) -> dict[str, float]:
    """Exact match and F1 as SQuAD's script has them, each 0 to 1."""
    words_a, words_g = squad_words(answer), squad_words(gold)
    return {"em": float(words_a == words_g), "f1": _f1(words_a, words_g)}


def equal(a: str, b: str) -> bool:
    """Whether two short answers say the same. Reflexive and symmetric."""
    words_a, words_b = words(a), words(b)
    if a == b or words_a == words_b:
        return True
    for kind in (_yes_no, _no_answer):
        kind_a, kind_b = kind(a), kind(b)
        if kind_a != kind_b or (kind_a is not None and kind_a == kind_b):
            return kind_a == kind_b
    return _f1(words_a, words_b) >= F1_EQUAL and not _conflict(Counter(words_a), Counter(words_b))


def _yes_no(answer: str) -> str | None:
    found = _YES_NO.match(answer)
    return found[1].lower() if found else None


def _no_answer(answer: str) -> str | None:
    return "unanswerable" if len(answer) < 200 and _NO_ANSWER.search(answer) else None


def _conflict(a: Counter[str], b: Counter[str]) -> bool:
    """Whether two answers that share most words differ in one that matters."""
    numbers_a, numbers_b = (
        {word for word in counter if any(char.isdigit() for char in word)} for counter in (a, b)
    )
    if not (numbers_a <= numbers_b or numbers_b <= numbers_a):
        return True
    if bool(_NEGATIONS & a.keys()) != bool(_NEGATIONS & b.keys()):
        return True
    few = max(a.total(), b.total()) <= FEW_WORDS
    return few and not (a <= b or b <= a)


SHORT = Grader(
    name="short", instruction=INSTRUCTION, extract=extract_answer, equal=equal, scores=scores
)
