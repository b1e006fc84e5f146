"""Mathematical answers (MATH): extraction, and comparison by math-verify.

Extraction tries, in this order, the last `\\boxed{...}` (or list of boxes),
`<answer>...</answer>`, `#### ...`, "answer is ...", a text that is nothing but an answer, the last
formula or number.

Equal are, first, answers that are written the same but for spacing and style; then plain numbers,
exactly as in `numeric`, but for a decimal of six or more significant digits, which equals a
fraction that it rounds; then tuples, intervals and lists of such numbers, and words, whatever
their case. All else is decided by math-verify in a process of its own (`sandbox`), with either
answer in the place of the gold one: both must agree, so that "2x + z = 1" does not equal "1".
Degrees and units are ignored, as in the graders of MATH.
"""

import re
from fractions import Fraction
from functools import lru_cache

from agentark_ray.grading import text as find
from agentark_ray.grading.base import Grader
from agentark_ray.grading.latex import plain_number, rewrite, squeeze, tidy, untext, words
from agentark_ray.grading.lists import same_numbers
from agentark_ray.grading.number import last_number, only_number, value
from agentark_ray.grading.numeric import HEADING, INSTRUCTION
from agentark_ray.grading.sandbox import MAX_LENGTH, Sandbox

TAIL = 4000  # characters at the end of a text in which a formula is looked for
DECIMALS = 6  # significant digits from which a decimal may stand for a fraction

SANDBOX = Sandbox()

_FORMULA = re.compile(
    r"\$\$(?P<a>[^$]{1,1000})\$\$"
    r"|\\\[(?P<b>(?:(?!\\\]).){1,1000})\\\]"
    r"|\\\((?P<c>(?:(?!\\\)).){1,1000})\\\)"
    r"|(?<![\\$\w])\$(?P<d>[^\s$](?:\\\$|[^$\n]){0,500}?)(?<!\\)\$(?!\d)"
    r"|(?<![\\$])\$[ ](?P<e>(?:\\\$|[^$\n]){1,500})(?<!\\)[ ]\$",
    re.DOTALL,
)
_BETWEEN = re.compile(r"\s*(?:,|;|,?\s*(?:and|or))?\s*")
_PERCENT = re.compile(r"\s{0,3}(?:\\?%|percent(?:age)?\b|pct\b)")
_LAST_IS = re.compile(r".*\b(?:is|are|equals|be)\b:?", re.DOTALL)
_EQUALS = re.compile(r".*(?<![<>!\\])=", re.DOTALL)
_END = re.compile(r"[.!?](?:\s|$)|\n")
_STARTS = re.compile(r"\W{0,4}\d|\\")
_PROSE = re.compile(r"(?<![\\a-zA-Z])(?!(?:and|sqrt|sin|cos|tan|log|infinity)\b)[a-zA-Z]{3,}")


def extract_answer(text: str) -> str | None:
    """What a text answers with, as LaTeX or plain text without wrapping; None if nothing."""
    text = find.final_part(text)
    for marked in find.final_after_box(text):
        answer = _from_sentence(marked)
        if answer is not None:
            return answer
    for marked in (find.boxed(text), find.tagged(text)):
        if marked is not None:
            return tidy(marked) or None
    for marked in find.after_hashes(text):
        if not HEADING.match(marked):
            return tidy(marked) or None
    for marked in find.after_answer_is(text):
        answer = _from_sentence(marked)
        if answer is not None:
            return answer
    whole = text.strip()
    if (
        len(whole) <= 300
        and "boxed" not in whole
        and not re.search(r"\n\s*\S", whole)
        and _is_answer(whole)
    ):
        return tidy(whole) or None
    return _last_said(text[-TAIL:]) or last_number(text)


def _from_sentence(text: str) -> str | None:
    """The answer in what follows "answer is": its first formulas, a number, or all of it."""
    end = _END.search(_FORMULA.sub(lambda formula: "x" * len(formula.group()), text))
    sentence = text[: end.start()] if end else text
    if not _is_answer(sentence):
        after_is = _LAST_IS.sub("", sentence, count=1)
        sentence = after_is if re.search(r"[\d$\\]", after_is) else sentence
    formulas = list(_FORMULA.finditer(sentence))
    if formulas:
        return _joined(formulas, first=0)
    if _PROSE.search(sentence):
        number = only_number(sentence, strict=False)[1]
        if number is not None or len(_PROSE.findall(sentence)) > 6:
            return number
    return tidy(sentence) or None


