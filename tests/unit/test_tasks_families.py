"""Families of questions: their names and settings, those of mathematics, and several files."""

import json
from pathlib import Path
from typing import get_args

import pytest

from agentark_ray.config import ConfigError, TasksConfig, parse_config
from agentark_ray.questions import GraderName, TaskName
from agentark_ray.tasks.registry import TASKS, all_shards, read_split
from agentark_ray.types import Split
from tests.unit.task_files import ask, put, questions, refuse


def test_the_names_of_the_config_are_those_of_the_registry() -> None:
    named = {name for name in TASKS if not name.startswith("custom/")}
    assert named | {"custom"} == set(get_args(TaskName))
    assert {name for name in TASKS if name not in named} == {
        f"custom/{grader}" for grader in get_args(GraderName)
    }
    with pytest.raises(ConfigError, match="'aqua', 'arithmetic', 'custom', 'gsm8k', 'hotpotqa'"):
        parse_config({}, ["tasks.name=gsm9k"], "test")


SOLUTION = r"First $\boxed{1}$. But then $x = \boxed{\frac{\sqrt{3}}{2}}$."


def test_math(tmp_path: Path) -> None:
    record = {"problem": " Find $x$. ", "level": "Level 2", "type": "Algebra", "solution": SOLUTION}
    (found,) = ask(tmp_path, "math", record)
    assert (found.text, found.gold, found.task) == ("Find $x$.", r"\frac{\sqrt{3}}{2}", "math")
    record = {"problem": "Find $x$.", "solution": SOLUTION, "answer": "7", "subject": "Algebra"}
    assert ask(tmp_path, "math", record)[0].gold == "7"
    refuse(tmp_path, "math", {"problem": "p", "solution": "none"}, r"must hold \boxed{...}")


def test_math_in_folders_of_one_file_a_problem(tmp_path: Path) -> None:
    for split, kind in (("train", "algebra"), ("train", "geometry"), ("test", "algebra")):
        folder = tmp_path / split / kind
        folder.mkdir(parents=True)
        record = {"problem": f"{split} {kind}", "level": "Level 1", "solution": r"\boxed{2}"}
        (folder / "7.json").write_text(json.dumps(record, indent=4))
    assert {q.text for q in questions(name="math", path=str(tmp_path))} == {
        *("train algebra", "train geometry")
    }
    assert [q.text for q in questions("eval", name="math", path=str(tmp_path))] == ["test algebra"]


def test_metamathqa(tmp_path: Path) -> None:
    record = {
        "query": "Solve it.",
        "response": "The answer is: no.\nSo x = 3.\n#### 3\nThe answer is: \\frac{3}{1}",
        "type": "MATH_AnsAug",
        "original_question": "Solve this.",
    }
    (found,) = ask(tmp_path, "metamathqa", record)
    assert (found.text, found.gold) == ("Solve it.", "\\frac{3}{1}")
    refuse(tmp_path, "metamathqa", {**record, "response": "3"}, "must end in 'The answer is: X'")


def test_what_is_made_of_one_question_is_held_out_together(tmp_path: Path) -> None:
    records = [
        {"query": f"q {i} {j}", "response": "The answer is: 1", "original_question": f"o {i}"}
        for i in range(60)
        for j in range(4)
    ]
    path = put(tmp_path / "MetaMathQA-395K.json", records)
    shards = all_shards(TasksConfig(name="metamathqa", path=path, eval_fraction=0.3), 0)
    held_out = [q.text.split()[1] for q in read_split(shards, Split.EVAL, 0)]
    train = [q.text.split()[1] for q in read_split(shards, Split.TRAIN, 0)]
    assert len(held_out) + len(train) == 240
    assert 0 < len(held_out) < 240
    assert not set(held_out) & set(train)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("name=custom", "a custom task needs a grader"),
        ("grader=math", "grader and columns are for the task custom, got name=arithmetic"),
        ("columns={text: q}", "grader and columns are for the task custom"),
        ("columns={txt: q}", "unknown key 'tasks.columns.txt', did you mean 'tasks.columns.text'?"),
        ("ood_name=gsm8k", "ood_name=gsm8k needs an ood_path"),
        ("ood_path=x.jsonl", "the task arithmetic reads no files"),
        ("leaks=keep", "tasks.leaks='keep'"),
    ],
)
def test_bad_configs_are_named(override: str, expected: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_config({}, [f"tasks.{override}"], "test")
    assert expected in str(error.value)


def test_another_task_may_be_out_of_distribution(tmp_path: Path) -> None:
    path = put(tmp_path / "q.jsonl", [{"question": "q", "answer": "#### 1"}])
    config = TasksConfig(ood_name="gsm8k", ood_path=path, train_questions=3)
    (found,) = read_split(all_shards(config, 0), Split.OOD, 0)
    assert (found.task, found.split) == ("gsm8k", "ood")
    longer = read_split(all_shards(TasksConfig(ood_name="arithmetic"), 0), Split.OOD, 0)
    assert {q.split for q in longer} == {"ood"}


def test_files_take_turns(tmp_path: Path) -> None:
    for i in range(70):
        put(
            tmp_path / f"{i:02}.jsonl",
            [{"question": f"{i} {j}", "answer": "#### 1"} for j in range(3)],
        )
    other = put(tmp_path / "test.jsonl", [{"question": "x", "answer": "#### 1"}])
    shards = all_shards(TasksConfig(name="gsm8k", path=str(tmp_path), eval_path=other), 0)
    texts = [q.text for q in read_split(shards, Split.TRAIN, 0)]
    first = [int(text.split()[0]) for text in texts[:64]]
    assert len(set(first)) == 64
    assert max(first) > 63  # not just the files that come first by name
    assert len(set(texts)) == 210
    assert texts == [q.text for q in read_split(shards, Split.TRAIN, 0)]
