"""Reading one number from a short text, plain or LaTeX, as models and gold answers write it.

Units and currency are ignored. What is more than one number (a range, a list, a date, a time, a
ratio, an expression such as 3 + 4 or 3x) is no number. All patterns are linear: possessive, or of
bounded length.
"""

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from agentark_ray.grading.plain import clean

MAX_DIGITS = 4000  # of a number that is computed with; int() of longer texts is refused by Python
SCALES = {
    "hundred": 10**2,
    "thousand": 10**3,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
    "dozen": 12,
}

_NUMBER = r"""
    [1-9]\d{0,2}(?:,\d{3})++(?!\d)(?:\.\d++)?         # 1,234,567.8
  | [1-9]\d?(?:,\d{2}(?=,))++,\d{3}(?!\d)(?:\.\d++)?  # 12,34,567
  | [1-9]\d{0,2}(?:\.\d{3})++,\d{1,2}(?!\d)           # 1.234.567,8
  | [1-9]\d{0,2}(?:[ ]\d{3})++(?!\d)(?:[.,]\d++)?     # 1 234 567
  | (?:\d++,\d{1,2}|0,\d++)(?![\d,])                  # 3,5: a decimal comma, no thousands
  | \d++(?:\.\d++)?
  | \.\d++
"""
_TOKEN = re.compile(
    rf"""
    (?<![\w^])(?<!\d\.)(?<!\d,)
    (?:
      (?P<none>
        \d{{1,4}}(?P<sep>[-/.])\d{{1,2}}(?P=sep)\d{{1,4}}(?!\d)    # a date
      | \d++(?::\d++)++                                            # a time, a ratio
      | \d++(?:\.\d++){{2,}}(?!,\d)                               # a version
      | \d++(?:\.\d++)?(?:-|\s?[\u2013\u2014]\s?)\d++(?:\.\d++)?   # a range
      | (?<=\bbetween[ ])[$]?\d++(?:\.\d++)?[ ]and[ ][$]?\d++(?:\.\d++)?
      )
    | (?P<ordinal>\d++(?:st|nd|rd|th)\b)
    | (?:(?P<whole>\d{{1,9}})\s{{1,3}}(?P<part>\d{{1,9}})\s?/\s?(?P<of>\d{{1,9}})(?![\d/])
      | (?P<number>{_NUMBER})
        (?:(?:[eE]|\s?[*x]\s?10\s?\^\s?\(?)(?P<power>[-+]?\d{{1,4}})(?!\w)\)?)?
        (?:\^\(?(?P<raised>-?\d{{1,4}})(?!\w)\)?)?
        (?:\s?/\s?(?P<over>\d++(?:\.\d++)?)(?!\s?[\d/]))?
      )
      (?:\s{{0,3}}(?P<percent>%|(?:percent(?:age)?|per\s?cent|pct)\b)
       |\s{{0,3}}(?P<scale>(?:{"|".join(SCALES)})s?\b))?
    )
    """,
    re.VERBOSE | re.IGNORECASE,
)

