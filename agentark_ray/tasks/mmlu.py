"""MMLU (Hendrycks et al., 2009.03300): `question`, `choices`, and `answer` as an index or a letter.

The authors' CSV files have no header: question, four options, letter. MMLU-Pro (2406.01574) calls
its up to ten choices `options`.
"""

from collections.abc import Iterator

from agentark_ray.config import TasksConfig
from agentark_ray.grading.choice import CHOICE
from agentark_ray.tasks.files import Item, file_task, text_field
from agentark_ray.tasks.formats import Record
from agentark_ray.tasks.text import LETTERS, letter_of, with_options

CSV_COLUMNS = ("question", "A", "B", "C", "D", "answer")


def parse(record: Record, config: TasksConfig) -> Iterator[Item]:
    """The question of a published record."""
    del config
    if isinstance(record.get("train"), dict):  # auxiliary_train on the Hugging Face Hub
        record = record["train"]
    question, options = text_field(record, "question"), _options(record)
    yield Item(text=with_options(question, options), gold=_letter(record["answer"], options))


def _options(record: Record) -> list[str]:
    if "A" in record:
        return [record[letter] for letter in "ABCD"]
    name = "choices" if "choices" in record or "options" not in record else "options"
    options = record[name]
    if not isinstance(options, list) or not all(isinstance(option, str) for option in options):
        raise ValueError(f"field {name!r} must be a list of texts, got {options!r}")
    return options


def _letter(answer: object, options: list[str]) -> str:
    if isinstance(answer, str):
        letter = answer.strip().upper()
        if letter.isdecimal():
            return letter_of(int(letter), options)
        if len(letter) != 1 or letter not in LETTERS[: len(options)]:
            raise ValueError(
                f"field 'answer' must be a letter up to {LETTERS[len(options) - 1]}"
                f" or an index, got {answer!r}"
            )
        return letter
    return letter_of(answer, options)


MMLU = file_task("mmlu", CHOICE, parse, columns=CSV_COLUMNS)
