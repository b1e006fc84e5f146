"""The records that every stage passes on, and their statuses.

Frozen, slotted and keyword-only. This file imports nothing of the project and holds no behaviour.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypedDict


class Message(TypedDict):
    """One chat message, in the form chat templates take."""

    role: str
    content: str


class Split(StrEnum):
    """What a question is for: training traces, held-out evaluation, or a harder distribution."""

    TRAIN = "train"
    EVAL = "eval"
    OOD = "ood"


class Verdict(StrEnum):
    """A grader's word on an answer. A question without a gold answer has no verdict (None)."""

    CORRECT = "correct"
    INCORRECT = "incorrect"
    UNPARSABLE = "unparsable"
    TIMEOUT = "timeout"


class FinishReason(StrEnum):
    """Why a completion ended: the model stopped, or the token limit cut it."""

    STOP = "stop"
    LENGTH = "length"


class DebateStatus(StrEnum):
    """How a debate ended. Every question ends as a row with one of these."""

    OK = "ok"
    FAILED = "failed"
    PROMPT_TOO_LONG = "prompt_too_long"


class StopReason(StrEnum):
    """Why no further round was held."""

    ROUNDS = "rounds"
    UNANIMOUS = "unanimous"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question with its gold answer."""

    question_id: str  # stable content hash, unique within a split
    text: str
    gold: str
    task: str  # a key of tasks.registry.TASKS
    split: str  # a Split


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How an agent samples."""

    temperature: float
    top_p: float
    max_tokens: int  # output tokens at most


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What an engine returned for one prompt."""

    text: str
    prompt_tokens: int
    cached_tokens: int  # of the prompt tokens, those served from the prefix cache
    output_tokens: int
    finish_reason: str  # a FinishReason
    mean_logprob: float  # natural log, over the output tokens; 0.0 for an empty output
    latency_s: float  # from the request to the last token


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One agent speaking once."""

    agent: int  # 0..A-1
    round: int  # 0..R-1
    messages: Sequence[Message]  # exactly what the engine was given
    completion: Completion
    answer: str | None  # extracted by the task's grader; None if there is none
    verdict: str | None  # a Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """The share of agents behind the leading answer after one round."""

    round: int
    answer: str | None
    count: int  # agents with an equal answer
    agents: int  # agents asked


@dataclass(frozen=True, slots=True, kw_only=True)
class Debate:
    """A finished debate on one question."""

    question: Question
    turns: Sequence[Turn]
    votes: Sequence[Vote]  # one a round
    final_answer: str | None
    final_verdict: str | None
    stop_reason: str | None  # a StopReason; None unless status is ok
    status: str  # a DebateStatus
    error_type: str | None
    error_message: str | None
    wall_s: float
