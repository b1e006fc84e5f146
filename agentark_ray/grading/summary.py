"""Summaries (QMSum): ROUGE, by the rouge-score library with stemming.

Two summaries are equal if the F-measure of ROUGE-L is at least ROUGE_L_EQUAL. No threshold makes
ROUGE a judge of truth: this one tells a summary of the asked matter from one of another matter of
the same meeting, no more. The scores are what evaluation should report.
"""

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from agentark_ray.grading import text as find
from agentark_ray.grading.base import Grader, GradingTimeout

if TYPE_CHECKING:
    from rouge_score.rouge_scorer import RougeScorer

INSTRUCTION = "Answer with a summary of a few sentences and nothing else."
ROUGE_L_EQUAL = 0.25
MAX_CELLS = 20_000_000  # words times words; the longest common subsequence takes seconds there

_HEADING = re.compile(
    r"(?:[#*\s]*(?:here\sis\s(?:a|the)\s)?(?:final\s)?(?:summary|answer)[*\s]*(?:[:\n]|is:)[*\s]*)",
    re.IGNORECASE,
)


def extract_answer(text: str) -> str | None:
    """The whole text without thoughts, a tag around it or a heading such as "Summary:"."""
    text = find.final_part(text)
    text = find.tagged(text) or text
    heading = _HEADING.match(text)
    return text[heading.end() if heading else 0 :].strip() or None


@lru_cache(1)
def _scorer() -> "RougeScorer":
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True)


@lru_cache(256)
def scores(answer: str, gold: str) -> dict[str, float]:
    """F-measures of ROUGE-1, ROUGE-2 and ROUGE-L, 0 to 1.

    Raises:
        GradingTimeout: the texts are too long to be compared.
    """
    cells = (answer.count(" ") + 1) * (gold.count(" ") + 1)
    if cells > MAX_CELLS:
        raise GradingTimeout(f"comparing these summaries takes {cells} steps, above {MAX_CELLS}")
    return {name: score.fmeasure for name, score in _scorer().score(gold, answer).items()}


def equal(a: str, b: str) -> bool:
    """Whether ROUGE-L finds two summaries alike. Reflexive and symmetric.

    Raises:
        GradingTimeout: the texts are too long to be compared.
    """
    if a.split() == b.split():
        return True
    first, second = sorted((a, b))
    return scores(first, second)["rougeL"] >= ROUGE_L_EQUAL


SUMMARY = Grader(
    name="summary",
    instruction=INSTRUCTION,
    extract=extract_answer,
    equal=equal,
    scores=scores,
    slow=True,
)
