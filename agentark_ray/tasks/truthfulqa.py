"""TruthfulQA (Lin et al., 2109.07958) as multiple choice: one true answer among false ones (MC1).

Read are the authors' CSV (the best answer against the incorrect ones), their mc_task.json, and both
configurations of the Hugging Face Hub. The options are shuffled by a hash of the question: always
in the same order, with the true one anywhere. Of more than ten the last false ones are left out.
"""

import random
from collections.abc import Iterator

from agentark_ray.config import TasksConfig
from agentark_ray.grading.choice import CHOICE
from agentark_ray.tasks.base import content_id
from agentark_ray.tasks.files import Item, file_task, text_field
from agentark_ray.tasks.formats import Record
from agentark_ray.tasks.text import LETTERS, letter_of, with_options

NAME = "truthfulqa"


def parse(record: Record, config: TasksConfig) -> Iterator[Item]:
    """The question of a published record."""
    del config
    question = text_field(record, "Question", "question")
    right, wrong = _answers(record)
    options = list(dict.fromkeys([right, *wrong]))[: len(LETTERS)]
    random.Random(content_id(NAME, question)).shuffle(options)
    gold = letter_of(options.index(right), options)
    yield Item(text=with_options(question, options), gold=gold)


def _answers(record: Record) -> tuple[str, list[str]]:
    """The true answer and the false ones."""
    if "mc1_targets" in record:
        return _targets(record["mc1_targets"])
    wrong = record["Incorrect Answers"] if "Question" in record else record["incorrect_answers"]
    if isinstance(wrong, str):
        wrong = wrong.split(";")
    if not isinstance(wrong, list) or not all(isinstance(answer, str) for answer in wrong):
        raise ValueError(f"the incorrect answers must be texts, got {wrong!r}")
    kept = [answer.strip() for answer in wrong if answer.strip()]
    return text_field(record, "Best Answer", "best_answer"), kept


def _targets(targets: object) -> tuple[str, list[str]]:
    if isinstance(targets, dict) and targets.keys() == {"choices", "labels"}:
        targets = dict(zip(targets["choices"], targets["labels"], strict=True))
    if not isinstance(targets, dict) or sorted(targets.values(), reverse=True)[:2] != [1, 0]:
        raise ValueError(f"field 'mc1_targets' must have one answer labelled 1, got {targets!r}")
    right = next(answer for answer, label in targets.items() if label == 1)
    return right, [answer for answer in targets if answer != right]


TRUTHFULQA = file_task(NAME, CHOICE, parse)
