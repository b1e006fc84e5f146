"""AQuA-RAT (Ling et al., 1705.04146): `question`, `options` as "A)...", the letter `correct`."""

import re
from collections.abc import Iterator

from agentark_ray.config import TasksConfig
from agentark_ray.grading.choice import CHOICE
from agentark_ray.tasks.files import Item, file_task, own_text, text_field
from agentark_ray.tasks.formats import Record
from agentark_ray.tasks.text import LETTERS, with_options

_LABEL = re.compile(r"\s*\(?([A-Za-z])\s*\)\s*")


def parse(record: Record, config: TasksConfig) -> Iterator[Item]:
    """The question of a published record."""
    del config
    question, options = text_field(record, "question"), record["options"]
    if not isinstance(options, list) or not all(isinstance(option, str) for option in options):
        raise ValueError(f"field 'options' must be a list of texts, got {options!r}")
    letter = text_field(record, "correct").upper()
    if len(letter) != 1 or letter not in LETTERS[: len(options)]:
        raise ValueError(f"field 'correct' must be a letter of {len(options)} options: {letter!r}")
    labelled = zip(LETTERS, options, strict=False)
    texts = [_unlabelled(option, label) for label, option in labelled]
    solution = own_text(record, "rationale")
    yield Item(text=with_options(question, texts), gold=letter, solution=solution)


def _unlabelled(option: str, letter: str) -> str:
    """An option without its own label, which must be the letter of its place."""
    label = _LABEL.match(option)
    if label and label[1].upper() != letter:
        raise ValueError(f"option {option!r} is where {letter!r} is expected")
    return option[label.end() :] if label else option


AQUA = file_task("aqua", CHOICE, parse)
