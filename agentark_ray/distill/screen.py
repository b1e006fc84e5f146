"""What is wrong with one solution, whatever its answer: length, loops, script, talk of others.

No model and no download. Languages of one script are not told apart; scripts are, which is what
goes wrong in practice (a model that falls into another language in the middle of a solution).
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from agentark_ray.distill.rows import Drop
from agentark_ray.similar import words
from agentark_ray.strategy import CurationConfig
from agentark_ray.types import FinishReason

RUN = 4  # words whose repetition is counted (as in MassiveText's filters, 2112.11446, table A1)
FEWEST_RUNS = 12  # below, a repetition is no loop
ONE_CHARACTER = re.compile(r"([^\W_])\1{29}")
FOREIGN_WORDS, FOREIGN_SHARE = 3, 0.05  # a solution may hold so much in a script of its own
OWN_WORDS, OWN_SHARE = 10, 0.3  # and must have so much in the question's

# Talk of what only a participant of the debate has seen. Prompts number agents, `Agent 2:`. Bare
# "other solutions" is not among it: equations have such.
OTHERS = re.compile(
    r"\b(?:agents? \d|(?:other|all|both|these|those) agents?|reviewers?"
    r"|(?:my|your) (?:previous|earlier|first|initial|original) (?:answer|solution|response))\b",
    re.IGNORECASE,
)
_COMMAND = re.compile(r"\\[a-zA-Z]+")


def fault(text: str, finish_reason: str, question: str, settings: CurationConfig) -> Drop | None:
    """Why a solution (stripped) is not fit to be learned, or None."""
    if finish_reason != FinishReason.STOP:
        return Drop.TRUNCATED
    if not text:
        return Drop.EMPTY
    measured = measure(text, question)
    if measured.words < settings.min_words:
        return Drop.TOO_FEW_WORDS
    if settings.max_words is not None and measured.words > settings.max_words:
        return Drop.TOO_MANY_WORDS
    if measured.repetition > settings.max_repetition:
        return Drop.REPETITIVE
    if settings.same_script and measured.other_script:
        return Drop.OTHER_SCRIPT
    return Drop.REFERS if measured.refers else None


class Measured(NamedTuple):
    """What is looked at in a solution."""

    words: int
    repetition: float  # 1 if it is stuck in one character
    other_script: bool
    refers: bool  # to what only a participant of the debate has seen


@lru_cache(512)  # agents that agree say the same words
def measure(text: str, question: str) -> Measured:
    """What the settings of a curation are compared with."""
    tokens = words(text)
    return Measured(
        words=count_words(tokens),
        repetition=1.0 if ONE_CHARACTER.search(text) else repetition(tokens),
        other_script=other_script(question, text),
        refers=bool(OTHERS.search(text)) and not OTHERS.search(question),
    )


def count_words(tokens: Sequence[str]) -> int:
    """The words and numbers among `similar.words`; signs do not count."""
    return sum(token[0].isalnum() for token in tokens)


def repetition(tokens: Sequence[str]) -> float:
    """Share of the runs of RUN tokens that occurred before, 0..1; 0 for a short text."""
    runs = [tuple(tokens[i : i + RUN]) for i in range(len(tokens) - RUN + 1)]
    return 1 - len(set(runs)) / len(runs) if len(runs) >= FEWEST_RUNS else 0.0


def other_script(question: str, text: str) -> bool:
    """Whether a text is, in part or as a whole, in another script than its question."""
    asked, told = scripts(question), scripts(text)
    if not asked:
        return False
    foreign = sum(count for script, count in told.items() if script not in asked)
    total = told.total()
    if foreign >= FOREIGN_WORDS and foreign > FOREIGN_SHARE * total:
        return True
    if total < OWN_WORDS:
        return False
    return told[max(asked, key=lambda script: (asked[script], script))] < OWN_SHARE * total


def scripts(text: str) -> Counter[str]:
    """Words by script. Single letters of an alphabet (variables) and LaTeX commands are none."""
    found: Counter[str] = Counter()
    for token in words(_COMMAND.sub(" ", text)):
        script = _script(token[0])
        if script and (len(token) > 1 or script in ("CJK", "HIRAGANA", "KATAKANA", "HANGUL")):
            found[script] += 1
    return found


@lru_cache(4096)
def _script(char: str) -> str | None:
    """LATIN, CYRILLIC, CJK, ...: the first word of a letter's Unicode name; None for no letter."""
    if not char.isalpha():
        return None
    return unicodedata.name(char, "UNKNOWN").split(" ")[0].split("-")[0]
