"""Mathematical answers as text: what wraps them, one way of writing them, words and numbers.

Everything here is string work of linear cost; nothing is parsed as mathematics.
"""

import re
from functools import lru_cache

from agentark_ray.grading import text as find
from agentark_ray.grading.number import only_number

_WRAPPERS = (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"), ("**", "**"), ("`", "`"))

_CHARACTERS = str.maketrans(
    {
        **dict.fromkeys("\u2212\ufe63\uff0d\u2011\u2013", "-"),
        **dict.fromkeys("\u00a0\u2009\u202f\u2007\n\t", " "),
        **dict.fromkeys("\u201c\u201d\u2018\u2019\"'\u00b0", ""),
        "\u00d7": "\\times ",
        **dict.fromkeys("\u00b7\u22c5\u2219", "\\cdot "),
        "\u00f7": "/",
        "\u2044": "/",
        "\u2215": "/",
        "\u00b1": "\\pm ",
        "\u03c0": "\\pi ",
        "\u03b8": "\\theta ",
        "\u03b1": "\\alpha ",
        "\u03b2": "\\beta ",
        "\u03bb": "\\lambda ",
        "\u221e": "\\infty ",
        "\u221a": "\\sqrt ",
        "\u2264": "\\le ",
        "\u2265": "\\ge ",
        "\u2260": "\\neq ",
        "\u2248": "\\approx ",
        "\u2208": "\\in ",
        "\u222a": "\\cup ",
        "\u2229": "\\cap ",
        "\u2205": "\\emptyset ",
        "\u211d": "\\mathbb{R}",
        "\u00bd": "\\frac{1}{2}",
        "\u00bc": "\\frac{1}{4}",
        "\u00be": "\\frac{3}{4}",
        "\u2153": "\\frac{1}{3}",
        "\u2154": "\\frac{2}{3}",
        **{char: f"^{digit}" for digit, char in enumerate("\u2070\u00b9\u00b2\u00b3\u2074\u2075")},
    }
)
_REWRITES = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\\\$|\$", ""),
        (r"\{,\}\s?|,\s?\\!\s?", ","),
        (r"(?<!\\)\\[,!;:> ]|~|\\(?:q?quad|displaystyle|textstyle|limits)(?![a-zA-Z])", " "),
        (r"\\(?:left|right|[bB]igg?[lr]?)\s?(?=[()\[\]|/\\])", ""),
        (r"\\[dtc]frac(?![a-zA-Z])", r"\\frac"),
        (r"\\frac\s?(\d)\s?(\d)", r"\\frac{\1}{\2}"),
        (r"\\sqrt\s?(\d+)", r"\\sqrt{\1}"),
        (r"\^\s?\{?\s?\\circ\s?\}?|\\degree(?![a-zA-Z])", ""),
        (r"\\(?:text(?:bf|it|rm|normal|sf|tt)?|mathrm|mathbf|mathit|mbox|hbox)\s?\{", r"\\text{"),
        (r"\\(?:geq|geqslant)(?![a-zA-Z])", r"\\ge "),
        (r"\\(?:leq|leqslant)(?![a-zA-Z])", r"\\le "),
        (r"\\ne(?![a-zA-Z])|!=", r"\\neq "),
        (r"\*\*", "^"),
        (r"<=", r"\\le "),
        (r">=", r"\\ge "),
        (r"\+/-|\+-", r"\\pm "),
        (r"(?<![\w.^/{])(\d{1,9})\s{1,3}(\d{1,9})\s?/\s?(\d{1,9})(?![\d/])", r"\1\\frac{\2}{\3}"),
        (r"(?<![\w.])(\d{1,9}(?:\.\d{1,15})?)[eE]([-+]?\d{1,3})(?!\w)", r"\1\\cdot 10^{\2}"),
        (r"(?<![\\a-zA-Z])(?:infinity|infty)(?![a-zA-Z])|\\text\{\s*infinity\s*\}", r"\\infty "),
        (r"(?<![\\a-zA-Z])(pi|theta|alpha|beta)(?![a-zA-Z])", r"\\\1 "),
        (r"(?<![\\a-zA-Z])(sin|cos|tan|log|ln|sqrt)(?=\s?[({\d])", r"\\\1"),
        (r"([)\]])\s?U\s?([(\[])", r"\1\\cup \2"),
    )
)
_LETTER = re.compile(r"\\text\{\s*\(?([A-Za-z])\)?\s*\}|\(([A-Z])\)")
_TEXT = re.compile(r"\\text\s?\{([^{}]{0,1000})\}")
_WORDS = re.compile(r"[a-zA-Z](?:[a-zA-Z ]|-(?=[a-zA-Z])){0,200}")
_NO_WORDS = re.compile(r"\b(?:alpha|beta|theta|infinity|sqrt|and|or)\b")
_COMMAND = re.compile(r"\\[a-zA-Z]{1,20}")
_LIST = re.compile(r"\d\s{0,2},\s{0,2}\d{1,2}(?!\d)|\d,\d{4}|[,;]\s|^[(\[{\\]*.*[,;].*[)\]}]$|;")
_UNIT = re.compile(
    r"(?:(?!(?:sin|cos|tan|log|exp|and)\b)[a-zA-Z]{3,}|cm|mm|km|kg|mg|ft|in|hr|lb|oz|mi|ml|mL|"
    r"degrees?)(?:/[a-zA-Z]+)?"
)


