"""A short text in which only what matters for numbers is left of LaTeX, Markdown and currency."""

import re

_CHARACTERS = str.maketrans(
    {
        **dict.fromkeys("\u2212\ufe63\uff0d\u2011", "-"),
        **dict.fromkeys("\u00a0\u2009\u202f\u2007\u2008", " "),
        **dict.fromkeys("\u00d7\u00b7\u22c5\u2219", "*"),
        **dict.fromkeys("\u2044\u2215", "/"),
        **{chr(0xFF10 + digit): str(digit) for digit in range(10)},
        "\uff05": "%",
        "\uff0c": ",",
        "½": " 1/2",
        "⅓": " 1/3",
        "⅔": " 2/3",
        "¼": " 1/4",
        "¾": " 3/4",
        "⅕": " 1/5",
        "⅖": " 2/5",
        "⅗": " 3/5",
        "⅘": " 4/5",
        "⅙": " 1/6",
        "⅚": " 5/6",
        "⅛": " 1/8",
        "⅜": " 3/8",
        "⅝": " 5/8",
        "⅞": " 7/8",
        "°": " ",
    }
)
_MARKUP = re.compile(r"\*\*|__|`")
_DASH_SIGN = re.compile(r"(^|[\s(=:])\u2013(?=[\d.$€£])")
_CURRENCY = re.compile(r"(-?)\s?\b[A-Z]{1,3}[$](-?)|(-?)\s?[$€£¥₹₽₩¢](-?)")
_MONEY = re.compile(
    r"(\d[\d,]{0,30})\s?(?:dollars?|euros?|pounds?)\s?(?:and|,)?\s?(\d{1,2})\s?"
    r"(?:cents?|pence)\b",
    re.IGNORECASE,
)

_ARGUMENT = r"\s{0,4}(?:\{([^{}]{1,100})\}|(\d))"
_FRACTION = re.compile(rf"\\[dtc]?frac{_ARGUMENT}{_ARGUMENT}")
_REPEATING = re.compile(r"(\d{0,15})\.(\d{0,15})\\overline\s?\{(\d{1,15})\}")
_PLAIN = re.compile(r"\s*-?\s*[\d.,]+\s*\Z")
_DEGREES = re.compile(r"\^\s?\{?\s?\\circ\s?\}?|\\degree\b")
_LATEX = re.compile(
    r"(?P<comma>\{,\}|,\s?\\[,!;: ]\s?(?=\d{3}(?!\d)))|(?P<power>\^\s?\{([^{}]{1,20})\})"
    r"|\\(?P<word>[a-zA-Z]{1,20})\s?|\\(?P<sign>[%$#&_])|\\(?P<space>[,!;: ()\[\]])"
)
_WORDS = {
    **dict.fromkeys(["text", "textbf", "textit", "textrm", "mathrm", "mathbf", "mathit"], " "),
    **dict.fromkeys(["mbox", "hbox", "boxed", "fbox", "operatorname", "emph", "rm", "bf"], " "),
    **dict.fromkeys(["left", "right", "displaystyle", "textstyle", "bigl", "bigr"], " "),
    **dict.fromkeys(["quad", "qquad", "underline", "Large", "large"], " "),
    **dict.fromkeys(["times", "cdot", "ast"], "*"),
    **dict.fromkeys(["approx", "simeq", "sim", "doteq", "thickapprox"], "≈"),
    "div": "÷",
    "pm": "±",
    "pounds": "£",
}


def clean(text: str) -> str:
    """A text in which only what matters for numbers is left of LaTeX, Markdown and currency."""
    text = text.translate(_CHARACTERS)
    if "\\" in text or "{" in text:
        text = _REPEATING.sub(_repeated, _DEGREES.sub(" ", text))
        text = _FRACTION.sub(_slash, text)
        text = _LATEX.sub(_plain, text)
        text = text.replace("{", "").replace("}", "")
    text = _DASH_SIGN.sub(r"\1-", _MARKUP.sub("", text))
    text = _CURRENCY.sub(lambda m: " -" if "-" in m.group() else " ", text)
    if "cent" in text or "pence" in text:
        text = _MONEY.sub(lambda m: f"{m[1]}.{int(m[2]):02d}", text)
    return text


def _repeated(match: re.Match[str]) -> str:
    """The fraction of a repeating decimal: 0.8(3) is 75/90."""
    whole, places, period = match[1] or "0", match[2], match[3]
    nines = 10 ** len(places) * (10 ** len(period) - 1)
    number = int(whole + places + period) - int(whole + places)
    return f"{number}/{nines}"


def _slash(match: re.Match[str]) -> str:
    above, below = match[1] or match[2], match[3] or match[4]
    before = match.string[match.start() - 1 : match.start()]
    if _PLAIN.match(above) and _PLAIN.match(below):
        return f"{' ' if before.isdigit() else ''}{above.strip()}/{below.strip()} "
    return f"({above})\\/({below})"  # the backslash says that it is no number


def _plain(match: re.Match[str]) -> str:
    if match["comma"]:
        return ","
    if match["power"]:
        return f"^{match[3].strip()}"
    if match["word"]:
        return _WORDS.get(match["word"], match.group())
    return match["sign"] or ("" if match["space"] == "!" else " ")
