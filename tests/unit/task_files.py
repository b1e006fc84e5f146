"""Files of questions as a test writes them, and what is read of them."""

import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agentark_ray.config import TasksConfig
from agentark_ray.tasks.base import TaskError
from agentark_ray.tasks.registry import all_shards, read_split
from agentark_ray.types import Question, Split


def put(path: Path, records: Iterable[dict[str, Any]], **dialect: Any) -> str:
    """Write records in the format of the file's ending."""
    rows = list(records)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    else:
        with open(path, "w", newline="", encoding="utf-8") as file:
            delimiter = "\t" if path.suffix == ".tsv" else ","
            table = csv.DictWriter(file, list(rows[0]), delimiter=delimiter, **dialect)
            table.writeheader()
            table.writerows(rows)
    return str(path)


def questions(split: str = "train", **config: Any) -> list[Question]:
    """The questions of a split. One file is read whole: as training and evaluation questions."""
    if "eval_path" not in config and Path(config["path"]).is_file():
        config["eval_path"] = config["path"]
    shards = all_shards(TasksConfig(**config), 17)
    return list(read_split(shards, Split(split), 17))


def ask(tmp_path: Path, name: str, record: dict[str, Any], **config: Any) -> list[Question]:
    """The questions of one record, which must be the same from JSON lines and from Parquet."""
    found = [
        questions(name=name, path=put(tmp_path / f"{name}{suffix}", [record]), **config)
        for suffix in (".jsonl", ".parquet")
    ]
    assert found[0] == found[1]
    return found[0]


def refuse(tmp_path: Path, name: str, record: dict[str, Any], expected: str, **config: Any) -> None:
    """Expect an error about the first line of a file of one record."""
    path = put(tmp_path / f"{name}.jsonl", [record])
    with pytest.raises(TaskError) as error:
        questions(name=name, path=path, **config)
    assert str(error.value).startswith(f"{path}:1: ")
    assert expected in str(error.value)
