"""Choices: every letter in every form, gold answers against each wrong option."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentark_ray.grading.choice import CHOICE, equal, extract_answer
from agentark_ray.types import Verdict

LETTERS = string.ascii_uppercase[:10]
FORMS = (
    "{}",
    "{}.",
    "({})",
    "**{}**",
    "**({})**",
    "\\boxed{{{}}}",
    "\\boxed{{\\text{{({})}}}}",
    "$\\boxed{{\\mathrm{{{}}}}}$",
    "<answer>{}</answer>",
    "The answer is {}.",
    "The answer is ({}).",
    "The correct answer is: **{}**",
    "Let me think about it.\nAnswer: {}",
    "Some of these look odd.\n\nFinal answer: ({})",
    "It is known that I am a fan. I choose ({}).",
    "({}) is correct.",
    "<think>The answer is A. No, J.</think>The answer is {}",
)


@pytest.mark.parametrize("letter", LETTERS)
@pytest.mark.parametrize("form", FORMS)
def test_every_letter_in_every_form(form: str, letter: str) -> None:
    assert extract_answer(form.format(letter)) == letter


def test_gold_answers_are_right_and_all_others_wrong() -> None:
    for gold in LETTERS:
        answer = extract_answer(gold)
        for other in LETTERS:
            expected = Verdict.CORRECT if gold == other else Verdict.INCORRECT
            assert CHOICE.verdict(extract_answer(other), answer) == expected


@pytest.mark.parametrize(
    "text",
    [
        "A triangle has three sides.",
        "I think that a solution exists.",
        "The answer is a combination of both.",
        "Answer: A combination of both.",
        "I am not sure.",
        "Both A and C are correct.",
        "The answer is A or B.",
        "(A) one\n(B) two\n(C) three\n(D) four",
        "Vitamin C",
        "P(A) = 0.5 and P(B) = 0.2",
        "",
    ],
)
def test_prose_is_no_choice(text: str) -> None:
    assert extract_answer(text) is None
    assert CHOICE.verdict(None, "A") == Verdict.UNPARSABLE


def test_case_and_brackets_do_not_matter() -> None:
    assert equal("(b)", "B") and equal("B", "b.")
    assert not equal("B", "C")


@given(st.text())
def test_any_text_gives_a_letter_or_nothing(text: str) -> None:
    assert extract_answer(text) in (None, *LETTERS)


@given(st.text(max_size=5), st.text(max_size=5))
def test_equality_is_symmetric(a: str, b: str) -> None:
    assert equal(a, a)
    assert equal(a, b) is equal(b, a)


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "bomb", ["(A) " * 30_000, "answer is " * 20_000, "A" * 200_000, "**" * 99_999]
)
def test_hostile_text_costs_little(bomb: str) -> None:
    extract_answer(bomb)
