"""Is the student better than what needs no debate? Pure: pairs in, words out.

Without a debate are made a student of single answers (RFT, the control), a single answer, and a
vote of them.
"""

from dataclasses import dataclass
from enum import StrEnum

from agentark_ray.evaluate.evidence import Rival
from agentark_ray.evaluate.gate import count
from agentark_ray.evaluate.paired import interval

NAMES = {"single": "a single answer", "self_consistency": "a vote of single answers"}
CONTROL = "the RFT control"


class Standing(StrEnum):
    """What is shown of the student beside a rival."""

    BETTER = "better"
    NO_DIFFERENCE = "no difference shown"
    WORSE = "worse"


WORDS = {
    Standing.BETTER: "the student is better",
    Standing.NO_DIFFERENCE: "no difference of the student is shown",
    Standing.WORSE: "the student is worse",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Versus:
    """The student against one rival, on common questions."""

    standing: Standing
    questions: int
    difference: float  # accuracy of the student less the rival's
    low: float
    high: float
    confidence: float  # of the interval, two-sided
    only_student: float  # questions that only it is right on
    only_rival: float
    told: str


def versus(rival: Rival, confidence: float) -> Versus:
    """What is shown: a difference if its interval leaves out 0."""
    pair = rival.pair
    difference = float(pair.first - pair.second)
    low, high = interval(pair, "difference", confidence)
    standing = Standing.NO_DIFFERENCE
    if low > 0 or high < 0:
        standing = Standing.BETTER if low > 0 else Standing.WORSE
    return Versus(
        standing=standing,
        questions=int(pair.n),
        difference=difference,
        low=low,
        high=high,
        confidence=confidence,
        only_student=float(pair.only_first),
        only_rival=float(pair.only_second),
        told=f"Against {rival.name} {WORDS[standing]}: {100 * difference:+.1f} points of accuracy"
        f" on {count(int(pair.n), 'common question')}, {100 * confidence:g} % interval"
        f" {100 * low:+.1f} to {100 * high:+.1f}.",
    )
