"""Wrong answers: of the right form, and wrong."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentark_ray.grading.numeric import NUMERIC
from agentark_ray.tasks.wrong import wrong_answer
from agentark_ray.types import Question, Split


def asked(gold: str | None, text: str = "How many?", aliases: tuple[str, ...] = ()) -> Question:
    return Question(
        question_id="q", text=text, gold=gold, aliases=aliases, task="gsm8k", split=Split.EVAL
    )


@given(st.integers(-5000, 5000), st.integers(0, 3), st.text(max_size=3))
def test_a_number_near_the_right_one(number: int, decimals: int, seed: str) -> None:
    gold = f"{number / 10**decimals:.{decimals}f}"
    wrong = wrong_answer(asked(gold), "numeric", seed)
    assert wrong is not None
    assert not NUMERIC.equal(wrong, gold)
    assert NUMERIC.extract(f"\\boxed{{{wrong}}}") is not None
    assert number < 0 or not wrong.startswith("-")
    assert wrong == wrong_answer(asked(gold), "numeric", seed)


def test_no_alias_is_a_wrong_answer() -> None:
    aliases = ("13", "14", "15", "22", "11", "10", "9", "2", "24")
    assert {wrong_answer(asked("12", aliases=aliases), "math", str(i)) for i in range(99)} == {
        "120"
    }


def test_a_letter_of_the_options() -> None:
    text = "Which?\nA) 1\nB) 2\nC) 3"
    assert {wrong_answer(asked("B", text), "choice", str(i)) for i in range(50)} == {"A", "C"}
    assert wrong_answer(asked("B", text, ("A", "C")), "choice", "") is None


@pytest.mark.parametrize(
    ("gold", "grader"),
    [(None, "numeric"), ("x + 1", "math"), ("\\frac{1}{2}", "math"), ("Paris", "short")],
)
def test_where_none_can_be_made(gold: str | None, grader: str) -> None:
    assert wrong_answer(asked(gold), grader, "") is None
