"""MedMCQA (Pal et al., 2203.14371): `question`, `opa` to `opd`, and `cop`, the right option.

`cop` counts from 0 on the Hugging Face Hub and from 1 in the authors' release, which is JSON lines
with the ending .json. A file tells which by the numbers it holds: a 0 or a 4. Where it holds
neither, its format tells: .json counts from 1, all others from 0. `tasks.first_option` overrules.
The answers of the test files are not published: held out are the validation files.
"""

from collections.abc import Iterator
from functools import partial

from agentark_ray.config import TasksConfig
from agentark_ray.grading.choice import CHOICE
from agentark_ray.tasks.base import Shard, Task, TaskError
from agentark_ray.tasks.files import (
    TEST,
    VALIDATION,
    Item,
    file_shards,
    ood_shards,
    read_questions,
    text_field,
)
from agentark_ray.tasks.formats import Record, read_records
from agentark_ray.tasks.text import letter_of, with_options
from agentark_ray.types import Question

NAME = "medmcqa"
HELD_OUT = (VALIDATION, TEST)
OPTIONS = ("opa", "opb", "opc", "opd")


def parse(first: int, record: Record, config: TasksConfig) -> Iterator[Item]:
    """The question of a published record, whose `cop` counts from `first`."""
    del config
    options = [record[name] for name in OPTIONS]
    if not all(option is None or isinstance(option, str) for option in options):
        raise ValueError(f"fields {', '.join(OPTIONS)} must be texts, got {options!r}")
    right = _number(record["cop"])
    if right is None or not first <= right < first + len(OPTIONS):
        raise ValueError(
            f"field 'cop' must be a number from {first} to {first + 3}, got {record['cop']!r}"
            " (MedMCQA's test files are published without answers)"
        )
    letter = letter_of(right - first, options)
    yield Item(text=with_options(text_field(record, "question"), options), gold=letter)


def first_option(shard: Shard) -> int:
    """Which number is option A in a file: 0 or 1.

    Raises:
        TaskError: its numbers are of both kinds.
    """
    if shard.config.first_option is not None:
        return shard.config.first_option
    assert shard.path is not None
    seen = {_number(record.get("cop")) for _, record in read_records(shard.path)}
    if {0, 4} <= seen:
        raise TaskError(f"{shard.path}: field 'cop' has both 0 and 4: does it count from 0 or 1?")
    if 0 in seen or 4 in seen:
        return 0 if 0 in seen else 1
    return 1 if shard.path.endswith(".json") else 0


def _number(value: object) -> int | None:
    if isinstance(value, str) and value.strip().lstrip("-").isdecimal():
        return int(value)  # from a CSV file
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def read(shard: Shard) -> Iterator[Question]:
    """The questions of a file."""
    return read_questions(NAME, partial(parse, first_option(shard)), None, shard)


MEDMCQA = Task(
    name=NAME,
    grader=CHOICE,
    shards=partial(file_shards, NAME, HELD_OUT),
    ood=partial(ood_shards, HELD_OUT),
    read=read,
)
