"""Question files: splits, ids, and errors that name file and line."""

import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentark_ray.config import TasksConfig
from agentark_ray.tasks.base import TaskError, content_id, is_held_out
from agentark_ray.tasks.registry import TASKS
from agentark_ray.types import Question
from tests.unit.real_files import GSM8K_FILES, needs_gsm8k

GSM8K = TASKS["gsm8k"]


def write(path: Path, *questions: str) -> str:
    lines = [
        json.dumps({"question": q, "answer": f"so\n#### {i}"}) for i, q in enumerate(questions)
    ]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def read(split: str, **config: object) -> list[Question]:
    shards = GSM8K.shards(TasksConfig(name="gsm8k", **config), 0)  # type: ignore[arg-type]
    return [q for shard in shards if shard.split == split for q in GSM8K.read(shard)]


def test_one_file_is_split_by_id_alone(tmp_path: Path) -> None:
    texts = [f"How many is {i}?" for i in range(400)]
    path = write(tmp_path / "q.jsonl", *texts)
    train, held_out = read("train", path=path), read("eval", path=path)
    assert {q.text for q in train} | {q.text for q in held_out} == set(texts)
    assert not {q.question_id for q in train} & {q.question_id for q in held_out}
    assert 20 <= len(held_out) <= 60
    reordered = write(tmp_path / "r.jsonl", *reversed(texts))
    assert {q.text for q in read("eval", path=reordered)} == {q.text for q in held_out}


