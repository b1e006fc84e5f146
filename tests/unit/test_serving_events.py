"""What a team says, in the words of OpenAI's API."""

import json
from typing import Any

import pytest
from openai.types import CompletionUsage
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from agentark_ray.serving.events import (
    Answered,
    HandedOver,
    Usage,
    Voted,
    answered,
    body,
    chunks,
    error_body,
)
from agentark_ray.types import Completion, Debate, Question, Turn, Vote
from tests.unit.handles import said

QUESTION = Question(question_id="q", text="1 + 1 = ?", gold=None, task="arithmetic", split="eval")


def turn(agent: int, round_: int, answer: str | None, logprob: float, role: str = "agent") -> Turn:
    completion = Completion(
        text=f"agent {agent} says {answer}",
        prompt_tokens=10,
        cached_tokens=4,
        output_tokens=3,
        finish_reason="stop",
        mean_logprob=logprob,
        latency_s=0.1,
    )
    return Turn(
        agent=agent,
        role=role,
        round=round_,
        messages=({"role": "user", "content": QUESTION.text},),
        completion=completion,
        answer=answer,
        verdict=None,
    )


def vote(round_: int) -> Vote:
    return Vote(round=round_, answer="2", count=1, agents=2, verdict=None)


def debate(*turns: Turn, final: str | None) -> Debate:
    return Debate(
        question=QUESTION,
        turns=turns,
        votes=tuple(vote(one) for one in sorted({t.round for t in turns if t.role == "agent"})),
        final_answer=final,
        final_verdict=None,
        stop_reason="unanimous",
        status="ok",
        error_type=None,
        error_message=None,
        wall_s=1.0,
    )


def equal(a: str, b: str) -> bool:
    return a.strip("0.") == b.strip("0.")


def test_the_answer_is_told_by_the_likeliest_solution_of_the_last_round_that_has_it() -> None:
    turns = (
        turn(0, 0, "2", -0.1),
        turn(1, 0, "3", -0.5),
        turn(0, 1, "2", -0.4),
        turn(1, 1, "2.0", -0.2),
        turn(2, 1, "3", -0.01),
        turn(3, 1, "2", -0.001, role="judge"),
    )
    found = answered(debate(*turns, final="2"), equal, trace=False)
    assert found.text == "agent 1 says 2.0"
    assert found.usage == Usage(prompt_tokens=60, cached_tokens=24, completion_tokens=18)
    assert (found.rounds, found.path, found.trace) == (2, "debate", None)


def test_an_answer_that_only_an_earlier_round_has_is_told_by_it() -> None:
    found = answered(debate(turn(0, 0, "2", -0.1), turn(0, 1, "3", 0.0), final="2"), equal, False)
    assert found.text == "agent 0 says 2"


def test_without_an_answer_the_last_round_speaks() -> None:
    turns = (turn(0, 0, None, -0.1), turn(0, 1, None, -0.9))
    found = answered(debate(*turns, final=None), equal, trace=True)
    assert (found.text, found.answer) == ("agent 0 says None", None)
    assert found.trace is not None and [one["round"] for one in found.trace] == [0, 1]


def test_a_trace_has_all_that_is_known_of_turns_and_votes() -> None:
    turns = (turn(0, 0, "2", -0.1), turn(1, 0, "3", -0.5), turn(2, 1, "2", -0.2, role="judge"))
    extension = answered(debate(*turns, final="2"), equal, trace=True).extension()
    assert json.loads(json.dumps(extension["trace"]))[1] == {
        "event": "turn",
        "round": 0,
        "agent": 1,
        "role": "agent",
        "answer": "3",
        "text": "agent 1 says 3",
        "messages": [{"role": "user", "content": "1 + 1 = ?"}],
        "prompt_tokens": 10,
        "cached_tokens": 4,
        "output_tokens": 3,
        "finish_reason": "stop",
        "mean_logprob": -0.5,
        "latency_ms": 100.0,
    }
    assert [one["role"] for one in extension["trace"]] == ["agent", "agent", "judge"]
    counted = {"event": "vote", "round": 0, "answer": "2", "count": 1, "agents": 2}
    assert extension["votes"] == [counted]
    assert not {"trace", "votes"} & {
        *answered(debate(*turns, final="2"), equal, trace=False).extension()
    }


