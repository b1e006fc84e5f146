"""GSM8K (Cobbe et al., 2110.14168): records with `question` and `answer` ending in `#### N`."""

from collections.abc import Iterator

from agentark_ray.config import TasksConfig
from agentark_ray.grading.numeric import NUMERIC, extract_answer
from agentark_ray.tasks.files import Item, file_task, text_field
from agentark_ray.tasks.formats import Record


def parse(record: Record, config: TasksConfig) -> Iterator[Item]:
    """The question of a published record."""
    del config
    text, answer = text_field(record, "question"), record["answer"]
    if not isinstance(answer, str) or "####" not in answer:
        raise ValueError(f"field 'answer' must be text ending in '#### N', got {answer!r}")
    gold = extract_answer(answer.rpartition("####")[2])
    if gold is None:
        raise ValueError(f"field 'answer' must end in '#### N', got {answer[-60:]!r}")
    yield Item(text=text, gold=gold)


GSM8K = file_task("gsm8k", NUMERIC, parse)
