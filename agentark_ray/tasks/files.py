"""Files of questions: which make which split, and records with clear errors.

JSON lines, CSV and Parquet, on a local disk, an object store or the Hugging Face Hub. Reading
streams: one line or one batch of rows is in memory.
"""

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from agentark_ray.config import TasksConfig
from agentark_ray.location import locate
from agentark_ray.tasks.base import Shard, TaskError, is_held_out
from agentark_ray.types import Question, Split

Record = dict[str, Any]
Parse = Callable[[Record], tuple[str, str]]  # record -> (text, gold); KeyError, ValueError
Records = Callable[[Any, str], Iterator[tuple[str, Record]]]  # (stream, path) -> (where, record)

BATCH_ROWS = 1_000
EVAL_STEMS = ("test", "eval", "valid")


def file_shards(config: TasksConfig, task: str) -> Sequence[Shard]:
    """Shards of `tasks.path`, with held-out questions from where the config says they are.

    `eval_path` if given, else the folder's test files, else a share of the files by question id.

    Raises:
        TaskError: a path is missing from the config or does not exist.
    """
    if config.path is None:
        raise TaskError(f"tasks.path: the task {task!r} needs a file or a folder, got none")
    train, held_out = _files(config.path, "tasks.path")
    if config.eval_path is not None:
        evaluation = _files(config.eval_path, "tasks.eval_path")
        held_out = evaluation[1] or evaluation[0]
    if held_out:
        return [
            *(Shard(split=Split.TRAIN, path=path) for path in train),
            *(Shard(split=Split.EVAL, path=path) for path in held_out),
        ]
    return [
        Shard(split=split, path=path, held_out=out, fraction=config.eval_fraction)
        for path in train
        for split, out in ((Split.TRAIN, False), (Split.EVAL, True))
    ]


def read_questions(
    shard: Shard, task: str, make_id: Callable[[str], str], parse: Parse
) -> Iterator[Question]:
    """The questions of a file, in order.

    Raises:
        TaskError: a record is malformed or lacks what `parse` needs; names file and place.
    """
    assert shard.path is not None
    filesystem, path = locate(shard.path)
    with filesystem.open_input_file(path) as stream:
        for where, record in FORMATS[PurePosixPath(path).suffix](stream, shard.path):
            text, gold = _parsed(record, where, parse)
            question_id = make_id(text)
            held_out = is_held_out(question_id, shard.fraction)
            if shard.held_out is None or held_out == shard.held_out:
                yield Question(
                    question_id=question_id, text=text, gold=gold, task=task, split=shard.split
                )


def _files(uri: str, key: str) -> tuple[list[str], list[str]]:
    """Training files and, for a folder that has them, test files; as URIs."""
    try:
        filesystem, path = locate(uri)
        info = filesystem.get_file_info(path)
    except (ValueError, OSError) as error:
        raise TaskError(f"{key}={uri}: cannot be read: {error}") from None
    if info.type == fs.FileType.NotFound:
        raise TaskError(f"{key}={uri}: no such file or folder")
    if info.is_file:
        _check_format(uri, key)
        return [uri], []
    found = filesystem.get_file_info(fs.FileSelector(path, recursive=True))
    inner = sorted(f.path for f in found if f.is_file and PurePosixPath(f.path).suffix in FORMATS)
    if not inner:
        raise TaskError(f"{key}={uri}: the folder holds no file that ends in {_formats()}")
    test = [p for p in inner if PurePosixPath(p).stem.startswith(EVAL_STEMS)]
    train = [p for p in inner if p not in test]
    root, inside = uri.rstrip("/"), path.strip("/")
    train, test = (
        [root + p.strip("/").removeprefix(inside) for p in part] for part in (train, test)
    )
    return (train, test) if train else (test, [])


def _check_format(uri: str, key: str) -> None:
    if PurePosixPath(uri).suffix not in FORMATS:
        raise TaskError(f"{key}={uri}: expected a file that ends in {_formats()}")


def _formats() -> str:
    return ", ".join(FORMATS)


def _parsed(record: Record, where: str, parse: Parse) -> tuple[str, str]:
    try:
        return parse(record)
    except KeyError as error:
        raise TaskError(f"{where}: missing field {error}, got {sorted(record)}") from None
    except ValueError as error:
        raise TaskError(f"{where}: {error}") from None


def _text_lines(stream: Any, path: str) -> Iterator[tuple[int, str]]:
    number = 0
    try:
        with io.TextIOWrapper(stream, encoding="utf-8", errors="strict", newline="") as lines:
            for number, line in enumerate(lines, start=1):
                yield number, line
    except UnicodeDecodeError as error:
        raise TaskError(f"{path}: not UTF-8 after line {number}: {error.reason}") from None


def _json_lines(stream: Any, path: str) -> Iterator[tuple[str, Record]]:
    for number, line in _text_lines(stream, path):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise TaskError(
                f"{where}: not valid JSON: {error.msg} at column {error.colno}"
            ) from None
        if not isinstance(record, dict):
            raise TaskError(f"{where}: expected a JSON object, got {type(record).__name__}")
        yield where, record


def _csv(stream: Any, path: str) -> Iterator[tuple[str, Record]]:
    """Comma-separated with a header line; quoted fields may hold line breaks."""
    lines = (line for _, line in _text_lines(stream, path))
    rows = csv.reader(lines, strict=True)
    try:
        header = next(rows, None)
        for row in rows:
            where = f"{path}:{rows.line_num}"
            if row and header:
                if len(row) != len(header):
                    raise TaskError(
                        f"{where}: expected {len(header)} fields as in the header, got {len(row)}"
                    )
                yield where, dict(zip(header, row, strict=True))
    except csv.Error as error:
        raise TaskError(f"{path}:{rows.line_num}: not valid CSV: {error}") from None


def _parquet(stream: Any, path: str) -> Iterator[tuple[str, Record]]:
    try:
        file = pq.ParquetFile(stream)
    except pa.ArrowInvalid as error:
        raise TaskError(f"{path}: not a Parquet file: {error}") from None
    number = 0
    for batch in file.iter_batches(BATCH_ROWS):
        for record in batch.to_pylist():
            number += 1
            yield f"{path}: row {number}", record


FORMATS: dict[str, Records] = {".jsonl": _json_lines, ".csv": _csv, ".parquet": _parquet}
