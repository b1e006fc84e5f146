"""What a team says while it answers, and how that is told in the words of OpenAI's API. Pure.

A debate is a stream of events: every turn, every vote, and at last the answer. In a streamed
response each is a chunk with an empty delta and a field `agentark` beside `choices`, which clients
that do not know it ignore; the answer is a chunk with its text.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from agentark_ray.types import SOLVERS, Completion, Debate, Role, Turn, Vote

TOLD_BY = (*SOLVERS, Role.AGGREGATOR)  # whose words may be the answer's
ID_PREFIX = "chatcmpl-"  # of request ids; vLLM adds it to what it is given
DONE = "data: [DONE]\n\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of all completions that an answer took."""

    prompt_tokens: int = 0
    cached_tokens: int = 0  # of the prompts'
    completion_tokens: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
        )

    def as_openai(self) -> dict[str, Any]:
        """The `usage` of a response."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
            "prompt_tokens_details": {"cached_tokens": self.cached_tokens},
        }


def used(completion: Completion) -> Usage:
    """Tokens of one completion."""
    return Usage(
        prompt_tokens=completion.prompt_tokens,
        cached_tokens=completion.cached_tokens,
        completion_tokens=completion.output_tokens,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """Somebody has spoken; `text` only if the request wants a trace."""

    round: int
    agent: int
    role: str
    answer: str | None
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    latency_ms: float  # of this completion
    text: str | None = None
    event: str = "turn"


@dataclass(frozen=True, slots=True, kw_only=True)
class Voted:
    """A round was counted."""

    round: int
    answer: str | None
    count: int
    agents: int
    event: str = "vote"


@dataclass(frozen=True, slots=True, kw_only=True)
class HandedOver:
    """The student was not sure enough, or failed: a debate begins."""

    confidence: float | None  # mean log-probability of the student's tokens; None if it failed
    threshold: float
    usage: Usage = Usage()  # of the student, as far as it is known
    event: str = "handed_over"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """The end: what the user is told."""

    text: str
    answer: str | None  # as the task's grader reads it
    path: str  # who answered: student or debate
    usage: Usage
    finish_reason: str
    rounds: int = 0  # of the debate
    stop_reason: str | None = None
    confidence: float | None = None  # of the student, if it was asked
    trace: Sequence[Mapping[str, Any]] | None = None  # all turns, if asked for
    votes: Sequence[Mapping[str, Any]] | None = None  # the debate's, with the trace
    event: str = "answer"

    def extension(self) -> dict[str, Any]:
        """The field `agentark` of a response."""
        said = asdict(self)
        for name in ("text", "usage", "finish_reason", "event"):
            del said[name]
        return {name: value for name, value in said.items() if value is not None}


Event = Said | Voted | HandedOver | Answered


def said(turn: Turn, trace: bool) -> Said:
    """The event of a turn."""
    return Said(
        round=turn.round,
        agent=turn.agent,
        role=turn.role,
        answer=turn.answer,
        prompt_tokens=turn.completion.prompt_tokens,
        cached_tokens=turn.completion.cached_tokens,
        output_tokens=turn.completion.output_tokens,
        latency_ms=round(1000 * turn.completion.latency_s, 1),
        text=turn.completion.text if trace else None,
    )


def traced(turn: Turn) -> dict[str, Any]:
    """A turn in a trace: with what the engine was given, and what it tells of the completion."""
    completion = turn.completion
    return {
        **asdict(said(turn, True)),
        "messages": list(turn.messages),
        "finish_reason": completion.finish_reason,
        "mean_logprob": completion.mean_logprob,
    }


def voted(vote: Vote) -> Voted:
    """The event of a count."""
    return Voted(round=vote.round, answer=vote.answer, count=vote.count, agents=vote.agents)


def usage(debate: Debate) -> Usage:
    """Tokens of all turns."""
    return sum((used(turn.completion) for turn in debate.turns), Usage())


def answered(debate: Debate, equal: Any, trace: bool) -> Answered:
    """The answer of a finished debate, in the words of the solver who said it best.

    That is the likeliest solution (mean log-probability) among those of the latest round that end
    with the debate's answer, an aggregator's being of the last; where nobody's does, the judge's
    words if they do, else the likeliest solution of the latest round.

    Args:
        debate: it has not failed, so it has turns.
        equal: whether two answers are.
        trace: give all turns and votes.
    """
    solutions = [turn for turn in debate.turns if turn.role in TOLD_BY]
    final = debate.final_answer

    def agrees(turn: Turn) -> bool:
        return None not in (turn.answer, final) and equal(turn.answer, final)

    best = max(
        [*filter(agrees, solutions)] or [*filter(agrees, debate.turns)] or solutions,
        key=lambda turn: (turn.round, turn.completion.mean_logprob),
    )
    return Answered(
        text=best.completion.text,
        answer=final,
        path="debate",
        usage=usage(debate),
        finish_reason=best.completion.finish_reason,
        rounds=len(debate.votes),
        stop_reason=debate.stop_reason,
        trace=[traced(turn) for turn in debate.turns] if trace else None,
        votes=[asdict(voted(vote)) for vote in debate.votes] if trace else None,
    )


def body(answer: Answered, *, request_id: str, model: str) -> dict[str, Any]:
    """The response of a request that is not streamed."""
    message = {"role": "assistant", "content": answer.text}
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": answer.finish_reason,
    }
    return {
        **_head(request_id, model, "chat.completion"),
        "choices": [choice],
        "usage": answer.usage.as_openai(),
        "agentark": answer.extension(),
    }


def chunks(event: Event, *, request_id: str, model: str, with_usage: bool) -> list[str]:
    """The server-sent events of one event."""
    head = _head(request_id, model, "chat.completion.chunk")
    if not isinstance(event, Answered):
        told = {name: value for name, value in asdict(event).items() if value is not None}
        if isinstance(event, HandedOver):
            told["usage"] = event.usage.as_openai()
        return [sse({**head, "choices": [_delta({})], "agentark": told})]
    text = _delta({"role": "assistant", "content": event.text})
    end = {**_delta({}), "finish_reason": event.finish_reason}
    found = [
        sse({**head, "choices": [text]}),
        sse({**head, "choices": [end], "agentark": {"event": "answer", **event.extension()}}),
    ]
    if with_usage:
        found.append(sse({**head, "choices": [], "usage": event.usage.as_openai()}))
    return found


def sse(value: Mapping[str, Any]) -> str:
    """One server-sent event."""
    return f"data: {json.dumps(value, ensure_ascii=False, separators=(',', ':'))}\n\n"


def error_body(
    status: int, message: str, *, param: str | None = None, code: str | None = None
) -> dict[str, Any]:
    """An error as OpenAI's API gives it."""
    kind = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}.get(
        status, "invalid_request_error" if status < 500 else "server_error"
    )
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _head(request_id: str, model: str, kind: str) -> dict[str, Any]:
    return {"id": request_id, "object": kind, "created": int(time.time()), "model": model}


def _delta(delta: Mapping[str, Any]) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}
