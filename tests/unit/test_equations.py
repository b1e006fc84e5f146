"""Equations in solutions: which are read, and which of them hold."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentark_ray.distill.equations import equations, false_equation
from agentark_ray.tasks.arithmetic import problem
from tests.unit.real_files import GSM8K_FILES, needs_gsm8k


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("In July: 11 - 2 = 29.", False),
        ("In July: 11 - 2 = 9.", True),
        ("12 + 3 = 14", False),
        ("3.5 * 2 = 6", False),
        ("3 / 0 = 4", False),
        ("1,200 + 300 = 1,500 dollars", True),
        ("$5 * 3 = $15", True),
        ("1/3 = 0.33", True),  # rounded
        ("2/3 = 0.66", True),  # cut
        ("2/3 = 0.6", True),
        ("2/3 = 0.5", False),
        ("7 / 2 = 3", True),  # whole
        ("7 / 2 = 5", False),
        ("3 - -2 = 5", True),
        ("0.1 + 0.2 = 0.3", True),
        ("6 \N{MULTIPLICATION SIGN} 7 = 42, 42 \N{DIVISION SIGN} 6 = 7", True),
    ],
)
def test_what_holds(text: str, holds: bool) -> None:
    assert {found for _, found in equations(text)} == {holds}
    assert (false_equation(text) is None) == holds


@pytest.mark.parametrize(
    "text",
    [
        "2 * 10 + 5 = 24",  # the end of a longer term
        "10 + 5 = 15 + 2 = 17",
        "(3 + 4 = 8)",
        "2^3 + 1 = 8",
        "10:30 - 2 = 8:30",
        "17 + 5 = 10 (mod 12)",
        "17 / 5 = 3 remainder 2",
        "20% * 50 = 11",
        "5 + 3 = 9%",
        "x + 2 = 5",
        "1 + 1 = 3x",
        "2 1/2 = 2.5 and 14 x 1 1/2 = 21",
        "20 * 3/5 = 12, a share of 3/5 = 12",
    ],
)
def test_what_is_not_read(text: str) -> None:
    assert list(equations(text)) == []


@given(st.integers(0, 5_000), st.booleans())
def test_the_tiny_task_is_judged_as_it_is(number: int, slip: bool) -> None:
    story = problem("train", number)
    text = story.solution({0: 1} if slip else {})
    stated = list(equations(text))
    assert len(stated) == len(story.steps)
    assert all(holds for _, holds in stated) == (not slip)


@needs_gsm8k
def test_hand_written_solutions_hold() -> None:
    lines = (GSM8K_FILES / "test.jsonl").read_text(encoding="utf-8").splitlines()
    texts = [re.sub(r"<<.*?>>", "", json.loads(line)["answer"]) for line in lines]
    found = [list(equations(text)) for text in texts]
    assert sum(map(len, found)) > 0.5 * len(texts)
    assert sum(any(not holds for _, holds in one) for one in found) < 0.005 * len(texts)
