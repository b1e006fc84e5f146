"""Training rows: what every strategy produces from traces."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from agentark_ray.types import Message


class Drop(StrEnum):
    """Why a trace gave no training row."""

    FAILED = "failed"  # the debate did not end with status ok
    WRONG = "wrong_consensus"
    NO_ANSWER = "no_answer"  # nobody gave an answer that can be read
    TRUNCATED = "truncated"  # every right answer was cut at the token limit
    TOO_LONG = "too_long"  # longer than the training sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRow:
    """A prompt and the answer to be learned for it."""

    question_id: str
    messages: Sequence[Message]  # the prompt, as a single agent is asked
    target: str