@pytest.mark.parametrize("said", ["4", None])
def test_an_aggregators_answer_is_told_in_its_words(said: str | None) -> None:
    """And its turn is no round, as in the traces."""
    turns = (turn(0, 0, "2", -0.1), turn(1, 0, "3", -0.5), turn(2, 1, said, -0.9, "aggregator"))
    found = answered(debate(*turns, final=said), equal, False)
    assert (found.text, found.answer, found.rounds) == (f"agent 2 says {said}", said, 1)


def test_a_judge_speaks_where_no_solver_has_its_answer() -> None:
    said = (turn(0, 0, "2", -0.1), turn(1, 0, "3", -0.5))
    alone = debate(*said, turn(2, 1, "4", -0.9, "judge"), final="4")
    assert answered(alone, equal, False).text == "agent 2 says 4"
    backed = debate(*said, turn(2, 1, "3", -0.9, "judge"), final="3")
    found = answered(backed, equal, False)
    assert (found.text, found.rounds) == ("agent 1 says 3", 1)


ANSWER = Answered(
    text="so 2",
    answer="2",
    path="student",
    usage=Usage(prompt_tokens=5, completion_tokens=3),
    finish_reason="stop",
    confidence=-0.1,
)


def test_the_official_client_reads_a_body() -> None:
    value = json.loads(json.dumps(body(ANSWER, request_id="chatcmpl-1", model="hybrid")))
    found = ChatCompletion.model_validate(value)
    assert found.choices[0].message.content == "so 2"
    assert found.usage is not None and found.usage.total_tokens == 8
    assert value["agentark"] == {
        "answer": "2",
        "path": "student",
        "rounds": 0,
        "confidence": -0.1,
    }


def parsed(pieces: list[str]) -> list[Any]:
    assert all(piece.startswith("data: ") and piece.endswith("\n\n") for piece in pieces)
    return [json.loads(piece.removeprefix("data: ")) for piece in pieces]


@pytest.mark.parametrize(
    "event",
    [
        said(3),
        Voted(round=0, answer="2", count=3, agents=5),
        HandedOver(confidence=-0.5, threshold=-0.2),
    ],
)
def test_events_are_chunks_without_text(event: Any) -> None:
    (value,) = parsed(chunks(event, request_id="chatcmpl-1", model="debate", with_usage=True))
    chunk = ChatCompletionChunk.model_validate(value)
    assert chunk.choices[0].delta.content is None
    assert value["agentark"]["event"] == event.event


def test_cached_tokens_are_told_as_openai_does() -> None:
    used = Usage(prompt_tokens=5, cached_tokens=4, completion_tokens=3)
    told = CompletionUsage.model_validate((used + used).as_openai())
    assert (told.prompt_tokens, told.completion_tokens, told.total_tokens) == (10, 6, 16)
    assert told.prompt_tokens_details is not None
    assert told.prompt_tokens_details.cached_tokens == 8
    over = HandedOver(confidence=-0.5, threshold=-0.2, usage=used)
    (value,) = parsed(chunks(over, request_id="chatcmpl-1", model="hybrid", with_usage=False))
    assert value["agentark"]["usage"] == used.as_openai()


@pytest.mark.parametrize("with_usage", [False, True])
def test_a_streamed_answer_is_text_an_end_and_the_usage_if_wanted(with_usage: bool) -> None:
    values = parsed(chunks(ANSWER, request_id="chatcmpl-1", model="hybrid", with_usage=with_usage))
    first, second, *rest = [ChatCompletionChunk.model_validate(value) for value in values]
    assert first.choices[0].delta.content == "so 2"
    assert second.choices[0].finish_reason == "stop"
    assert [chunk.usage.completion_tokens for chunk in rest if chunk.usage] == [3] * with_usage


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, "authentication_error"),
        (429, "rate_limit_error"),
        (422, "invalid_request_error"),
        (503, "server_error"),
    ],
)
def test_errors_are_of_the_kind_their_status_says(status: int, kind: str) -> None:
    assert error_body(status, "no")["error"]["type"] == kind