def test_a_folder_with_a_test_file_uses_it(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", "a", "b")
    write(tmp_path / "test.jsonl", "c")
    assert [q.text for q in read("train", path=str(tmp_path))] == ["a", "b"]
    assert [(q.text, q.gold, q.split) for q in read("eval", path=str(tmp_path))] == [
        ("c", "0", "eval")
    ]


def test_eval_path_wins(tmp_path: Path) -> None:
    path, other = write(tmp_path / "a.jsonl", "a", "b"), write(tmp_path / "b.jsonl", "c")
    assert len(read("train", path=path, eval_path=other)) == 2
    assert [q.text for q in read("eval", path=path, eval_path=other)] == ["c"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("{oops", "not valid JSON"),
        ("[1]", "expected a JSON object, got list"),
        ('{"question": "q"}', "missing field 'answer'"),
        ('{"question": "", "answer": "#### 1"}', "field 'question' must be text"),
        ('{"question": "q", "answer": "12"}', "must be text ending in '#### N'"),
        ('{"question": "q", "answer": "#### none"}', "must end in '#### N'"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, expected: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text('{"question": "ok", "answer": "#### 1"}\n\n' + line + "\n")
    with pytest.raises(TaskError) as error:
        read("train", path=str(path))
    assert f"{path}:3: " in str(error.value)
    assert expected in str(error.value)


def test_bytes_that_are_not_utf8_are_named(tmp_path: Path) -> None:
    path = tmp_path / "latin.jsonl"
    path.write_bytes(b'{"question": "ok", "answer": "#### 1"}\n{"question": "caf\xe9"}\n')
    with pytest.raises(TaskError, match=r"latin.jsonl: not UTF-8"):
        read("train", path=str(path))


def test_missing_paths_are_named(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="needs a file or a folder, got none"):
        read("train")
    with pytest.raises(TaskError, match=r"tasks.path=.*missing.jsonl: no such file"):
        read("train", path=str(tmp_path / "missing.jsonl"))
    with pytest.raises(
        TaskError, match=r"holds no file that ends in .jsonl, .json, .csv, .tsv, .parquet"
    ):
        read("train", path=str(tmp_path))
    (tmp_path / "q.txt").touch()
    with pytest.raises(TaskError, match=r"q.txt: expected a file that ends in"):
        read("train", path=str(tmp_path / "q.txt"))
    with pytest.raises(TaskError, match=r"tasks.path=ftp://a/b: cannot be read"):
        read("train", path="ftp://a/b")


HARD = 'He said "no",\nthen 1,000 more.'


def test_every_format_gives_the_same_questions(tmp_path: Path) -> None:
    texts = [HARD, "a", "café?"]
    records = [{"question": q, "answer": f"so\n#### {i}"} for i, q in enumerate(texts)]
    lines = write(tmp_path / "q.jsonl", *texts)
    with open(tmp_path / "q.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, ["question", "answer"])
        table.writeheader()
        table.writerows(records)
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "q.parquet")
    expected = read("train", path=lines, eval_path=lines)
    assert [q.text for q in expected] == texts
    for name in ("q.csv", "q.parquet"):
        path = str(tmp_path / name)
        assert read("train", path=path, eval_path=path) == expected
    assert read("train", path=f"file://{tmp_path}/q.csv", eval_path=lines) == expected


def test_nested_folders_are_read(tmp_path: Path) -> None:
    (tmp_path / "main").mkdir()
    for name, text in (("train-0", "a"), ("train-1", "b"), ("test-0", "c")):
        record = {"question": text, "answer": "#### 1"}
        pq.write_table(pa.Table.from_pylist([record]), tmp_path / "main" / f"{name}.parquet")
    assert [q.text for q in read("train", path=str(tmp_path))] == ["a", "b"]
    assert [q.text for q in read("eval", path=f"{tmp_path}/")] == ["c"]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("q.csv", "question,answer\na,#### 1\nb\n", "q.csv:3: expected 2 fields as in the header"),
        ("q.csv", 'question,answer\na,"#### 1\n', "q.csv:2: not valid CSV"),
        ("q.csv", "question,solution\na,1\n", "q.csv:2: missing field 'answer'"),
        ("q.parquet", "PAR0", "q.parquet: not a Parquet file"),
    ],
)
def test_a_bad_table_is_named(tmp_path: Path, name: str, content: str, expected: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(TaskError) as error:
        read("train", path=str(path), eval_path=str(path))
    assert expected in str(error.value)


def test_a_data_set_of_the_hub_is_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec
    import huggingface_hub

    memory = fsspec.filesystem("memory")
    for name, text in (("train", "a"), ("test", "b")):
        record = {"question": text, "answer": "#### 1"}
        line = f"{json.dumps(record)}\n".encode()
        memory.pipe(f"/datasets/openai/gsm8k/{name}.jsonl", line)
    monkeypatch.setattr(huggingface_hub, "HfFileSystem", lambda: memory)
    assert [q.text for q in read("train", path="hf://datasets/openai/gsm8k")] == ["a"]
    assert [q.text for q in read("eval", path="hf://datasets/openai/gsm8k")] == ["b"]


def test_arithmetic_comes_in_shards_of_both_splits() -> None:
    task = TASKS["arithmetic"]
    shards = task.shards(TasksConfig(train_questions=10_001, eval_questions=3), 7)
    assert [(s.split, s.start, s.stop) for s in shards] == [
        ("train", 0, 10_000),
        ("train", 10_000, 10_001),
        ("eval", 0, 3),
    ]
    assert len(list(task.read(shards[2]))) == 3


@given(st.text(min_size=1), st.floats(0.01, 0.99))
def test_a_question_is_in_exactly_one_split(text: str, fraction: float) -> None:
    question_id = content_id("t", text)
    assert question_id == content_id("t", text) != content_id("u", text)
    assert is_held_out(question_id, 1.0)
    assert not is_held_out(question_id, 0.0)
    assert isinstance(is_held_out(question_id, fraction), bool)


@needs_gsm8k
def test_published_gsm8k_files_are_read_whole() -> None:
    train, test = read("train", path=str(GSM8K_FILES)), read("eval", path=str(GSM8K_FILES))
    assert (len(train), len(test)) == (7473, 1319)
    assert all(GSM8K.grader.verdict(q.gold, q.gold) == "correct" for q in (*train, *test))
    assert len({q.question_id for q in (*train, *test)}) == 7473 + 1319