_ASSIGNMENTS = re.compile(r"=[^=]{0,40}\d[^=]{0,10}(?:[,;]|\band\b)\s*[a-zA-Z]\w{0,3}\s*=")
# Before or after the only number of an answer these make it an expression, a range or a list.
_BAD_BEFORE = re.compile(
    r"[\\√]|\b(?:sqrt|log|ln|not)\b|[+*/^÷±<>≤≥≠|!]\s*$|[a-zA-Z]\($|[\w)]\s*-\s+$"
)
_BAD_AFTER = re.compile(
    r"[abdeijnpqruwxyz(](?![a-z])|\s?(?:[π√\\]|pi\b|sqrt\b)|\s*[\^÷±<>≤≥≠|]|!\S|,\d"
    r"|\s*/(?!\s?(?:[a-zA-Z]{2}|[hsm]\b))"
    r"|\s*(?:[-+*\u2013:]|\bto\b|\bor\b)\s*[-+($]?\s*[\d\\(]|\s*[-+*]\s*[a-z]\b"
    r"|\s*(?:,|;|,?\s?\b(?:and|or)\b)\s*[-+($]?\d[\d./]*\)?\s*(?:[.;,)\]}]|and\b|or\b|$)",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A number and what multiplies it: "50%" is 50 with scale 1/100, "2 million" 2 with 10^6."""

    number: Fraction
    scale: Fraction | None

    def equals(self, other: "Value") -> bool:
        """Whether they are the same number.

        Where only one has a scale it may as well be a unit: 50% equals 0.5, as in math-verify, and
        equals 50, as in the graders of GSM8K and MATH, which strip the sign.
        """
        if self.scale is None and other.scale is not None:
            return other.equals(self)
        if self.scale is None or other.scale is not None:
            return self.number * (self.scale or 1) == other.number * (other.scale or 1)
        return other.number in (self.number, self.number * self.scale)


def only_number(text: str, strict: bool) -> tuple[bool, str | None]:
    """(whether a text holds any number, the number in its canonical form if it is only one).

    With `strict` no other number may follow anywhere; otherwise a sentence may go on.
    """
    if len(text) > MAX_DIGITS:
        return any(char.isdigit() for char in text), None
    any_found = False
    plain = clean(text)
    if _ASSIGNMENTS.search(plain):
        return True, None
    parts = re.split(r"[=≈]", plain)
    for part in reversed(parts) if len(parts) > 1 else parts:
        tokens = list(_TOKEN.finditer(part))
        any_found = any_found or bool(tokens)
        if tokens and (number := _single(part, tokens, strict)) is not None:
            return True, number
    return any_found, None


def _single(part: str, tokens: list[re.Match[str]], strict: bool) -> str | None:
    first = tokens[0]
    before, after = part[: first.start()].strip(), part[first.end() : first.end() + 80]
    before = "" if before == "+" else before
    if first["none"] or _BAD_BEFORE.search(before[-80:]):
        return None
    number, *others = (
        _canonical(token, _negative(part, token.start(), at_start=True))
        for token in tokens
        if not token["none"]
    )
    if others and all(value(other) == value(number) for other in others):
        return number  # said twice: "9, or 9.0"
    if _BAD_AFTER.match(after):
        return None
    if strict and (others or after.startswith(("!", "..", "…"))):
        return None
    return number


def _negative(part: str, start: int, at_start: bool) -> bool:
    """Whether what stands before a number makes it negative: "-5", "= - 5", "minus 5".

    "- 5" at the start of a line is a point of a list unless `at_start`.
    """
    before = part[max(0, start - 20) : start]
    if not before.rstrip().endswith("-"):
        return bool(re.search(r"\b(?:minus|negative)\s$", before, re.IGNORECASE))
    head = before.rstrip()[:-1]
    if before.endswith("-"):
        return not head or not (head[-1].isalnum() or head[-1] == ")")
    return head.rstrip()[-1:] in "=(:[" if head.strip() else at_start


def last_number(text: str) -> str | None:
    """The last number of a text in canonical form; dates, times, ranges and the like are passed."""
    for size in (1000, 8000, len(text)):
        found = _last(text[-size:])
        if found is not None or size >= len(text):
            return found
    return None


def _last(text: str) -> str | None:
    part = clean(text)
    tokens = [token for token in _TOKEN.finditer(part) if not token["none"]]
    plain = [token for token in tokens if not token["ordinal"]]
    for token in (plain or tokens)[-1:]:
        return _canonical(token, _negative(part, token.start(), at_start=False))
    return None


def _canonical(token: re.Match[str], negative: bool) -> str:
    if token["ordinal"]:
        return token["ordinal"][:-2]
    sign = "-" if negative else ""
    if token["whole"]:
        text = f"{token['whole']} {token['part']}/{token['of']}"
    else:
        number = token["number"].replace(" ", "")
        text = _DECIMAL_COMMA.sub(_point, number).replace(",", "")
        text += f"e{token['power']}" if token["power"] else ""
        text += f"^{token['raised']}" if token["raised"] else ""
        text += f"/{token['over']}" if token["over"] else ""
    if token["percent"]:
        return f"{sign}{text}%"
    return f"{sign}{text} {token['scale'].lower().rstrip('s')}" if token["scale"] else sign + text


def _point(match: re.Match[str]) -> str:
    return f"{match[1].replace('.', '')}.{match[2]}"


_DECIMAL_COMMA = re.compile(r"\A([\d.]*),(\d{1,2}|(?<=\A0,)\d++)\Z")
_CANONICAL = re.compile(
    r"(?P<sign>[-+]?)(?:(?P<whole>\d{1,9}) )?(?P<number>\d*+\.?\d*+)(?:e(?P<power>[-+]?\d{1,4}))?"
    r"(?:\^(?P<raised>-?\d{1,4}))?(?:/(?P<over>\d++(?:\.\d++)?))?(?P<percent>%)?"
    r"(?: (?P<scale>[a-z]+))?"
)


@lru_cache(16_384)
def value(canonical: str) -> Value | None:
    """The value of a canonical form; None for what is not one, is not finite or is too long."""
    found = _CANONICAL.fullmatch(canonical) if len(canonical) <= MAX_DIGITS else None
    if found is None or not any(char.isdigit() for char in found["number"]):
        return None
    try:
        number = Fraction(found["number"])
        number = number * Fraction(10) ** int(found["power"] or 0)
        number = _raise(number, int(found["raised"])) if found["raised"] else number
        number = number / Fraction(found["over"] or 1) + int(found["whole"] or 0)
    except (ZeroDivisionError, OverflowError):
        return None
    scale = Fraction(1, 100) if found["percent"] else None
    if found["scale"]:
        if found["scale"] not in SCALES:
            return None
        scale = Fraction(SCALES[found["scale"]])
    return Value(number=-number if found["sign"] == "-" else number, scale=scale)


def _raise(number: Fraction, exponent: int) -> Fraction:
    """A power, if it is not longer than MAX_DIGITS."""
    digits = len(str(max(abs(number.numerator), number.denominator))) * abs(exponent)
    if digits > MAX_DIGITS:
        raise OverflowError(f"{number}^{exponent} is too long")
    return number**exponent
