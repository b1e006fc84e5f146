"""Looks for evaluation questions among the training questions of a run, in tasks of the cluster."""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow.parquet as pq
import ray
from pyarrow import dataset

from agentark_ray.run_folder import RunFolder
from agentark_ray.session import TASK_RETRIES
from agentark_ray.tasks.leaks import Asked, EvalIndex, Leak
from agentark_ray.types import Split

GROUPS_A_TASK = 20  # row groups, of 1,000 questions: fewer are not worth another index
SHOWN = 5  # of the worst leaks
CHARS = 100  # of a question in a message
COLUMNS = ["question_id", "question", "gold"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaks:
    """What was found."""

    exact: int
    near: int
    worst: Sequence[Leak]  # SHOWN at most, the most similar first
    ids: Sequence[str]  # of all training questions that are evaluation questions

    def message(self) -> str:
        """What a user has to know to mend it."""
        lines = [
            f"\n  {leak.similarity:.2f}  train     {_short(leak.train)}"
            f"\n        held out  {_short(leak.evaluation)}"
            for leak in self.worst
        ]
        return (
            f"tasks: {len(self.ids):,} training questions are evaluation questions"
            f" ({self.exact:,} word for word, {self.near:,} nearly). The closest:{''.join(lines)}\n"
            "tasks.leaks=drop leaves them out of training, tasks.leaks=allow keeps them"
        )


NO_LEAKS = Leaks(exact=0, near=0, worst=(), ids=())


def find_leaks(folder: RunFolder, evaluation: Sequence[str]) -> Leaks:
    """Compare questions/train.parquet with the questions of the evaluation splits and sets.

    Every task of the cluster indexes the evaluation questions and streams a part of the others.
    """
    with folder.filesystem.open_input_file(_file(folder, Split.TRAIN)) as stream:
        groups = pq.ParquetFile(stream).num_row_groups
    tasks = -(-groups // GROUPS_A_TASK)
    if tasks <= 1:
        return _leaks_among(folder, evaluation, range(groups))
    tasks = min(tasks, max(1, int(ray.cluster_resources().get("CPU", 1))))
    search = ray.remote(num_cpus=1, max_retries=TASK_RETRIES)(_leaks_among)
    parts = [range(start, groups, tasks) for start in range(tasks)]
    return _joined(ray.get([search.remote(folder, evaluation, part) for part in parts]))


def _leaks_among(folder: RunFolder, evaluation: Sequence[str], groups: range) -> Leaks:
    index = EvalIndex(question for split in evaluation for question in _asked(folder, split))
    exact, worst, ids = 0, [], []
    with folder.filesystem.open_input_file(_file(folder, Split.TRAIN)) as stream:
        file = pq.ParquetFile(stream)
        for group in groups:
            rows = file.read_row_group(group, columns=COLUMNS).to_pylist()
            found = index.leaks([_of_row(row) for row in rows])
            ids += [leak.train.question_id for leak in found]
            exact += sum(leak.similarity == 1 for leak in found)
            worst = heapq.nlargest(SHOWN, [*worst, *found], key=_similarity)
    return Leaks(exact=exact, near=len(ids) - exact, worst=worst, ids=ids)


def _joined(parts: Sequence[Leaks]) -> Leaks:
    return Leaks(
        exact=sum(part.exact for part in parts),
        near=sum(part.near for part in parts),
        worst=heapq.nlargest(SHOWN, [x for part in parts for x in part.worst], key=_similarity),
        ids=[question_id for part in parts for question_id in part.ids],
    )


def _similarity(leak: Leak) -> float:
    return leak.similarity


def _asked(folder: RunFolder, split: str) -> Iterator[Asked]:
    source = dataset.dataset(_file(folder, split), filesystem=folder.filesystem)
    for batch in source.to_batches(columns=COLUMNS):
        yield from map(_of_row, batch.to_pylist())


def _of_row(row: dict[str, Any]) -> Asked:
    return Asked(row["question_id"], row["question"], row["gold"])


def _file(folder: RunFolder, split: str) -> str:
    return folder.inner("questions", f"{split}.parquet")


def _short(question: Asked) -> str:
    text = " ".join(question.text.split())
    shown = text if len(text) <= CHARS else f"{text[: CHARS // 2]} ... {text[-CHARS // 2 :]}"
    return f"{question.question_id}: {shown}"
