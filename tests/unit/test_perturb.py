"""Changed questions: what every kind must leave alone, and when it does not apply."""

import itertools
import re
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentark_ray.config import TasksConfig
from agentark_ray.evaluate.perturb.change import perturb
from agentark_ray.evaluate.perturb.parts import take_apart
from agentark_ray.robustness_config import COUNTS, DEFAULT_KINDS, SHARES, Kind, check_strength
from agentark_ray.tasks.arithmetic import questions
from agentark_ray.tasks.registry import TASKS, all_shards, read_split
from agentark_ray.tasks.story import equations
from agentark_ray.tasks.text import split_options
from agentark_ray.types import Question, Split
from tests.unit.perturbed import OPTIONS, numbers, question
from tests.unit.real_files import DATA, needs_data

SETS = {"gsm8k": "gsm8k", "aqua": "aqua", "mmlu": "mmlu_stem", "truthfulqa": "truthfulqa"}
MAY_CHANGE = (Kind.INJECTION, Kind.PEER)  # they may say a wrong number
CELLS = [(kind, strength) for kind, strengths in DEFAULT_KINDS.items() for strength in strengths]
CELLS.append((Kind.REORDERED, 1))


def right_option(of: Question) -> str | None:
    """The text of the right option, or the gold answer where there are no options."""
    _, options = split_options(of.text)
    return options["ABCDEFGHIJ".index(of.gold)] if options and of.gold else of.gold


def check(before: Question, after: Question, kind: Kind) -> None:
    """What every kind must keep."""
    assert after.text != before.text
    assert (after.question_id, after.task, after.split) == (
        *(before.question_id, before.task, before.split),
    )
    if kind is Kind.PEER:  # whose words come below the options
        assert after.text.startswith(before.text) and after.gold == before.gold
        return
    assert right_option(after) == right_option(before)
    old, new = take_apart(before.text), take_apart(after.text)
    assert new.context == old.context
    if kind is Kind.OPTIONS:
        assert sorted(new.options) == sorted(old.options)
        assert new.stem == old.stem and after.gold != before.gold
    elif kind is not Kind.RENAMED:
        assert new.options == old.options
    if kind not in MAY_CHANGE:
        assert numbers(after.text) == numbers(before.text)
    if kind not in (Kind.NUMBER_WORDS, *MAY_CHANGE):
        digits = [re.findall(r"\d+", text) for text in (before.text, after.text)]
        assert digits[0] == digits[1] or kind in (Kind.OPTIONS, Kind.REORDERED)


@pytest.mark.parametrize(("kind", "strength"), CELLS)
@given(index=st.integers(0, 3000), seed=st.integers(0, 2**31 - 1))
def test_stories_keep_their_gold(kind: Kind, strength: float, index: int, seed: int) -> None:
    (story,) = questions("eval", index, index + 1)
    after = perturb(story, kind, strength, seed)
    if after is None:
        assert kind in (Kind.OPTIONS, Kind.REORDERED, Kind.RENAMED)
        return
    check(story, after, kind)
    assert after.gold == story.gold
    if kind in (Kind.IRRELEVANT, Kind.RENAMED):  # words that this reader of stories knows stay
        assert equations(after.text) == equations(story.text) != []
    assert after == perturb(story, kind, strength, seed)


@pytest.mark.parametrize("task", SETS)
@needs_data
def test_real_questions_keep_their_gold(task: str) -> None:
    path = str(DATA / SETS[task])
    config = TasksConfig(name=task, path=path, eval_path=path)  # type: ignore[arg-type]
    many = list(itertools.islice(read_split(all_shards(config, 0), Split.EVAL, 0), 600))
    rare = [(one, cell) for one in many[60:] for cell in CELLS if cell[0] is Kind.REORDERED]
    found = many[:60]
    applied: Counter[Kind] = Counter()
    for one, (kind, strength) in [*itertools.product(found, CELLS), *rare]:
        after = perturb(one, kind, strength, seed=3)
        if after is not None:
            check(one, after, kind)
            applied[kind] += 1
    always = (Kind.TYPOS, Kind.PUNCTUATION, Kind.IRRELEVANT, Kind.INJECTION)
    assert all(applied[kind] >= 0.95 * len(found) * len(DEFAULT_KINDS[kind]) for kind in always)
    assert applied[Kind.NUMBER_WORDS] > 0 or task == "truthfulqa"
    assert (applied[Kind.OPTIONS] > 0.7 * len(found)) == (task != "gsm8k")
    if task == "gsm8k":
        assert applied[Kind.RENAMED] > 0.35 * len(found)
        assert applied[Kind.REORDERED] >= 5


@given(st.text(max_size=300), st.sampled_from(CELLS), st.integers(0, 99))
def test_any_text_is_changed_or_left_out(text: str, cell: tuple[Kind, float], seed: int) -> None:
    for gold, task in (("7", "gsm8k"), ("A", "mmlu"), (None, "custom/short")):
        before = question(text, gold, task)
        after = perturb(before, *cell, seed)
        assert after is None or (after.text != text and after.question_id == "q")


def test_seeds_and_strengths_differ() -> None:
    (story,) = questions("eval", 5, 6)
    assert len({perturb(story, Kind.TYPOS, 0.1, seed) for seed in range(20)}) > 15
    assert perturb(story, Kind.REPEAT, 1, 0) == story


def test_a_question_about_a_document_is_changed_in_the_question() -> None:
    text = "The tower is tall. It has 3 floors.\n\nQuestion: How many floors does this tower have?"
    for kind in (Kind.TYPOS, Kind.PUNCTUATION, Kind.IRRELEVANT, Kind.INJECTION):
        after = perturb(question(text), kind, 1, 1)
        assert after is not None
        assert after.text.startswith("The tower is tall. It has 3 floors.\n\nQuestion: ")


@pytest.mark.parametrize(
    ("kind", "strength"),
    [
        *((kind, bad) for kind in SHARES for bad in (0, -0.1, 1.5)),
        *((kind, bad) for kind, most in COUNTS.items() for bad in (0, 0.5, most + 1)),
        *((kind, bad) for kind in (Kind.OPTIONS, Kind.REPEAT) for bad in (0, 0.5, 2)),
    ],
)
def test_strengths_out_of_range(kind: Kind, strength: float) -> None:
    with pytest.raises(ValueError, match=f"{kind}: strength is .*got {strength:g}"):
        check_strength(kind, strength)
    with pytest.raises(ValueError, match="strength"):
        perturb(OPTIONS, kind, strength, 0)


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_a_grader_that_wrong_answers_know(task: str) -> None:
    one: dict[str, Any] = {"text": "How many of 3?\nA) 1\nB) 2", "task": task}
    gold = "A" if TASKS[task].grader.name == "choice" else "12"
    after = perturb(question(gold=gold, **one), Kind.PEER, 1, 0)
    assert (after is None) == (TASKS[task].grader.name in ("short", "summary"))
