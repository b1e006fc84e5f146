"""MetaMathQA (Yu et al., 2309.12284): `query`, and `response` ending in "The answer is: X".

The set asks many questions again, answered in other words: these are duplicates. Queries made from
one original question are held out together.
"""

from collections.abc import Iterator

from agentark_ray.config import TasksConfig
from agentark_ray.grading.math import MATH
from agentark_ray.tasks.files import Item, file_task, text_field
from agentark_ray.tasks.formats import Record

MARK = "The answer is:"


def parse(record: Record, config: TasksConfig) -> Iterator[Item]:
    """The question of a published record."""
    del config
    text, response = text_field(record, "query"), text_field(record, "response")
    _, _, gold = response.rpartition(MARK)
    if MARK not in response or not gold.strip():
        raise ValueError(f"field 'response' must end in '{MARK} X', got {response[-60:]!r}")
    group = record.get("original_question")
    yield Item(text=text, gold=gold.strip(), group=group, solution=response)


METAMATHQA = file_task("metamathqa", MATH, parse)
