"""MATH (Hendrycks et al., 2103.03874): `problem`, and `solution` with the answer in \\boxed{...}.

Read are the authors' folders of one JSON file a problem, the copies on the Hugging Face Hub, and
MATH-500 (2305.20050), whose records have the `answer` too.
"""

from collections.abc import Iterator

from agentark_ray.config import TasksConfig
from agentark_ray.grading.math import MATH as GRADER
from agentark_ray.grading.text import boxed
from agentark_ray.tasks.files import Item, file_task, own_text, text_field
from agentark_ray.tasks.formats import Record


def parse(record: Record, config: TasksConfig) -> Iterator[Item]:
    """The question of a published record."""
    del config
    text = text_field(record, "problem")
    if record.get("answer") is not None:
        gold, solution = text_field(record, "answer"), own_text(record, "solution")
        yield Item(text=text, gold=gold, solution=solution)
        return
    solution = text_field(record, "solution")
    gold = boxed(solution)
    if gold is None:
        raise ValueError(f"field 'solution' must hold \\boxed{{...}}, got {solution[-60:]!r}")
    yield Item(text=text, gold=gold, solution=solution)


MATH = file_task("math", GRADER, parse)