def _is_answer(text: str) -> bool:
    """Whether a short text is an answer by itself and no sentence around one."""
    outside = _FORMULA.sub(" ", re.sub(r"\\(?:text\w*|mathrm|mbox)\s?\{[^{}]{0,200}\}", " ", text))
    prose = len(_PROSE.findall(outside))
    if prose == 0 or _FORMULA.search(text):
        return prose == 0
    return prose <= 2 and (_STARTS.match(text) is not None or not re.search(r"[\d\\]", text))


def _last_said(text: str) -> str | None:
    """The last formulas of a text, or a number after them."""
    formulas = list(_FORMULA.finditer(text))
    if not formulas:
        return None
    number = last_number(text[formulas[-1].end() :].lstrip("0123456789"))
    if number is not None:
        return number
    first = len(formulas) - 1
    while first and _joins(text[formulas[first - 1].end() : formulas[first].start()]):
        first -= 1
    answer = _joined(formulas, first)
    return answer if answer is None or "," in answer else _EQUALS.sub("", answer).strip()


def _joins(between: str) -> bool:
    return bool(between.strip()) and _BETWEEN.fullmatch(between) is not None


def _joined(formulas: list[re.Match[str]], first: int) -> str | None:
    """A formula and those that follow it in a list, with a percent sign that stands outside."""
    contents = []
    for index in range(first, len(formulas)):
        formula = formulas[index]
        if index > first and not _joins(
            formula.string[formulas[index - 1].end() : formula.start()]
        ):
            break
        percent = "\\%" if _PERCENT.match(formula.string, formula.end()) else ""
        contents.append(tidy(next(group for group in formula.groups() if group)) + percent)
    return ", ".join(contents) or None


def equal(a: str, b: str) -> bool:
    """Whether two answers are equal. Reflexive and symmetric.

    Raises:
        GradingTimeout: math-verify does not decide within its deadline and memory.
    """
    if max(len(a), len(b)) > MAX_LENGTH:
        return a == b or SANDBOX.equal(a, b)  # which refuses
    if a == b or squeeze(a) == squeeze(b) or untext(a) == untext(b):
        return True
    number_a, number_b = plain_number(a), plain_number(b)
    if (number_a is None) != (number_b is None):  # 1,5 is a list, but not where 1.5 is asked for
        number_a, number_b = number_a or _decimal_comma(a), number_b or _decimal_comma(b)
    if number_a is not None and number_b is not None:
        value_a, value_b = value(number_a), value(number_b)
        if value_a is not None and value_b is not None:
            return (
                value_a.equals(value_b)
                or _rounds(number_a, value_a.number, value_b.number)
                or _rounds(number_b, value_b.number, value_a.number)
            )
    same = same_numbers(a, b)
    if same is not None:
        return same
    words_a, words_b = words(a), words(b)
    if words_a is not None and words_b is not None:
        return words_a == words_b
    first, second = sorted((rewrite(a), rewrite(b)))
    return _compare(first, second)


def _decimal_comma(text: str) -> str | None:
    found = re.fullmatch(r"(-?\d{1,20}),(\d{1,20})", tidy(text))
    return f"{found[1]}.{found[2]}" if found else None


def _rounds(decimal: str, number: Fraction, other: Fraction) -> bool:
    """Whether a decimal is a fraction without finite decimals, rounded or cut off."""
    digits, point, places = decimal.lstrip("-").partition(".")
    if not point or not places.isdigit() or len((digits + places).lstrip("0")) < DECIMALS:
        return False
    divisor = other.denominator
    for prime in (2, 5):
        while divisor % prime == 0:
            divisor //= prime
    return divisor != 1 and abs(number - other) < Fraction(1, 10 ** len(places))


@lru_cache(4096)
def _compare(a: str, b: str) -> bool:
    return bool(a) and bool(b) and SANDBOX.equal(a, b)


MATH = Grader(name="math", instruction=INSTRUCTION, extract=extract_answer, equal=equal, slow=True)
