"""What a task is: shards of questions that can be read independently, and a grader.

A shard is small and cheap to make (it names a file or an index range); reading it streams, so that
nothing here grows with the number of questions.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from agentark_ray.config import TasksConfig
from agentark_ray.grading.base import Grader
from agentark_ray.types import Question

ANY = TasksConfig()


class TaskError(ValueError):
    """Questions the user must mend; the message names the file and line, or the question."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """A part of a split that one worker reads."""

    split: str  # a Split
    path: str | None = None  # a file
    start: int = 0  # first index of a generated range
    stop: int = 0  # one past its last index
    held_out: bool | None = None  # by id: True only held-out questions, False only the others
    seed: int = 0
    config: TasksConfig = ANY


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A family of questions."""

    name: str
    grader: Grader
    shards: Callable[[TasksConfig, int], Sequence[Shard]]  # (config, seed) -> train and eval
    ood: Callable[[TasksConfig, int], Sequence[Shard]]  # (config, seed) -> out of distribution
    read: Callable[[Shard], Iterator[Question]]
    disjoint: bool = False  # its splits have no question in common, by construction
    # Whether a solution is still right after each step (distill/steps.py), None where it cannot be
    # told, for (question, steps): where the way to the answer is known, to check labels with.
    step_truth: Callable[[str, Sequence[str]], list[bool | None]] | None = None


def content_id(task: str, text: str) -> str:
    """The stable id of a question: 16 hex digits over its task and text."""
    return hashlib.sha256(f"{task}\0{text}".encode()).hexdigest()[:16]


def is_held_out(content: str, fraction: float) -> bool:
    """Whether a `content_id` belongs to the held-out share; nothing else decides it."""
    return int(content[:12], 16) < fraction * 16**12
