"""Files of questions: which make which split, and questions with clear errors."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath

from pyarrow import fs

from agentark_ray.config import TasksConfig
from agentark_ray.grading.base import Grader
from agentark_ray.location import locate
from agentark_ray.tasks.base import Shard, Task, TaskError, content_id, is_held_out
from agentark_ray.tasks.formats import FORMATS, Record, read_records
from agentark_ray.types import Question, Split

TEST, VALIDATION = "test", "validation"
# What the words of folder and file names say; digits may follow.
ROLES = {
    Split.TRAIN: re.compile(r"(train(ing|set)?|auxiliary)\d*"),
    TEST: re.compile(r"test(ing|set|s)?\d*"),
    VALIDATION: re.compile(r"(val|valid(ation|set)?|dev(set|elopment)?|eval(uation|set)?)\d*"),
}
# JSON files in a data set's folder that hold no questions.
DATASET_DICT = "dataset_dict.json"
METADATA = ("dataset_info.json", "dataset_infos.json", DATASET_DICT, "state.json")
CACHED = re.compile(r"cache-.*\.arrow")  # what `datasets` derived from the others


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A question as a record holds it. All texts are stripped and not empty."""

    text: str
    gold: str | None
    aliases: tuple[str, ...] = ()
    group: str | None = None  # questions of a group are held out together
    question_id: str | None = None  # None: a hash of the text
    split: str | None = None  # a Split, if the record says it
    solution: str | None = None  # a worked one


Parse = Callable[[Record, TasksConfig], Iterable[Item]]  # raises KeyError, ValueError


def file_task(
    name: str,
    grader: Grader,
    parse: Parse,
    *,
    columns: Sequence[str] | None = None,
    held_out: Sequence[str] = (TEST, VALIDATION),
) -> Task:
    """A task whose questions are in files.

    `columns` are those of CSV files without a header; `held_out` says which of test and validation
    files are preferred.
    """
    return Task(
        name=name,
        grader=grader,
        shards=partial(file_shards, name, held_out),
        ood=partial(ood_shards, held_out),
        read=partial(read_questions, name, parse, columns),
    )


def file_shards(
    task: str, held_out: Sequence[str], config: TasksConfig, seed: int
) -> Sequence[Shard]:
    """Shards of `tasks.path`, with held-out questions from where the config says they are.

    `eval_path` if given, else the folder's test or validation files, else a share of the files by
    question id. Files have their own order, so that the seed is not used.

    Raises:
        TaskError: a path is missing from the config or does not exist.
    """
    del seed
    if config.path is None:
        raise TaskError(f"tasks.path: the task {task!r} needs a file or a folder, got none")
    train, evaluation = find_files(config.path, "tasks.path", held_out)
    if config.eval_path is not None:
        evaluation = _evaluation_files(config.eval_path, "tasks.eval_path", held_out)
    if evaluation:
        return [
            *(Shard(split=Split.TRAIN, path=path, config=config) for path in train),
            *(Shard(split=Split.EVAL, path=path, config=config) for path in evaluation),
        ]
    return [
        Shard(split=split, path=path, held_out=out, config=config)
        for path in train
        for split, out in ((Split.TRAIN, False), (Split.EVAL, True))
    ]


def ood_shards(held_out: Sequence[str], config: TasksConfig, seed: int) -> Sequence[Shard]:
    """Shards of `tasks.ood_path`: its test or validation files if it has any, else all."""
    del seed
    assert config.ood_path is not None
    files = _evaluation_files(config.ood_path, "tasks.ood_path", held_out)
    return [Shard(split=Split.OOD, path=path, config=config) for path in files]


def read_questions(
    task: str, parse: Parse, columns: Sequence[str] | None, shard: Shard
) -> Iterator[Question]:
    """The questions of a file, in order.

    Raises:
        TaskError: a record is malformed or lacks what `parse` needs; names file and place.
    """
    assert shard.path is not None
    for where, record in read_records(shard.path, columns):
        for item in _parsed(record, where, parse, shard.config):
            content = content_id(task, item.text)
            if _belongs(item, task, content, shard):
                yield Question(
                    question_id=item.question_id or content,
                    text=item.text,
                    gold=item.gold,
                    aliases=item.aliases,
                    task=task,
                    split=shard.split,
                    solution=item.solution,
                )


def _belongs(item: Item, task: str, content: str, shard: Shard) -> bool:
    if item.split is not None:
        return item.split == shard.split
    if shard.held_out is None:
        return True
    key = content_id(task, item.group) if item.group else content
    return is_held_out(key, shard.config.eval_fraction) == shard.held_out


def _parsed(record: Record, where: str, parse: Parse, config: TasksConfig) -> list[Item]:
    try:
        return list(parse(record, config))
    except KeyError as error:
        raise TaskError(f"{where}: missing field {error}, got {sorted(record)}") from None
    except ValueError as error:
        raise TaskError(f"{where}: {error}") from None
    except (TypeError, AttributeError, IndexError) as error:
        raise TaskError(f"{where}: not in the published form: {error}") from None