def tidy(text: str) -> str:
    """An answer without what wraps it: dollars, brackets of formulas, bold, a final period."""
    before = None
    while text != before:
        before = text
        text = text.strip().rstrip(",;:")
        if text.endswith(".") and not text.endswith(".."):
            text = text[:-1].rstrip()
        for opening, closing in _WRAPPERS:
            inner = text[len(opening) : -len(closing)]
            if text.startswith(opening) and text.endswith(closing) and closing not in inner:
                text = inner
    if "boxed" in text or "fbox" in text:
        return find.boxed(text) or text
    return text


@lru_cache(16_384)
def rewrite(text: str) -> str:
    """An answer as LaTeX in one style, the form in which it is parsed."""
    text = tidy(text).translate(_CHARACTERS)
    for pattern, replacement in _REWRITES:
        text = pattern.sub(replacement, text)
    letter = _LETTER.fullmatch(text.strip())
    return (letter[1] or letter[2]) if letter else text.strip()


@lru_cache(16_384)
def squeeze(text: str) -> str:
    """`rewrite` without spaces, but for those between digits: equal forms are equal answers."""
    parts = rewrite(text).split()
    joined = [
        (" " if left[-1:].isdigit() and right[:1].isdigit() else "") + right
        for left, right in zip(["", *parts], parts, strict=False)
    ]
    return "".join(joined)


def words(text: str) -> str | None:
    """The words of an answer that is only words, in lower case; None if it may be mathematics."""
    latex = rewrite(text)
    plain = " ".join(_TEXT.sub(r" \1 ", latex).split())
    long_word = any(len(word) > 3 for word in plain.replace("-", " ").split())
    if not (long_word or "\\text" in latex) or not _WORDS.fullmatch(plain):
        return None
    if _NO_WORDS.search(plain.lower()):
        return None
    return plain.lower().removeprefix("the ").removeprefix("a ")


@lru_cache(16_384)
def plain_number(text: str) -> str | None:
    """The canonical form of an answer that is one number, perhaps with a unit; None otherwise.

    Stricter than `number.only_number`: "1,2" is a list here, "x = 5" and "5m" may be equations and
    products.
    """
    text = tidy(text)
    if len(text) > 4000 or "=" in text or _LIST.search(text.replace("\\", "")):
        return None
    number = only_number(text, strict=True)[1]
    if number is None:
        return None
    rest = _COMMAND.sub(" ", _TEXT.sub(" ", rewrite(text)))
    head, *others = re.split(r"(?<=\d)", rest)
    if re.search(r"[a-zA-Z]", head):
        return None
    units = "".join(others).lstrip("0123456789., /%+-^{}()\\")
    return number if all(_UNIT.fullmatch(unit) for unit in units.split()) else None
