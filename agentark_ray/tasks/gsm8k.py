"""GSM8K (Cobbe et al., 2110.14168): records with `question` and `answer` ending in `#### N`."""

from collections.abc import Iterator, Sequence
from typing import Any

from agentark_ray.config import TasksConfig
from agentark_ray.grading.numeric import NUMERIC, extract_answer
from agentark_ray.tasks.base import Shard, Task, content_id
from agentark_ray.tasks.files import file_shards, read_questions
from agentark_ray.types import Question

NAME = "gsm8k"


def parse(record: dict[str, Any]) -> tuple[str, str]:
    """(question text, gold answer) of a published record."""
    text, answer = record["question"], record["answer"]
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"field 'question' must be text, got {text!r}")
    if not isinstance(answer, str) or "####" not in answer:
        raise ValueError(f"field 'answer' must be text ending in '#### N', got {answer!r}")
    gold = extract_answer(answer)
    if gold is None:
        raise ValueError(f"field 'answer' must end in '#### N', got {answer[-60:]!r}")
    return text.strip(), gold


def shards(config: TasksConfig, seed: int) -> Sequence[Shard]:
    """One shard a file and split; the seed is not used, files have their own order."""
    del seed
    return file_shards(config, NAME)


def read(shard: Shard) -> Iterator[Question]:
    """The questions of one file."""
    return read_questions(shard, NAME, lambda text: content_id(NAME, text), parse)


GSM8K = Task(name=NAME, grader=NUMERIC, shards=shards, read=read)
