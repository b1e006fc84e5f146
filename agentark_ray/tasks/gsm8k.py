"""GSM8K (Cobbe et al., 2110.14168): records with `question` and `answer` ending in `#### N`."""

import re
from collections.abc import Iterator

from agentark_ray.config import TasksConfig
from agentark_ray.grading.numeric import NUMERIC, extract_answer
from agentark_ray.tasks.files import Item, file_task, text_field
from agentark_ray.tasks.formats import Record

_CALCULATOR = re.compile(r"<<[^<>\n]*>>")  # notes for a calculator, as in 16-3=<<16-3=13>>13


def parse(record: Record, config: TasksConfig) -> Iterator[Item]:
    """The question of a published record."""
    del config
    text, answer = text_field(record, "question"), record["answer"]
    if not isinstance(answer, str) or "####" not in answer:
        raise ValueError(f"field 'answer' must be text ending in '#### N', got {answer!r}")
    reasoning, _, end = answer.rpartition("####")
    gold = extract_answer(end)
    if gold is None:
        raise ValueError(f"field 'answer' must end in '#### N', got {answer[-60:]!r}")
    yield Item(text=text, gold=gold, solution=_CALCULATOR.sub("", reasoning).strip() or None)


GSM8K = file_task("gsm8k", NUMERIC, parse)
