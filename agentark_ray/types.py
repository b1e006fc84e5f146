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
    STABLE = "stable"  # nobody changed their answer
    QUORUM = "quorum"
    JUDGED = "judged"  # the judge decided for a side
    VERIFIED = "verified"  # most verifiers accepted the solution


class Role(StrEnum):
    """What a speaker does in a debate."""

    AGENT = "agent"
    AFFIRMATIVE = "affirmative"
    NEGATIVE = "negative"
    SOLVER = "solver"
    VERIFIER = "verifier"
    JUDGE = "judge"
    AGGREGATOR = "aggregator"


SOLVERS = (Role.AGENT, Role.AFFIRMATIVE, Role.NEGATIVE, Role.SOLVER)  # whose turns are solutions


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question with its gold answer, if it has one."""

    question_id: str  # stable content hash, unique within a split
    text: str
    gold: str | None
    task: str  # a key of tasks.registry.TASKS
    split: str  # a Split
    aliases: Sequence[str] = ()  # answers that are as right as `gold`
    solution: str | None = None  # a worked one, where the data set has it; no agent reads it


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How an agent samples."""

    temperature: float
    top_p: float
    max_tokens: int  # output tokens at most
    choices: tuple[str, ...] = ()  # if there are any, the whole answer is one of them


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRef:
    """A model that speaks: an engine of the run, or an endpoint's."""

    name: str  # a folder, URI or Hugging Face id; at an endpoint, the name it serves
    endpoint: str | None = None  # base URL of an OpenAI-compatible server
    api_key_env: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Speaker:
    """One who speaks in a debate."""

    role: str  # a Role
    model: ModelRef | None  # None: the model of the arm
    persona: str
    sampling: Sampling


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What an engine returned for one prompt."""

    text: str
    prompt_tokens: int
    cached_tokens: int  # of the prompt tokens, those served from the prefix cache; 0 if not told
    output_tokens: int
    finish_reason: str  # a FinishReason
    mean_logprob: float  # natural log, over the output tokens; 0.0 for an empty output
    latency_s: float  # from the request to the last token
    first_token_s: float | None = None  # from the request to the first one; None: not listened to


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """A completion that is learned from: what was sampled, token by token."""

    text: str  # without special tokens
    token_ids: Sequence[int]  # of the output, the one that ended it included
    logprobs: Sequence[float]  # of each, natural log, in the distribution it was drawn from
    finish_reason: str  # a FinishReason
    version: int  # of the weights that sampled it: optimizer steps that they have seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One agent speaking once."""

    agent: int  # 0..A-1
    role: str  # a Role
    round: int  # 0..R-1
    messages: Sequence[Message]  # exactly what the engine was given
    completion: Completion
    answer: str | None  # extracted by the task's grader; None if there is none
    verdict: str | None  # a Verdict
    dropped_rounds: int = 0  # oldest rounds left out of the messages, which were too long


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """The share of agents behind the leading answer after one round.

    In `judged` the agents are the two sides, in `verify` the verifiers of the solver's answer.
    """

    round: int
    answer: str | None
    count: int  # agents behind it
    agents: int  # agents asked; with a quorum not all may have been
    verdict: str | None  # a Verdict


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
