"""The arithmetic task: right solutions, splits that cannot overlap, random access."""

import re
from fractions import Fraction

import pytest

from agentark_ray.grading.numeric import extract_answer
from agentark_ray.tasks.arithmetic import (
    LARGEST,
    MONTHS,
    Problem,
    bucket,
    problem,
    question_id,
    questions,
)
from agentark_ray.types import Split

MANY = 4_000
STORY = {
    r"buys (\d) more": "+",
    r"finds (\d)": "+",
    r"wins (\d)": "+",
    r"loses (\d)": "-",
    r"sells (\d)": "-",
    r"gives away (\d)": "-",
    r"makes it (\d) times as many": "*",
    r"shares them equally among (\d) and keeps one part": "/",
}


def read_story(text: str) -> list[Fraction]:
    """The value after every sentence, read from the words alone."""
    first, *events, _ = re.split(r"[.] ", text)
    has = re.search(r"has (\d)", first)
    assert has
    value = Fraction(has[1])
    values = [value]
    for event in events:
        (amount, op), *others = [
            (Fraction(found[1]), op)
            for words, op in STORY.items()
            if (found := re.search(words, event))
        ]
        assert not others
        value = {"+": value + amount, "-": value - amount, "*": value * amount}.get(
            op, value / amount
        )
        values.append(value)
    return values


def skeleton(found: Problem) -> tuple[object, ...]:
    return (found.first, *((s.kind.op, s.amount) for s in found.steps))


@pytest.mark.parametrize("split", list(Split))
def test_answers_and_every_line_agree_with_the_story(split: Split) -> None:
    for index in range(500):
        found = problem(split, index)
        values = read_story(found.text)
        assert values == found.values() and values[-1] == found.answer
        assert all(v.denominator == 1 and 1 <= v <= LARGEST for v in values)
        *lines, boxed = found.solution().split("\n")
        assert boxed == f"\\boxed{{{values[-1]}}}"
        for line, before, after in zip(lines, values[:-1], values[1:], strict=True):
            step_line = re.fullmatch(r"In (\w+): (\d+) (.) (\d) = (\d+)\.", line)
            assert step_line
            month, left, op, right, result = step_line.groups()
            assert month in MONTHS and f"In {month} " in found.text
            step = {"+": int(left) + int(right), "-": int(left) - int(right)}
            step |= {"*": int(left) * int(right), "/": Fraction(int(left), int(right))}
            assert (int(left), int(result)) == (before, after) and step[op] == after


def test_a_slip_is_carried_on() -> None:
    found = problem(Split.EVAL, 4)
    right, wrong = found.values(), found.values({0: 1})
    assert wrong[0] == right[0] and wrong[1] == right[1] + 1
    assert wrong[2] == found.steps[1].apply(wrong[1])
    assert extract_answer(found.solution({0: 1})) == str(wrong[-1])


def test_splits_share_no_problem_even_renamed_and_repeat_none() -> None:
    train = [problem(Split.TRAIN, i) for i in range(MANY)]
    held_out = [problem(Split.EVAL, i) for i in range(MANY)]
    harder = [problem(Split.OOD, i) for i in range(MANY // 5)]
    assert not {skeleton(p) for p in train} & {skeleton(p) for p in held_out}
    assert min(len(p.steps) for p in harder) > max(len(p.steps) for p in train)
    for split, found in ((Split.TRAIN, train), (Split.EVAL, held_out), (Split.OOD, harder)):
        assert {bucket(p) for p in found} == {split}
        assert len({p.text for p in found}) == len(found)
        assert len({question_id(p.text) for p in found}) == len(found)


def test_random_access_equals_sequential_and_repeats() -> None:
    once = list(questions(Split.TRAIN, 0, 200, seed=3))
    assert list(questions(Split.TRAIN, 120, 140, seed=3)) == once[120:140]
    assert [next(questions(Split.TRAIN, i, i + 1, seed=3)) for i in (199, 7, 0)] == [
        once[199],
        once[7],
        once[0],
    ]
    assert once != list(questions(Split.TRAIN, 0, 200, seed=4))


def test_problems_stay_the_same_for_ever() -> None:
    asked = next(questions(Split.EVAL, 1, 2))
    assert (asked.question_id, asked.gold) == PINNED_EVAL_1
    assert (asked.task, asked.split) == ("arithmetic", "eval")


PINNED_EVAL_1 = ("arithmetic-800ada4977c479ad", "40")


def test_large_indices_work_up_to_the_capacity_and_then_say_so() -> None:
    assert len({problem(Split.TRAIN, 342_000 + i).text for i in range(10)}) == 10
    with pytest.raises(ValueError, match="exhausted"):
        problem(Split.TRAIN, 10**12)
    with pytest.raises(ValueError, match="-1"):
        problem(Split.TRAIN, -1)
    with pytest.raises(ValueError, match="test"):
        problem("test", 0)
