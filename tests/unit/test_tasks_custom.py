"""Any records as questions: columns, golds, options, splits, and errors that name the place."""

from pathlib import Path
from typing import Any

import pytest

from agentark_ray.config import TasksConfig
from agentark_ray.tasks.registry import TASKS, all_shards, read_split
from agentark_ray.tasks.text import split_options
from agentark_ray.types import Question, Split
from tests.unit.task_files import ask, put, refuse


def custom(tmp_path: Path, record: dict[str, Any], grader: str, **columns: Any) -> Question:
    (found,) = ask(tmp_path, "custom", record, grader=grader, columns=columns)
    assert found.task == f"custom/{grader}"
    return found


def test_custom_columns(tmp_path: Path) -> None:
    record = {
        "prompt": "What?",
        "extra": {"truth": {"text": ["4", "four", "4"]}},
        "why": ["p", "q"],
    }
    found = custom(tmp_path, record, "short", text="prompt", gold="extra.truth.text", context="why")
    assert (found.text, found.gold, found.aliases) == ("p\nq\n\nQuestion: What?", "4", ("four",))
    record = {"q": "What?", "a": 4.0, "b": ["IV", "4"], "key": 17, "c": None}
    found = custom(
        tmp_path, record, "short", text="q", gold="a", aliases="b", id="key", context="c"
    )
    assert (found.question_id, found.gold, found.aliases) == ("17", "4", ("IV",))
    assert custom(tmp_path, {"question": "What?"}, "short", gold=None).gold is None


@pytest.mark.parametrize(
    ("grader", "given", "gold"),
    [
        ("numeric", "so\n#### 1,234", "1234"),
        ("numeric", 7, "7"),
        ("math", r"\frac{1}{2}", r"\frac{1}{2}"),
        ("math", r"thus \boxed{\frac{1}{2}}.", r"\frac{1}{2}"),
        ("choice", "B", "B"),
        ("short", "in the year 1990", "in the year 1990"),
        ("short", True, "yes"),
        ("summary", "They met. And left.", "They met. And left."),
    ],
)
def test_custom_golds(tmp_path: Path, grader: str, given: Any, gold: str) -> None:
    found = custom(tmp_path, {"question": "What?", "answer": given}, grader)
    assert found.gold == gold
    assert TASKS[found.task].grader.verdict(gold, gold) == "correct"


@pytest.mark.parametrize(
    ("options", "given", "gold"),
    [
        (["x", "y", "z"], 1, "B"),
        (["x", "y", "z"], "C", "C"),
        (["x", "y", "z"], "y", "B"),
        (["x", "y", "z"], "2", "C"),
        (["4", "3", "2"], "2", "C"),  # the option's text before the index
        ({"A": "x", "B": "y"}, "B", "B"),
        ({"label": ["1", "2", "3"], "text": ["x", "y", "z"]}, "1", "A"),
    ],
)
def test_custom_options(tmp_path: Path, options: Any, given: Any, gold: str) -> None:
    record = {"question": "Which?", "choices": options, "answer": given}
    found = custom(tmp_path, record, "choice", options="choices")
    assert found.gold == gold
    assert split_options(found.text)[1][0] in ("x", "4")


def test_custom_options_in_columns(tmp_path: Path) -> None:
    record = {"question": "Which?", "one": "x", "two": "y", "answer": "y"}
    assert custom(tmp_path, record, "choice", options=["one", "two"]).gold == "B"


@pytest.mark.parametrize(
    ("record", "columns", "expected"),
    [
        ({"q": "What?"}, {}, "missing field 'question', got ['q']"),
        ({"question": "What?"}, {}, "missing field 'answer', got ['question']"),
        ({"question": " ", "answer": "1"}, {}, "column 'question' must be text, got ' '"),
        (
            {"question": "q", "answer": {"a": 1}},
            {},
            "column 'answer' must be text or a list of texts",
        ),
        ({"question": "q", "answer": "x"}, {"gold": "answer.y"}, "field 'answer' must have fields"),
        ({"question": "q", "answer": "x", "o": ["A", "x"]}, {"options": "o"}, ""),
        (
            {"question": "q", "answer": "z", "o": ["x", "y"]},
            {"options": "o"},
            "'z' is none of the options",
        ),
        ({"question": "q", "answer": "A", "o": ["x", "A"]}, {"options": "o"}, "stands for several"),
        ({"question": "q", "answer": "5", "o": ["x", "y"]}, {"options": "o"}, "from 0 to 1, got 5"),
        (
            {"question": "q", "answer": "A", "s": "first"},
            {"split": "s"},
            "expected train, validation, test",
        ),
    ],
)
def test_custom_errors(
    tmp_path: Path, record: dict[str, Any], columns: dict[str, Any], expected: str
) -> None:
    if expected:
        config = {"grader": "choice", "columns": columns}
        refuse(tmp_path, "custom", record, expected, **config)
    else:
        assert custom(tmp_path, record, "choice", **columns).gold == "B"


def test_custom_splits_and_groups(tmp_path: Path) -> None:
    records = [
        {
            "question": f"q{i}",
            "answer": i,
            "part": ["train", "dev", "ood"][i % 3],
            "doc": f"d{i % 9}",
        }
        for i in range(90)
    ]
    path = put(tmp_path / "q.csv", records)
    config: dict[str, Any] = {"name": "custom", "path": path, "grader": "numeric"}
    shards = all_shards(TasksConfig(**config, columns={"split": "part"}), 0)  # type: ignore[arg-type]
    golds = [[int(q.gold or "") % 3 for q in read_split(shards, split, 0)] for split in Split]
    assert golds == [[0] * 30, [1] * 30, [2] * 30]
    shards = all_shards(TasksConfig(**config, columns={"group": "doc"}, eval_fraction=0.4), 0)  # type: ignore[arg-type]
    docs = [{int(q.text[1:]) % 9 for q in read_split(shards, split, 0)} for split in Split]
    assert docs[0] | docs[1] == set(range(9))
    assert not docs[0] & docs[1]
    ood = {"ood_path": path, "columns": {"split": "part"}}
    shards = all_shards(TasksConfig(**config, **ood), 0)  # type: ignore[arg-type]
    assert len(list(read_split(shards, Split.OOD, 0))) == 120  # its own 30, and all of ood_path