def text_field(record: Record, *names: str) -> str:
    """The text of the first of these fields that the record has.

    Raises:
        KeyError: it has none of them.
        ValueError: it is not text, or empty.
    """
    name = next((name for name in names if name in record), names[0])
    value = record[name]
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"field {name!r} must be text, got {value!r}")
    return value.strip()


def own_text(record: Record, name: str) -> str | None:
    """The text of a field, if the record has it and it is not empty."""
    value = record.get(name)
    return value.strip() or None if isinstance(value, str) else None


def rows(value: object, name: str) -> list[Record]:
    """A list of records, also from the mapping of lists that Parquet files of the Hub hold.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(value, dict):
        columns = {key: cells for key, cells in value.items() if cells is not None}
        if all(isinstance(cells, list) for cells in columns.values()):
            found = zip(*columns.values(), strict=True)
            return [dict(zip(columns, cells, strict=True)) for cells in found]
    if isinstance(value, list) and all(isinstance(row, dict) for row in value):
        return value
    raise ValueError(f"field {name!r} must be a list of records, got {str(value)[:80]!r}")


def find_files(uri: str, key: str, held_out: Sequence[str]) -> tuple[list[str], list[str]]:
    """Training files and, for a folder that has them, files to hold out; as URIs.

    Folder and file names tell: `train`, `test`, `validation` and their usual short forms as a
    folder or as a word of the file's name. Files that say nothing are for training.

    Raises:
        TaskError: no such file or folder, or nothing in it to read.
    """
    try:
        filesystem, path = locate(uri)
        info = filesystem.get_file_info(path)
    except (ValueError, OSError) as error:
        raise TaskError(f"{key}={uri}: cannot be read: {error}") from None
    if info.type == fs.FileType.NotFound:
        raise TaskError(f"{key}={uri}: no such file or folder{_hub_hint(uri)}")
    if info.is_file:
        if PurePosixPath(uri).suffix not in FORMATS:
            raise TaskError(f"{key}={uri}: expected a file that ends in {', '.join(FORMATS)}")
        return [uri], []
    found = filesystem.get_file_info(fs.FileSelector(path, recursive=True))
    root, inside = uri.rstrip("/"), path.strip("/")
    inner = sorted(f.path.strip("/").removeprefix(inside) for f in found if f.is_file)
    if f"/{DATASET_DICT}" in inner:
        raise TaskError(f"{key}={uri}: {_dict_hint(filesystem, path, root)}")
    by_role: dict[str, list[str]] = {Split.TRAIN: [], TEST: [], VALIDATION: []}
    for name in filter(_holds_questions, inner):
        by_role[_role(name)].append(root + name)
    if not any(by_role.values()):
        raise TaskError(f"{key}={uri}: the folder holds no file that ends in {', '.join(FORMATS)}")
    return _assign(by_role, held_out)


def _assign(by_role: dict[str, list[str]], held_out: Sequence[str]) -> tuple[list[str], list[str]]:
    """Training and held-out files. Without training files the other evaluation files train."""
    have = [role for role in held_out if by_role[role]]
    if by_role[Split.TRAIN]:
        return by_role[Split.TRAIN], by_role[have[0]] if have else []
    if len(have) > 1:
        return by_role[have[1]], by_role[have[0]]
    return by_role[have[0]], []


def _evaluation_files(uri: str, key: str, held_out: Sequence[str]) -> list[str]:
    train, evaluation = find_files(uri, key, held_out)
    return evaluation or train


def _holds_questions(name: str) -> bool:
    path = PurePosixPath(name)
    hidden = any(part.startswith(".") for part in path.parts)
    other = path.name in METADATA or CACHED.fullmatch(path.name)
    return path.suffix in FORMATS and not other and not hidden


def _role(name: str) -> str:
    """Folders count before the file's name, and its first telling word."""
    *folders, stem = PurePosixPath(name.lower()).with_suffix("").parts
    words = [*(folder.removesuffix("_train") for folder in folders), *re.split(r"[-_.]", stem)]
    return next((role for word in words if (role := _named(word))), Split.TRAIN)


def _named(word: str) -> str | None:
    return next((role for role, names in ROLES.items() if names.fullmatch(word)), None)


def split_of(word: str) -> Split:
    """The split that a record's own word names.

    Raises:
        ValueError: it names none.
    """
    if word.lower() == Split.OOD:
        return Split.OOD
    role = _named(word.lower())
    if role is None:
        raise ValueError(f"expected train, validation, test or ood as the split, got {word!r}")
    return Split.TRAIN if role == Split.TRAIN else Split.EVAL


def _hub_hint(uri: str) -> str:
    if re.fullmatch(r"[\w.-]+/[\w.-]+", uri):
        return f" (a data set of the Hugging Face Hub is hf://datasets/{uri})"
    return ""


def _dict_hint(filesystem: fs.FileSystem, path: str, root: str) -> str:
    """What to do with the folder of a `datasets.DatasetDict`."""
    with filesystem.open_input_file(f"{path.rstrip('/')}/{DATASET_DICT}") as stream:
        splits = json.loads(stream.read())["splits"]
    return (
        f"a DatasetDict with the splits {', '.join(splits)}: name the folder of one of them, as"
        f" {root}/{splits[0]}, and for held-out questions another one (tasks.eval_path)"
    )
