"""Every task by name, and the questions that a config asks for. A new task is a file and a line."""

import random
from collections.abc import Iterator, Mapping, Sequence

from agentark_ray.config import TasksConfig
from agentark_ray.grading.registry import GRADERS
from agentark_ray.robustness_config import OodConfig
from agentark_ray.tasks.aqua import AQUA
from agentark_ray.tasks.arithmetic import ARITHMETIC
from agentark_ray.tasks.base import Shard, Task, TaskError
from agentark_ray.tasks.custom import custom_task
from agentark_ray.tasks.gsm8k import GSM8K
from agentark_ray.tasks.hendrycks_math import MATH
from agentark_ray.tasks.hotpotqa import HOTPOTQA
from agentark_ray.tasks.medmcqa import MEDMCQA
from agentark_ray.tasks.metamathqa import METAMATHQA
from agentark_ray.tasks.mmlu import MMLU
from agentark_ray.tasks.qasper import QASPER
from agentark_ray.tasks.qmsum import QMSUM
from agentark_ray.tasks.truthfulqa import TRUTHFULQA
from agentark_ray.types import Question, Split

AT_ONCE = 64  # files of a split that take turns

_NAMED = (
    *(ARITHMETIC, GSM8K, MATH, METAMATHQA),
    *(AQUA, MEDMCQA, MMLU, TRUTHFULQA),
    *(HOTPOTQA, QASPER, QMSUM),
)
TASKS: dict[str, Task] = {
    task.name: task for task in (*_NAMED, *(custom_task(grader) for grader in GRADERS.values()))
}


def find_task(config: TasksConfig, name: str | None = None) -> Task:
    """The task of a config, or the one it knows under another name."""
    name = name or config.name
    return TASKS[f"custom/{config.grader}" if name == "custom" else name]


def all_shards(config: TasksConfig, seed: int) -> list[tuple[Task, Shard]]:
    """Every shard of every split, with the task that reads it.

    Raises:
        TaskError: a path is missing from the config or does not exist.
    """
    task = find_task(config)
    found = [(task, shard) for shard in task.shards(config, seed)]
    if config.ood_name or config.ood_path:
        other = find_task(config, config.ood_name)
        found += [(other, shard) for shard in other.ood(config, seed)]
    return found


Shards = list[tuple[Task, Shard]]


def ood_sets(sets: Mapping[str, OodConfig], seed: int) -> dict[str, tuple[Shards, int | None]]:
    """`ood-NAME` -> (its shards, how many questions at most) of the sets of `evaluate.ood`.

    Raises:
        TaskError: a path does not exist.
    """
    found: dict[str, tuple[Shards, int | None]] = {}
    for name, of in sets.items():
        common = of.model_dump(include={"grader", "columns", "context", "context_words"})
        config = TasksConfig.model_validate(
            {
                **common,
                "name": of.task,
                "ood_name": of.task,
                "ood_path": of.path,
                "ood_questions": of.questions,
            }
        )
        task = find_task(config)
        try:
            shards: Shards = [(task, shard) for shard in task.ood(config, seed)]
        except TaskError as error:
            key = f"evaluate.ood.{name}.path"
            raise TaskError(str(error).replace("tasks.ood_path", key)) from None
        found[f"ood-{name}"] = shards, of.questions
    return found


def read_split(shards: Sequence[tuple[Task, Shard]], split: Split, seed: int) -> Iterator[Question]:
    """The questions of a split. Files take turns, so that the first questions are from all."""
    waiting = [(task, shard) for task, shard in shards if shard.split == split]
    if len(waiting) > AT_ONCE:
        random.Random(seed).shuffle(waiting)
    waiting.reverse()
    reading: list[Iterator[Question]] = []
    while waiting or reading:
        while waiting and len(reading) < AT_ONCE:
            task, shard = waiting.pop()
            reading.append(task.read(shard))
        for questions in list(reading):
            question = next(questions, None)
            if question is None:
                reading.remove(questions)
            else:
                yield question
