"""Files of records: every format, the split of a folder's files, and errors that name the place."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import huggingface_hub
import pyarrow as pa
import pyarrow.ipc as ipc
import pytest

from agentark_ray.tasks import formats
from agentark_ray.tasks.base import TaskError
from agentark_ray.tasks.files import TEST, VALIDATION, find_files, split_of
from agentark_ray.tasks.formats import read_records
from agentark_ray.tasks.text import split_context, split_options, with_context, with_options
from agentark_ray.tasks.window import GAP, is_windowed, window
from tests.unit.task_files import put, questions, save_to_disk

RECORDS: list[dict[str, Any]] = [
    {"a": 'He said "no",\r\nthen 1,000 more.', "b": "1"},
    {"a": "caf\u00e9\ttab", "b": "x\ny"},
    {"a": "", "b": "\u2028line"},
]


def records(path: str | Path, columns: tuple[str, ...] | None = None) -> list[dict[str, Any]]:
    return [record for _, record in read_records(str(path), columns)]


@pytest.mark.parametrize("suffix", formats.FORMATS)
def test_every_format_gives_the_same_records(tmp_path: Path, suffix: str) -> None:
    assert records(put(tmp_path / f"q{suffix}", RECORDS)) == RECORDS


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_inside_quoted_fields_stay(tmp_path: Path, end: str) -> None:
    path = tmp_path / "q.csv"
    path.write_bytes(f'a,b\r\n"one{end}two",2\r\n3,4\r\n'.encode())
    assert records(path) == [{"a": f"one{end}two", "b": "2"}, {"a": "3", "b": "4"}]


def test_a_byte_order_mark_is_no_part_of_the_header(tmp_path: Path) -> None:
    path = tmp_path / "q.csv"
    path.write_bytes(b"\xef\xbb\xbfa,b\n1,2\n")
    assert records(path) == [{"a": "1", "b": "2"}]


def test_a_long_field_is_read(tmp_path: Path) -> None:
    row = {"a": "word " * 60_000, "b": "1"}
    assert records(put(tmp_path / "q.csv", [row])) == [row]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(RECORDS),
        json.dumps(RECORDS, indent=2),
        json.dumps({"data": RECORDS}),
        json.dumps({"version": "1.1", "n": 3, "data": RECORDS}, indent=1),
        "\n".join(json.dumps(record) for record in RECORDS),
    ],
)
def test_shapes_of_json(tmp_path: Path, text: str) -> None:
    path = tmp_path / "q.json"
    path.write_text(text)
    assert records(path) == RECORDS


def test_json_by_id_and_single_records(tmp_path: Path) -> None:
    path = tmp_path / "q.json"
    by_id = {"1911.1": RECORDS[0], "1911.2": {**RECORDS[1], "id": "own"}}
    for text in (json.dumps(by_id), json.dumps(by_id, indent=1) + "\n"):
        path.write_text(text)
        assert records(path) == [{"id": "1911.1", **RECORDS[0]}, {**RECORDS[1], "id": "own"}]
    for single in (RECORDS[0], {"a": ["b"], "data": "no list"}):
        path.write_text(json.dumps(single) + "\n")
        assert records(path) == [single]


def test_numbers_of_json_are_plain(tmp_path: Path) -> None:
    path = tmp_path / "q.json"
    path.write_text('[{"i": 3, "f": 0.5, "b": true, "n": null}]')
    (record,) = records(path)
    assert [type(value).__name__ for value in record.values()] == [
        "int",
        "float",
        "bool",
        "NoneType",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[{"a": 1}, 2]', "q.json: record 2: expected a JSON object, got int"),
        ('[{"a": 1},', "q.json: not valid JSON"),
        ('[{"a": 1}}', "q.json: not valid JSON"),
        ('{"a": 1}\n{"a": ', "q.json:2: not valid JSON"),
        ('{"x": {"a": 1}, "y": 2}', "q.json: record 'y': expected a JSON object, got int"),
        ("", "q.json: not valid JSON"),
        ("3", "q.json: expected a JSON object, got int"),
        ('[{"a": "\\ud800', "q.json: not valid JSON"),
    ],
)
def test_bad_json_is_named(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "q.json"
    path.write_text(text)
    with pytest.raises(TaskError) as error:
        records(path)
    assert expected in str(error.value)


def test_csv_without_a_header(tmp_path: Path) -> None:
    path = tmp_path / "q.csv"
    path.write_text("What?,yes,no\n")
    assert records(path, ("question", "A", "B")) == [{"question": "What?", "A": "yes", "B": "no"}]
    path.write_text("Question,C,D\nWhat?,yes,no\n")
    assert records(path, ("question", "A", "B")) == [{"Question": "What?", "C": "yes", "D": "no"}]
    path.write_text("What?,yes\n")
    with pytest.raises(TaskError, match=r"q.csv:1: expected 3 fields for question, A, B, got 2"):
        records(path, ("question", "A", "B"))


def test_an_arrow_file_is_read_as_a_stream_is(tmp_path: Path) -> None:
    table = pa.Table.from_pylist(RECORDS * 1_500)  # batches of another size than ours
    path = tmp_path / "q.arrow"
    for write in (ipc.new_file, ipc.new_stream):
        with write(str(path), table.schema) as writer:
            writer.write_table(table, max_chunksize=2_200)
        found = list(read_records(str(path)))
        assert [record for _, record in found] == RECORDS * 1_500
        assert found[-1][0] == f"{path}: row 4500"


@pytest.mark.parametrize("cut", [0, 3, 100, -60])
def test_an_arrow_stream_that_is_not_whole_is_named(tmp_path: Path, cut: int) -> None:
    path = Path(put(tmp_path / "q.arrow", RECORDS))
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(TaskError, match=r"q\.arrow: cannot be read as Arrow: \w+"):
        records(path)


def test_one_batch_of_an_arrow_stream_is_in_memory(tmp_path: Path) -> None:
    batch = pa.RecordBatch.from_pylist([{"a": "x" * 1_000}] * 500)
    path = tmp_path / "q.arrow"
    with ipc.new_stream(str(path), batch.schema) as writer:
        for _ in range(40):
            writer.write_batch(batch)
    del batch
    before = pa.total_allocated_bytes()
    held = [pa.total_allocated_bytes() - before for _ in read_records(str(path))]
    assert len(held) == 40 * 500
    assert 400_000 < max(held) < 3_000_000 < path.stat().st_size / 6


SAVED = [{"question": f"What is {i}?", "answer": f"#### {i}"} for i in range(40)]


def texts(split: str, path: str, **config: Any) -> list[str]:
    return [q.text for q in questions(split, name="gsm8k", path=path, **config)]


def by_datasets(folder: Path, saved: list[dict[str, Any]], shards: int) -> str:
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_list(saved).save_to_disk(folder, num_shards=shards)
    return str(folder)


@pytest.mark.parametrize("save", [save_to_disk, by_datasets])
def test_a_folder_of_save_to_disk_is_read_whole(
    tmp_path: Path, save: Callable[[Path, list[dict[str, Any]], int], str]
) -> None:
    path = save(tmp_path / "saved", SAVED, 3)
    train, held_out = texts("train", path), texts("eval", path)
    asked = [row["question"] for row in SAVED]
    assert sorted(train + held_out) == sorted(asked) and len(train) > len(held_out) > 0
    first, second = (save(tmp_path / name, SAVED[part], 1) for name, part in SPLITS.items())
    assert texts("train", first, eval_path=second) == asked[:30]
    assert texts("eval", first, eval_path=second) == asked[30:]


SPLITS = {"train": slice(30), "test": slice(30, None)}


def test_a_folder_of_save_to_disk_may_be_far_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = fsspec.filesystem("memory")
    memory.put(save_to_disk(tmp_path / "saved", SAVED, 3), "/datasets/o/saved", recursive=True)
    monkeypatch.setattr(huggingface_hub, "HfFileSystem", lambda: memory)
    far, near = (texts("train", path) for path in ("hf://datasets/o/saved", f"{tmp_path}/saved"))
    assert far == near and len(near) > 20


def dict_by_datasets(folder: Path) -> None:
    datasets = pytest.importorskip("datasets")
    parts = {name: datasets.Dataset.from_list(SAVED[part]) for name, part in SPLITS.items()}
    datasets.DatasetDict(parts).save_to_disk(folder)


def dict_by_hand(folder: Path) -> None:
    for name, part in SPLITS.items():
        save_to_disk(folder / name, SAVED[part])
    (folder / "dataset_dict.json").write_text(json.dumps({"splits": list(SPLITS)}))


@pytest.mark.parametrize("write", [dict_by_hand, dict_by_datasets])
@pytest.mark.parametrize("end", ["", "/"])
def test_the_splits_of_a_dataset_dict_are_named(
    tmp_path: Path, write: Callable[[Path], None], end: str
) -> None:
    write(tmp_path / "saved")
    for key in ("tasks.path", "tasks.eval_path"):
        with pytest.raises(TaskError) as error:
            find_files(f"{tmp_path}/saved{end}", key, (TEST,))
        said = "a DatasetDict with the splits train, test: name the folder of one of them, as"
        assert f"{key}={tmp_path}/saved{end}: {said} {tmp_path}/saved/train, " in str(error.value)
    assert len(texts("train", f"{tmp_path}/saved/train", eval_path=f"{tmp_path}/saved/test")) == 30


def split(tmp_path: Path, *names: str, held_out: tuple[str, str] = (TEST, VALIDATION)) -> list[str]:
    """The files of a folder as "train | held out"."""
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    parts = find_files(str(tmp_path), "tasks.path", held_out)
    root = f"{tmp_path}/"
    return [" ".join(path.removeprefix(root) for path in part) for part in parts]


@pytest.mark.parametrize(
    ("names", "train", "held_out"),
    [
        (("train.jsonl", "test.jsonl"), "train.jsonl", "test.jsonl"),
        (("train.jsonl", "dev.jsonl"), "train.jsonl", "dev.jsonl"),
        (("train.json", "valid.json", "test.json"), "train.json", "test.json"),
        (("a.csv", "testset2.csv"), "a.csv", "testset2.csv"),
        (
            ("hotpot_train_v1.1.json", "hotpot_dev_v1.json"),
            "hotpot_train_v1.1.json",
            "hotpot_dev_v1.json",
        ),
        (
            ("train/algebra/1.json", "test/algebra/1.json"),
            "train/algebra/1.json",
            "test/algebra/1.json",
        ),
        (
            ("main/train-0.parquet", "main/test-0.parquet"),
            "main/train-0.parquet",
            "main/test-0.parquet",
        ),
        (
            ("auxiliary_train/mc_test.csv", "test/x_test.csv"),
            "auxiliary_train/mc_test.csv",
            "test/x_test.csv",
        ),
        (
            ("x/auxiliary_train-0.parquet", "x/test-0.parquet"),
            "x/auxiliary_train-0.parquet",
            "x/test-0.parquet",
        ),
        (("device.jsonl", "testimony.jsonl"), "device.jsonl testimony.jsonl", ""),
        (("dev/a.csv", "val/a.csv", "test/a.csv"), "dev/a.csv val/a.csv", "test/a.csv"),
        (("test.jsonl",), "test.jsonl", ""),
        (("validation-0.parquet",), "validation-0.parquet", ""),
        (("q.jsonl", "dataset_infos.json", ".cache/x.json", "notes.txt"), "q.jsonl", ""),
    ],
)
def test_names_tell_the_split(
    tmp_path: Path, names: tuple[str, ...], train: str, held_out: str
) -> None:
    assert split(tmp_path, *names) == [train, held_out]


def test_a_task_may_prefer_validation_files(tmp_path: Path) -> None:
    names = ("train.json", "dev.json", "test.json")
    assert split(tmp_path, *names, held_out=(VALIDATION, TEST)) == ["train.json", "dev.json"]


def test_the_path_above_the_folder_says_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "test" / "validation"
    assert split(folder, "a.jsonl", "test.jsonl") == ["a.jsonl", "test.jsonl"]


def test_a_hub_id_without_its_scheme_is_explained() -> None:
    with pytest.raises(TaskError, match=r"is hf://datasets/openai/gsm8k"):
        find_files("openai/gsm8k", "tasks.path", (TEST,))


def test_splits_named_by_records() -> None:
    assert [split_of(word) for word in ("Train", "dev", "test", "ood")] == [
        *("train", "eval", "eval", "ood")
    ]
    with pytest.raises(ValueError, match="got 'other'"):
        split_of("other")


def test_texts_are_put_together_and_taken_apart() -> None:
    question = with_options("Which?\nA) is no option", ["one  two\nthree", None])
    assert question == "Which?\nA) is no option\nA) one two three\nB) "
    assert split_options(question) == ("Which?\nA) is no option", ["one two three", ""])
    assert split_options("Which?\nB) no\nC) yes") == ("Which?\nB) no\nC) yes", [])
    text = with_context("A long\n\nQuestion: document", question)
    assert split_context(text) == ("A long\n\nQuestion: document", question)
    for count in (1, 11):
        with pytest.raises(ValueError, match=f"got {count}"):
            with_options("Which?", ["x"] * count)


PARAGRAPHS = ["the sea is wide", "a heron eats fish", "the hills are green", "fish swim far"]


def test_a_window_keeps_what_the_question_is_about() -> None:
    assert window(PARAGRAPHS, "What does the heron eat?", 16) == PARAGRAPHS[:4]
    # heron: log 4; fish: log 2, in two paragraphs; the: log 2 in two
    assert window(PARAGRAPHS, "What fish does a heron eat?", 8) == [
        GAP,
        PARAGRAPHS[1],
        GAP,
        PARAGRAPHS[3],
    ]
    assert window(PARAGRAPHS, "Nothing of it", 4) == [PARAGRAPHS[0], GAP]
    long = " ".join(f"w{i}" for i in range(100))
    kept = window([long], "w70?", 40)
    assert [len(piece.split()) for piece in kept] == [10, 10, 10, 1, 10, 1]
    assert "w70" in kept[4]


def test_a_windowed_question_can_be_told() -> None:
    assert is_windowed(with_context(f"a\n{GAP}\nb", "q"))
    assert not is_windowed(with_context("a\nb", f"{GAP}\nq"))
