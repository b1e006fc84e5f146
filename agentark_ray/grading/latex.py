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
        (r"\{,\}\s?|,\s?\\[,!;: ]\s?(?=\d{3}(?!\d))|,\s?\\!\s?", ","),
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
        (r"\\\{\s?(\([^(){}]*\)|-?[\d.]+)\s?\\\}", r"\1"),
        (r"\\overline\s?\{([A-Z]{1,4})\}|\\(?:angle|triangle)\s?(?=[A-Z])", r"\1"),
    )
)
_LETTER = re.compile(r"\\text\{\s*\(?([A-Za-z])\)?\s*\}|\(([A-Z])\)")
_SIGNS = re.compile(r"\\([pm])[pm](?![a-zA-Z])\s?")
_TEXT = re.compile(r"\\text\s?\{([^{}]{0,1000})\}")
_WORDS = re.compile(r"[a-zA-Z](?:[a-zA-Z ]|-(?=[a-zA-Z])|,(?= )){0,200}")
_NO_WORDS = re.compile(r"\b(?:alpha|beta|theta|infinity|sqrt|and|or)\b")
_COMMAND = re.compile(r"\\[a-zA-Z]{1,20}")
_LIST = re.compile(r"\d\s{0,2},\s{0,2}\d{1,2}(?!\d)|\d,\d{4}|[,;]\s|^[(\[{\\]*.*[,;].*[)\]}]$|;")
_UNIT = re.compile(
    r"(?:(?!(?:sin|cos|tan|log|exp|and)\b)[a-zA-Z]{3,}|cm|mm|km|kg|mg|ft|in|hr|lb|oz|mi|ml|mL|"
    r"degrees?)(?:\^?[23])?(?:/[a-zA-Z]+(?:\^?[23])?)?"
)


def tidy(text: str) -> str:
    """An answer without what wraps it: dollars, brackets of formulas, bold, a final period."""
    before = None
    while text != before:
        before = text
        text = text.strip().rstrip(
            ",;:\\" if text.endswith("\\") and text[-2:] != "\\\\" else ",;:"
        )
        if text.endswith(".") and not text.endswith(".."):
            text = text[:-1].rstrip()
        for opening, closing in _WRAPPERS:
            inner = text[len(opening) : -len(closing)]
            if text.startswith(opening) and text.endswith(closing) and closing not in inner:
                text = inner
    if "boxed" in text or "fbox" in text:
        return find.boxed(text) or text
    return text


@lru_cache(4096)
def rewrite(text: str) -> str:
    """An answer as LaTeX in one style, the form in which it is parsed."""
    text = tidy(text).translate(_CHARACTERS)
    for pattern, replacement in _REWRITES:
        text = pattern.sub(replacement, text)
    letter = _LETTER.fullmatch(text.strip())
    if letter:
        return letter[1] or letter[2]
    return _both_signs(_one_side(text.strip()))


def _one_side(text: str) -> str:
    """The value of "17/4 \\approx 4.3" and of "17/4 = 4.25"; other equations as they are."""
    left, approx, right = text.partition("\\approx")
    if approx:
        text = right.strip() if re.fullmatch(r"\W*[a-zA-Z]\W*", left) else left.strip(" =")
    sides = text.split("=")
    if len(sides) > 1 and not any(re.search(r"(?<![\\a-zA-Z])[a-zA-Z]|[<>,;]", s) for s in sides):
        return sides[-1].strip()
    return text


def _both_signs(text: str) -> str:
    """A list in which every element with \\pm or \\mp stands with the upper and the lower signs."""
    if "\\pm" not in text and "\\mp" not in text:
        return text
    if text.startswith("\\{") and text.endswith("\\}") and text.count("\\{") == 1:
        return f"\\{{{_both_signs(text[2:-2])}\\}}"
    elements, depth, start = [], 0, 0
    for position, char in enumerate(text):
        depth += (char in "([{") - (char in ")]}")
        if char == "," and depth == 0:
            elements.append(text[start:position])
            start = position + 1
    both = []
    for element in (*elements, text[start:]):
        if _SIGNS.search(element):
            both += [_SIGNS.sub(lambda m: "+-"[m[1] == "m"], element)]
            both += [_SIGNS.sub(lambda m: "-+"[m[1] == "m"], element)]
        else:
            both.append(element)
    return ",".join(part.strip().removeprefix("+") for part in both)


@lru_cache(4096)
def squeeze(text: str) -> str:
    """`rewrite` without spaces, but for those between digits: equal forms are equal answers."""
    parts = rewrite(text).split()
    joined = [
        (" " if left[-1:].isdigit() and right[:1].isdigit() else "") + right
        for left, right in zip(["", *parts], parts, strict=False)
    ]
    return "".join(joined)


def untext(text: str) -> str:
    """`squeeze` without \\text{...} around words."""
    return _TEXT.sub(r"\1", squeeze(text))


def words(text: str) -> tuple[str, ...] | None:
    """The words of an answer that is only words, in lower case; None if it may be mathematics.

    "Anna, Ben" is a list, which has no order.
    """
    latex = rewrite(text)
    plain = " ".join(_TEXT.sub(r" \1 ", latex).split()).replace(" ,", ",")
    long_word = any(len(word) > 3 for word in re.split(r"[-, ]", plain))
    if not (long_word or "\\text" in latex) or not _WORDS.fullmatch(plain):
        return None
    if _NO_WORDS.search(plain.lower()):
        return None
    parts = (part.strip() for part in plain.lower().split(","))
    return tuple(sorted(part.removeprefix("the ").removeprefix("a ") for part in parts))


@lru_cache(4096)
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
