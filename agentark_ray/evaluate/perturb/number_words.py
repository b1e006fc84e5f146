"""Numbers as digits or as words: 12 <-> twelve. Only whole numbers that stand by themselves."""

import random
import re

from agentark_ray.evaluate.perturb.parts import free, in_term, protected, replaced, share_of

SMALL = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
    "nineteen",
)  # fmt: skip
TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
OTHERS = (
    "hundred", "hundreds", "thousand", "thousands", "million", "millions", "billion", "billions",
    "trillion", "dozen", "dozens", "half", "halves", "third", "thirds", "quarter", "quarters",
    "fourth", "fourths", "fifth", "fifths", "sixth", "sixths", "eighth", "eighths", "tenth",
    "tenths", "once", "twice", "thrice", "double", "triple", "quadruple", "pair", "pairs",
    "couple", "single",
)  # fmt: skip
LARGEST = 999_999
_UNITS = {word: value for value, word in enumerate(SMALL)}
_UNITS |= {word: 10 * value for value, word in enumerate(TENS, start=2)}
_ALL = frozenset((*_UNITS, *OTHERS))

_DIGITS = re.compile(r"(?<![\w.,$€£¥#%:'~(\[{-])\d{1,6}(?![\w%°:'\])}-]|[.,]\d|\.\w)")
# "one" is often no number: one of them, this one.
_WORDS = re.compile(
    rf"(?<![\w'-])(?:(?:{'|'.join(TENS)})(?:-(?:{'|'.join(SMALL[1:10])}))?"
    rf"|{'|'.join(SMALL[2:])}|zero)(?![\w'-])",
    re.IGNORECASE,
)
# A number after one of these words is a name: page 3, May 5.
_LABELS = frozenset(
    [
        *("page", "chapter", "room", "no", "number", "problem", "equation", "figure", "type"),
        *("class", "step", "grade", "table", "section", "part", "case", "version", "year", "group"),
        *("january", "february", "march", "april", "may", "june", "july", "august", "september"),
        *("october", "november", "december", "point"),
    ]
)
_YEARS = range(1000, 3000)


def is_number_word(word: str) -> bool:
    """Whether a word says a number, or a part of one."""
    return word.lower() in _ALL


def in_words(number: int) -> str:
    """0 to 999,999 in words, as in American English: `two hundred forty-five`.

    Raises:
        ValueError: another number.
    """
    if not 0 <= number <= LARGEST:
        raise ValueError(f"expected a number from 0 to {LARGEST:,} to say in words, got {number}")
    if number < 20:
        return SMALL[number]
    if number < 100:
        tens, rest = divmod(number, 10)
        return TENS[tens - 2] + (f"-{SMALL[rest]}" if rest else "")
    size, word = (1000, "thousand") if number >= 1000 else (100, "hundred")
    count, rest = divmod(number, size)
    return f"{in_words(count)} {word}" + (f" {in_words(rest)}" if rest else "")


def value_of(words: str) -> int:
    """What a number below 100 is, from its words: `forty-five` is 45."""
    return sum(_UNITS[word] for word in words.lower().split("-"))


def number_words(stem: str, strength: float, rng: random.Random) -> str | None:
    """A share of the numbers written the other way: digits as words, words as digits.

    Left as they are: decimals, money, percentages, times, years, what is counted through (page 3),
    parts of formulas, and words that are a part of a longer number (two hundred, two and a half).
    """
    spans = protected(stem)
    places = [
        (*found.span(), _other(found[0]))
        for found in (*_DIGITS.finditer(stem), *_WORDS.finditer(stem))
        if free(*found.span(), spans) and _alone(stem, found)
    ]
    if not places:
        return None
    return replaced(stem, rng.sample(sorted(places), share_of(strength, len(places))))


def _other(number: str) -> str:
    if not number.isdecimal():
        return str(value_of(number))
    return in_words(int(number))


def _alone(stem: str, found: re.Match[str]) -> bool:
    """Whether a number is a whole one that counts or measures something."""
    start, end = found.span()
    before = re.findall(r"[\w.,$€£¥'-]+", stem[max(0, start - 30) : start])[-1:]
    after = re.findall(r"[\w.,$€£¥'-]+", stem[end : end + 30])[:3]
    last, next_ = "".join(before).lower().strip(".,"), "".join(after[:1]).lower().strip(".,")
    if in_term(stem, start, end) or last in _LABELS:
        return False
    if _numeral(last) or _numeral(next_):
        return False
    if next_ == "and" and (len(after) < 3 or after[1].lower() in ("a", "an", "one")):
        return False  # two and a half
    if last == "and" and re.search(r"\b(?:hundred|thousand|million)\s+and\s+$", stem[:start], re.I):
        return False
    if found[0].isdecimal():
        return not (found[0].startswith("0") and found[0] != "0") and int(found[0]) not in _YEARS
    first = re.search(r"(?:^|[.!?:\n])[\"'( ]*$", stem[:start])
    return found[0][0].islower() or bool(first)  # Ocean's Eleven


def _numeral(word: str) -> bool:
    """Whether a word beside a number makes one number of both."""
    word = word.strip("$€£¥")
    return word[:1].isdigit() or word in _ALL or word.split("-")[0] in _ALL or word == "point"
