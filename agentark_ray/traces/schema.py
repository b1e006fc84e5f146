"""The Parquet schemas: a request is a debate to hold, a trace is a debate held.

One row a debate. `TRACE_SCHEMA.metadata` carries the schema's version.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from agentark_ray.debate_rows import VOTE
from agentark_ray.types import SOLVERS, Debate, Question, Speaker

VERSION = "4"

_QUESTION_FIELDS = [
    pa.field("question_id", pa.string()),
    pa.field("question", pa.string()),
    pa.field("gold", pa.string()),
    pa.field("aliases", pa.list_(pa.string())),  # answers that are as right as the gold one
    pa.field("task", pa.string()),
    pa.field("split", pa.string()),
]
QUESTION_SCHEMA = pa.schema(_QUESTION_FIELDS)
# Of questions/: requests and traces do not carry the solution on.
STORED_QUESTION_SCHEMA = QUESTION_SCHEMA.append(pa.field("solution", pa.string()))
REQUEST_SCHEMA = pa.schema(
    [
        pa.field("debate_id", pa.string()),  # hash of question id, generation hash, kind, replica
        pa.field("config_hash", pa.string()),  # debate.protocol.generation_hash
        pa.field("arm", pa.string()),
        pa.field("kind", pa.string()),  # a Kind
        pa.field("replica", pa.int32()),
        *_QUESTION_FIELDS,
    ]
)
_MESSAGE = pa.struct([("role", pa.string()), ("content", pa.string())])
_TURN = pa.struct(
    [
        ("agent", pa.int32()),
        ("role", pa.string()),
        ("round", pa.int32()),
        ("messages", pa.list_(_MESSAGE)),  # exactly what the engine was given
        ("text", pa.string()),
        ("answer", pa.string()),
        ("verdict", pa.string()),
        ("prompt_tokens", pa.int32()),
        ("cached_tokens", pa.int32()),
        ("output_tokens", pa.int32()),
        ("finish_reason", pa.string()),
        ("mean_logprob", pa.float32()),
        ("latency_s", pa.float32()),
    ]
)
TRACE_SCHEMA = pa.schema(
    [
        *REQUEST_SCHEMA,
        pa.field("model", pa.string()),
        pa.field("agents", pa.int32()),  # speakers whose turns are solutions
        pa.field("models", pa.list_(pa.string())),  # of every speaker, by number
        pa.field("turns", pa.list_(_TURN)),
        pa.field("votes", pa.list_(VOTE)),
        pa.field("final_answer", pa.string()),
        pa.field("verdict", pa.string()),
        pa.field("stop_reason", pa.string()),
        pa.field("status", pa.string()),
        pa.field("error_type", pa.string()),
        pa.field("error_message", pa.string()),
        pa.field("wall_s", pa.float32()),
        pa.field("engine_s", pa.float32()),  # sum of the completions' latencies
        pa.field("output_tokens", pa.int32()),
        pa.field("prompt_tokens", pa.int32()),
        pa.field("cached_tokens", pa.int32()),
        pa.field("shortened_turns", pa.int32()),  # with rounds left out of their messages
    ],
    metadata={"agentark.schema_version": VERSION},
)


def question_row(question: Question) -> dict[str, Any]:
    """A row of STORED_QUESTION_SCHEMA."""
    return {
        "question_id": question.question_id,
        "question": question.text,
        "gold": question.gold,
        "aliases": list(question.aliases),
        "task": question.task,
        "split": question.split,
        "solution": question.solution,
    }


def row_question(row: Mapping[str, Any]) -> Question:
    """The question of a row that has QUESTION_SCHEMA's columns."""
    return Question(
        question_id=row["question_id"],
        text=row["question"],
        gold=row["gold"],
        aliases=tuple(row["aliases"]),
        task=row["task"],
        split=row["split"],
    )


def trace_row(
    request: Mapping[str, Any],
    debate: Debate,
    *,
    model: str,
    speakers: Sequence[Speaker],
) -> dict[str, Any]:
    """A row of TRACE_SCHEMA; `model` is the arm's."""
    completions = [turn.completion for turn in debate.turns]
    return {
        **{name: request[name] for name in REQUEST_SCHEMA.names},
        "model": model,
        "agents": sum(speaker.role in SOLVERS for speaker in speakers),
        "models": [_model_name(speaker, model) for speaker in speakers],
        "turns": [_turn_row(turn) for turn in debate.turns],
        "votes": [{name: getattr(vote, name) for name in _VOTE_FIELDS} for vote in debate.votes],
        "final_answer": debate.final_answer,
        "verdict": debate.final_verdict,
        "stop_reason": debate.stop_reason,
        "status": debate.status,
        "error_type": debate.error_type,
        "error_message": debate.error_message,
        "wall_s": debate.wall_s,
        "engine_s": sum(c.latency_s for c in completions),
        "output_tokens": sum(c.output_tokens for c in completions),
        "prompt_tokens": sum(c.prompt_tokens for c in completions),
        "cached_tokens": sum(c.cached_tokens for c in completions),
        "shortened_turns": sum(turn.dropped_rounds > 0 for turn in debate.turns),
    }


def _model_name(speaker: Speaker, model: str) -> str:
    ref = speaker.model
    if ref is None:
        return model
    return f"{ref.name} at {ref.endpoint}" if ref.endpoint else ref.name


def _turn_row(turn: Any) -> dict[str, Any]:
    completion = turn.completion
    return {
        "agent": turn.agent,
        "role": turn.role,
        "round": turn.round,
        "messages": list(turn.messages),
        "answer": turn.answer,
        "verdict": turn.verdict,
        **{name: getattr(completion, name) for name in _COMPLETION_FIELDS},
    }


_VOTE_FIELDS = [field.name for field in VOTE]
_COMPLETION_FIELDS = (
    "text",
    "prompt_tokens",
    "cached_tokens",
    "output_tokens",
    "finish_reason",
    "mean_logprob",
    "latency_s",
)
