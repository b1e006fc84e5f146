"""Every task by name. A new one is a small file and a line here."""

from collections.abc import Iterator, Sequence

from agentark_ray.config import TasksConfig
from agentark_ray.grading.numeric import NUMERIC
from agentark_ray.tasks import arithmetic
from agentark_ray.tasks.base import Shard, Task
from agentark_ray.tasks.gsm8k import GSM8K
from agentark_ray.types import Question, Split

SHARD_SIZE = 10_000  # generated questions a shard
DEFAULT_SIZES = {Split.TRAIN: 2_000, Split.EVAL: 500}


def _arithmetic_shards(config: TasksConfig, seed: int) -> Sequence[Shard]:
    """Index ranges of both splits; a missing number of questions means DEFAULT_SIZES."""
    counts = {Split.TRAIN: config.train_questions, Split.EVAL: config.eval_questions}
    return [
        Shard(split=split, start=start, stop=min(start + SHARD_SIZE, size), seed=seed)
        for split, size in ((s, counts[s] or DEFAULT_SIZES[s]) for s in DEFAULT_SIZES)
        for start in range(0, size, SHARD_SIZE)
    ]


def _arithmetic_read(shard: Shard) -> Iterator[Question]:
    return arithmetic.questions(shard.split, shard.start, shard.stop, shard.seed)


ARITHMETIC = Task(
    name=arithmetic.TASK, grader=NUMERIC, shards=_arithmetic_shards, read=_arithmetic_read
)

TASKS: dict[str, Task] = {task.name: task for task in (ARITHMETIC, GSM8K)}
