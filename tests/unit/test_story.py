"""True steps of arithmetic stories: the story's own solutions, by hand and by property."""

import random

import pytest

from agentark_ray.distill.steps import step_texts
from agentark_ray.tasks.arithmetic import ARITHMETIC, KINDS, Problem, Step, problem
from agentark_ray.tasks.story import equations, step_truth

# 5 + 8 = 13, 13 - 7 = 6, 6 * 3 = 18, 18 / 2 = 9
STORY = Problem(
    "Ada",
    "figs",
    4,
    5,
    (Step(KINDS[0], 8), Step(KINDS[5], 7), Step(KINDS[6], 3), Step(KINDS[7], 2)),
)


def truth(solution: str) -> list[bool | None]:
    return step_truth(STORY.text, step_texts(solution))


def test_the_equations_of_a_story() -> None:
    assert equations(STORY.text) == [
        (5, "+", 8, 13),
        (13, "-", 7, 6),
        (6, "*", 3, 18),
        (18, "/", 2, 9),
    ]
    assert equations("What is 3 + 4?") == []


def test_every_story_is_understood() -> None:
    for index in range(300):
        story = problem(("train", "eval", "ood")[index % 3], index)
        found = equations(story.text)
        assert [story.first, *(result for *_, result in found)] == story.values()
        assert all(step_truth(story.text, step_texts(story.solution())))


def test_nothing_is_right_after_a_slip() -> None:
    rng = random.Random(1)
    for index in range(100):
        story = problem("train", index)
        at = rng.randrange(len(story.steps))
        found = step_truth(story.text, step_texts(story.solution({at: 1})))
        assert found == [True] * at + [False] * (len(story.steps) + 1 - at)


@pytest.mark.parametrize(
    ("solution", "wanted"),
    [
        ("In May: 5 + 8 = 13.\nIn June: 13 + 7 = 20.\n\\boxed{9}", [True, False, False]),
        ("5 + 8 = 13.\n\\boxed{9}", [True, False]),  # steps were left out
        ("Let me see.\n5 + 8 = 13. 13 - 7 = 6.", [None, True, True]),
        ("6 + 8 = 14.\nLet me see.", [False, False]),
        ("5 + 8 = 13.\n5 + 8 = 13.", [True, False]),
        ("5 + 8 = 13, 13 - 7 = 6", [True]),
        ("In May: 5 + 8 = .", [None]),
        ("", []),
    ],
)
def test_steps_by_hand(solution: str, wanted: list[bool | None]) -> None:
    assert truth(solution) == wanted


def test_other_questions_have_no_truth() -> None:
    assert step_truth("What is 3 + 4?", ["3 + 4 = 7", "\\boxed{7}"]) == [None, None]
    assert ARITHMETIC.step_truth is step_truth
