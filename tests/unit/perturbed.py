"""Questions to change, and what must stay in them."""

import random
import re
from collections import Counter

from agentark_ray.evaluate.perturb.number_words import in_words
from agentark_ray.types import Question, Split

_UNITS = {in_words(n): n for n in range(1000)}
_BELOW = "|".join(sorted(_UNITS, key=len, reverse=True))
_WORD = re.compile(
    rf"(?<![\w-])(?:(?P<thousands>{_BELOW}) thousand(?: (?P<rest>{_BELOW}))?|(?:{_BELOW}))"
    r"(?![\w-])",
    re.IGNORECASE,
)


def question(text: str, gold: str | None = "7", task: str = "gsm8k") -> Question:
    """A held-out question."""
    return Question(question_id="q", text=text, gold=gold, task=task, split=Split.EVAL)


def rng(seed: int = 0) -> random.Random:
    """The draws of a seed."""
    return random.Random(seed)


def numbers(text: str) -> Counter[str]:
    """All numbers of a text, those in words as digits."""

    def digits(found: re.Match[str]) -> str:
        if not found["thousands"]:
            return str(_UNITS[found[0].lower()])
        rest = _UNITS[found["rest"].lower()] if found["rest"] else 0
        return str(1000 * _UNITS[found["thousands"].lower()] + rest)

    plain = _WORD.sub(digits, text)
    return Counter(re.findall(r"\d+(?:[.,]\d+)*", plain))


OPTIONS = question("Which is even?\nA) 3\nB) 4\nC) 5\nD) 7", "B", "mmlu")
