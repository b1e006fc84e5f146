"""Files of questions as a test writes them, and what is read of them."""

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc as ipc
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
    elif path.suffix == ".arrow":
        table = pa.Table.from_pylist(rows)
        with ipc.new_stream(str(path), table.schema) as writer:
            writer.write_table(table)
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


def save_to_disk(folder: Path, records: Sequence[dict[str, Any]], shards: int = 1) -> str:
    """Write what `datasets.Dataset.save_to_disk` does, and a cache as `map` leaves it there."""
    folder.mkdir(parents=True)
    names = [f"data-{shard:05}-of-{shards:05}.arrow" for shard in range(shards)]
    size = -(-len(records) // shards)
    for shard, name in enumerate(names):
        put(folder / name, records[shard * size : (shard + 1) * size])
    put(folder / "cache-1a2b3c4d5e6f7a8b.arrow", [{"mapped": 1}])
    (folder / "dataset_info.json").write_text(json.dumps({"features": {}, "splits": {}}))
    state = {"_data_files": [{"filename": name} for name in names], "_fingerprint": "1a2b"}
    (folder / "state.json").write_text(json.dumps(state))
    return str(folder)


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
