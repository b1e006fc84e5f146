"""What a request may say, and what becomes of it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from agentark_ray.serving.requests import (
    MAX_CHARS,
    Answers,
    Asked,
    ChatMessage,
    ChatRequest,
    CompletionRequest,
    Refused,
    asked,
    capped,
    check_limits,
    instructed,
)
from agentark_ray.types import Sampling

QUESTION = {"role": "user", "content": "1 + 1 = ?"}


def request(**values: Any) -> ChatRequest:
    return ChatRequest.model_validate({"model": "debate", "messages": [QUESTION], **values})


def test_the_question_of_a_request_is_its_user_message() -> None:
    system = {"role": "system", "content": "Be short."}
    developer = {"role": "developer", "content": "No jokes."}
    found = asked(request(messages=[system, developer, QUESTION], temperature=0.3, max_tokens=9))
    assert found == Asked(
        question="1 + 1 = ?", system="Be short.\n\nNo jokes.", temperature=0.3, max_tokens=9
    )


def test_parts_of_a_content_are_one_text() -> None:
    parts = [{"type": "text", "text": "1 + 1"}, {"type": "text", "text": " = ?"}]
    assert asked(request(messages=[{"role": "user", "content": parts}])).question == "1 + 1 = ?"


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([QUESTION, {"role": "assistant", "content": "2"}, QUESTION], "one user message"),
        ([{"role": "system", "content": "Be short."}], "one user message"),
        ([QUESTION, {"role": "system", "content": "Be short."}], "one user message"),
        ([{"role": "user", "content": "  "}], "the question is empty"),
    ],
)
def test_a_debate_answers_one_question(messages: list[Any], words: str) -> None:
    with pytest.raises(Refused, match=words) as refused:
        asked(request(messages=messages))
    assert (refused.value.status, refused.value.param) == (422, "messages")


@pytest.mark.parametrize("said", [{"logprobs": True}, {"stop": "x"}, {"presence_penalty": 1}])
def test_a_debate_refuses_what_it_does_not_have(said: dict[str, Any]) -> None:
    with pytest.raises(Refused) as refused:
        asked(request(**said))
    assert refused.value.param == next(iter(said))


@pytest.mark.parametrize(
    "said",
    [
        {"chat_template": "{{ 1 }}"},
        {"seed": 7},
        {"structured_outputs": {"regex": "(a+)+$"}},
        {"tools": []},
        {"n": 2},
        {"temperature": float("nan")},
        {"temperature": 2.5},
        {"max_tokens": 0},
        {"top_logprobs": 2},
        {"stop": [""]},
        {"messages": []},
        {"messages": [{"role": "tool", "content": "x"}]},
        {"messages": [{"role": "user", "content": "\ud800"}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "\ud800"}]}]},
        {"messages": [{"role": "user", "content": "x", "name": "\udfff"}]},
        {"model": "\ud800"},
        {"stop": "\ud800"},
        {"user": "\ud800"},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]},
    ],
)
def test_what_is_not_served_is_refused(said: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        request(**said)


def test_other_bodies_that_are_refused() -> None:
    assert Answers(texts=["x" * MAX_CHARS, "\U0001f600"])
    for texts in (["x"], ["x", "x" * (MAX_CHARS + 1)], ["x", "\ud800"]):
        with pytest.raises(ValidationError):
            Answers(texts=texts)
    with pytest.raises(ValidationError):
        CompletionRequest(model="student", prompt="\ud800")


def test_the_request_decides_the_sampling_only_where_it_says_so() -> None:
    own = Sampling(temperature=0.7, top_p=1.0, max_tokens=512)
    assert Asked(question="").sampling(own) == own
    assert Asked(question="", temperature=0.0, max_tokens=5).sampling(own) == Sampling(
        temperature=0.0, top_p=1.0, max_tokens=5
    )


def test_an_answer_is_no_longer_than_the_operator_allows() -> None:
    own = Sampling(temperature=0.7, top_p=1.0, max_tokens=512)
    assert capped(own, 4096) == own
    assert capped(own, 128) == Sampling(temperature=0.7, top_p=1.0, max_tokens=128)


@pytest.mark.parametrize(
    "values",
    [
        {"messages": [0] * 200_000},
        {"messages": [{}] * 200_000},
        {"messages": [{"role": "user", "content": [0] * 200_000}]},
        {"messages": [{"role": "user", "content": [0] * 100}] * 2_000},
        {str(number): 0 for number in range(200_000)},
        {"messages": [{**QUESTION, **{str(number): 0 for number in range(200_000)}}]},
    ],
)
def test_of_a_body_that_is_full_of_errors_few_are_written_down(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as error:
        request(**values)
    assert error.value.error_count() < 10


def test_only_the_first_question_of_a_conversation_ends_with_the_instruction() -> None:
    said = [
        ChatMessage(role="developer", content="Be short."),
        ChatMessage(role="user", content="1 + 1 = ?"),
        ChatMessage(role="assistant", content="2"),
        ChatMessage(role="user", content="Are you sure?"),
    ]
    assert instructed(said, "Answer with a number.") == [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "1 + 1 = ?\nAnswer with a number."},
        {"role": "assistant", "content": "2"},
        {"role": "user", "content": "Are you sure?"},
    ]


@given(st.text(), st.text(min_size=1).filter(str.strip))
def test_an_instruction_is_not_said_twice(question: str, instruction: str) -> None:
    instruction = instruction.strip()
    once = instructed([ChatMessage(role="user", content=question)], instruction)
    twice = instructed([ChatMessage(role="user", content=once[0]["content"])], instruction)
    assert once == twice


def test_limits_of_the_operator() -> None:
    check_limits(request(max_tokens=10), messages=1, max_tokens=10)
    with pytest.raises(Refused, match="got 11, this server gives 10") as refused:
        check_limits(request(max_completion_tokens=11), messages=1, max_tokens=10)
    assert refused.value.status == 422
    with pytest.raises(Refused, match="got 2, this server takes 1") as refused:
        check_limits(request(messages=[QUESTION, QUESTION]), messages=1, max_tokens=10)
    assert refused.value.status == 413
    long = CompletionRequest(model="student", prompt="1", max_tokens=11)
    with pytest.raises(Refused):
        check_limits(long, messages=1, max_tokens=10)
