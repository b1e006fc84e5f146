"""JSON-lines files of questions: which files make which split, and lines with clear errors."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from agentark_ray.config import TasksConfig
from agentark_ray.tasks.base import Shard, TaskError, is_held_out
from agentark_ray.types import Question, Split

Parse = Callable[[dict[str, Any]], tuple[str, str]]  # record -> (text, gold); KeyError, ValueError


def file_shards(config: TasksConfig, task: str) -> Sequence[Shard]:
    """Shards of `tasks.path`, with held-out questions from where the config says they are.

    `eval_path` if given, else the folder's test file, else a share of the file by question id.

    Raises:
        TaskError: a path is missing from the config or does not exist.
    """
    if config.path is None:
        raise TaskError(f"tasks.path: the task {task!r} needs a file or a folder, got none")
    train, held_out = _files(Path(config.path), "tasks.path")
    if config.eval_path is not None:
        evaluation = _files(Path(config.eval_path), "tasks.eval_path")
        held_out = evaluation[1] or evaluation[0]
    if held_out:
        return [
            *(Shard(split=Split.TRAIN, path=str(path)) for path in train),
            *(Shard(split=Split.EVAL, path=str(path)) for path in held_out),
        ]
    return [
        Shard(split=split, path=str(path), held_out=out, fraction=config.eval_fraction)
        for path in train
        for split, out in ((Split.TRAIN, False), (Split.EVAL, True))
    ]


def _files(path: Path, key: str) -> tuple[list[Path], list[Path]]:
    """Training files and, for a folder that has them, test files."""
    if path.is_file():
        return [path], []
    if not path.is_dir():
        raise TaskError(f"{key}={path}: no such file or folder")
    files = sorted(path.glob("*.jsonl"))
    if not files:
        raise TaskError(f"{key}={path}: the folder holds no .jsonl file")
    test = [file for file in files if file.stem.startswith(("test", "eval", "valid"))]
    train = [file for file in files if file not in test]
    return (train, test) if train else (test, [])


def read_lines(
    shard: Shard, task: str, make_id: Callable[[str], str], parse: Parse
) -> Iterator[Question]:
    """The questions of a file, in order.

    Raises:
        TaskError: a line is not a JSON object or lacks what `parse` needs; names file and line.
    """
    assert shard.path is not None
    with open(shard.path, encoding="utf-8", errors="strict") as lines:
        for number, line in _numbered(lines, shard.path):
            text, gold = _record(line, f"{shard.path}:{number}", parse)
            question_id = make_id(text)
            held_out = is_held_out(question_id, shard.fraction)
            if shard.held_out is None or held_out == shard.held_out:
                yield Question(
                    question_id=question_id, text=text, gold=gold, task=task, split=shard.split
                )


def _numbered(lines: Iterator[str], path: str) -> Iterator[tuple[int, str]]:
    number = 0
    try:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield number, line
    except UnicodeDecodeError as error:
        raise TaskError(f"{path}: not UTF-8 after line {number}: {error.reason}") from None


def _record(line: str, where: str, parse: Parse) -> tuple[str, str]:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise TaskError(f"{where}: not valid JSON: {error.msg} at column {error.colno}") from None
    if not isinstance(record, dict):
        raise TaskError(f"{where}: expected a JSON object, got {type(record).__name__}")
    try:
        return parse(record)
    except KeyError as error:
        raise TaskError(f"{where}: missing field {error}, got {sorted(record)}") from None
    except ValueError as error:
        raise TaskError(f"{where}: {error}") from None
