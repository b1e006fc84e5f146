"""Any records: `tasks.columns` says which of their fields is what, `tasks.grader` how to grade.

The task of such a question is `custom/GRADER`, so that a trace can be graded again without the
config it is from.
"""

from collections.abc import Iterator, Sequence
from functools import partial

from agentark_ray.config import TasksConfig
from agentark_ray.grading.base import Grader
from agentark_ray.tasks.base import Shard, Task
from agentark_ray.tasks.files import (
    TEST,
    VALIDATION,
    Item,
    file_shards,
    ood_shards,
    read_questions,
    split_of,
)
from agentark_ray.tasks.formats import Record
from agentark_ray.tasks.text import LETTERS, letter_of, with_context, with_options
from agentark_ray.tasks.window import context_of
from agentark_ray.types import Split

HELD_OUT = (TEST, VALIDATION)


def custom_task(grader: Grader) -> Task:
    """The custom task of a grader."""
    name = f"custom/{grader.name}"
    return Task(
        name=name,
        grader=grader,
        shards=partial(_shards, name),
        ood=_ood,
        read=partial(read_questions, name, partial(parse, grader), None),
    )


def _shards(name: str, config: TasksConfig, seed: int) -> Sequence[Shard]:
    """Shards as of any files; with a split column every file is read for every split."""
    found = file_shards(name, HELD_OUT, config, seed)
    if config.columns.split is None:
        return found
    paths = dict.fromkeys(shard.path for shard in found)
    return [Shard(split=split, path=path, config=config) for split in Split for path in paths]


def _ood(config: TasksConfig, seed: int) -> Sequence[Shard]:
    """All of `tasks.ood_path`, whatever splits its records name."""
    columns = config.columns.model_copy(update={"split": None})
    return ood_shards(HELD_OUT, config.model_copy(update={"columns": columns}), seed)


def parse(grader: Grader, record: Record, config: TasksConfig) -> Iterator[Item]:
    """The question of a record.

    Raises:
        KeyError: a column is missing.
        ValueError: a value is not of the kind its column must have.
    """
    columns = config.columns
    text = question = _text(record, columns.text)
    options = _options(record, columns.options)
    if options:
        text = with_options(question, list(options.values()))
    if columns.context is not None:
        paragraphs = _texts(record, columns.context)
        text = with_context(context_of(paragraphs, question, config), text)
    right = _right(record, columns.gold, options, grader)
    right += _right(record, columns.aliases, options, grader)
    gold, *aliases = dict.fromkeys(right) if right else [None]
    yield Item(
        text=text,
        gold=gold,
        aliases=tuple(alias for alias in aliases if alias is not None),
        group=_optional(record, columns.group),
        question_id=_optional(record, columns.id),
        split=None if columns.split is None else split_of(_text(record, columns.split)),
    )


def _at(record: Record, column: str) -> object:
    """The value of `a.b`: of field b of field a, unless a field is called so."""
    if column in record or "." not in column:
        return record[column]
    outer, _, inner = column.partition(".")
    value = record[outer]
    if not isinstance(value, dict):
        raise ValueError(f"column {column!r}: field {outer!r} must have fields, got {value!r}")
    return _at(value, inner)


def _text(record: Record, column: str) -> str:
    value = _plain(_at(record, column))
    if not value:
        raise ValueError(f"column {column!r} must be text, got {_at(record, column)!r}")
    return value


def _optional(record: Record, column: str | None) -> str | None:
    return None if column is None else _text(record, column)


def _texts(record: Record, column: str) -> list[str]:
    """A text or a list of texts; none for null."""
    value = _at(record, column)
    if value is None:
        return []
    values = value if isinstance(value, list) else [value]
    texts = [_plain(value) for value in values]
    if None in texts:
        raise ValueError(f"column {column!r} must be text or a list of texts, got {value!r}")
    return [text for text in texts if text]


def _plain(value: object) -> str | None:
    """A scalar as text, stripped; None for anything else."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # a table with a missing value holds its integers as floats
    return str(value).strip() if isinstance(value, str | int | float) else None


def _options(record: Record, column: str | Sequence[str] | None) -> dict[str, str]:
    """The options by their labels in the record: letters, or what the record calls them."""
    if column is None:
        return {}
    if not isinstance(column, str):
        return dict(zip(LETTERS, (_text(record, name) for name in column), strict=False))
    value = _at(record, column)
    if isinstance(value, dict) and value.keys() == {"label", "text"}:  # as ARC has it
        value = dict(zip(value["label"], value["text"], strict=True))
    if isinstance(value, dict):
        # Parquet gives every record all keys that any record has.
        labelled = {str(label): text for label, text in value.items() if text is not None}
    elif isinstance(value, list):
        labelled = dict(zip(LETTERS, value, strict=False))
    else:
        raise ValueError(f"column {column!r} must be a list or a mapping, got {value!r}")
    texts = {label: _plain(text) for label, text in labelled.items()}
    if None in texts.values():
        raise ValueError(f"column {column!r} must hold texts, got {value!r}")
    return {label: text or "" for label, text in texts.items()}


def _right(
    record: Record, column: str | None, options: dict[str, str], grader: Grader
) -> list[str]:
    """The right answers in a column, as `grader` extracts them."""
    if column is None or (value := _at(record, column)) is None:
        return []
    if options:
        values = value if isinstance(value, list) else [value]
        return [_letter(value, options, column) for value in values]
    return [_extracted(text, grader, column) for text in _texts(record, column)]


def _letter(value: object, options: dict[str, str], column: str) -> str:
    """The letter of the right option, given as an index from 0, a label or the option's text."""
    labels, texts = list(options), list(options.values())
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int):
        return letter_of(value, labels)
    name = _plain(value)
    found = {i for i, label in enumerate(labels) if label == name}
    found |= {i for i, text in enumerate(texts) if text == name}
    if not found and name is not None and name.isdecimal():
        return letter_of(int(name), labels)
    if len(found) != 1:
        how = "stands for several" if found else "is none"
        raise ValueError(f"column {column!r}: {value!r} {how} of the options {options}")
    return LETTERS[found.pop()]


def _extracted(text: str, grader: Grader, column: str) -> str:
    """A gold answer in the form the grader compares: out of a whole solution where it is one."""
    if grader.name in ("short", "summary") or (grader.name == "math" and not _solution(text)):
        return text
    answer = grader.extract(text)
    if answer is None:
        raise ValueError(f"column {column!r}: the grader {grader.name} finds no answer in {text!r}")
    return answer


def _solution(text: str) -> bool:
    return "\\boxed" in text or "####" in text or "answer is" in text
