"""Questions and requests as Parquet, written by streaming tasks: nothing grows on the driver."""

import heapq
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import dataset

from agentark_ray.config import Config, stable_hash
from agentark_ray.debate.protocol import generation_hash
from agentark_ray.run_folder import RunFolder
from agentark_ray.tasks.base import TaskError
from agentark_ray.tasks.registry import TASKS
from agentark_ray.traces.schema import QUESTION_SCHEMA, REQUEST_SCHEMA, question_row
from agentark_ray.traces.unique import duplicates
from agentark_ray.types import Split

ROWS = 1_000  # rows in memory at once


def write_questions(folder: RunFolder, config: Config) -> dict[str, int]:
    """Write questions/train.parquet and questions/eval.parquet; returns their numbers.

    Raises:
        TaskError: a malformed line, a question twice (in a split or in both), an empty split.
    """
    task = TASKS[config.tasks.name]
    shards = task.shards(config.tasks, config.seed)
    limits = {Split.TRAIN: config.tasks.train_questions, Split.EVAL: config.tasks.eval_questions}
    counts = {}
    for split, limit in limits.items():
        questions = itertools.chain.from_iterable(
            task.read(shard) for shard in shards if shard.split == split
        )
        rows = (question_row(question) for question in itertools.islice(questions, limit))
        counts[split.value] = write_rows(folder, rows, QUESTION_SCHEMA, f"questions/{split}")
        if not counts[split.value]:
            raise TaskError(
                f"tasks: no {split} question in {_source(config, shards)}"
                f" (tasks.eval_fraction={config.tasks.eval_fraction},"
                f" tasks.eval_path={config.tasks.eval_path})"
            )
    _check_unique(folder, sum(counts.values()))
    return counts


def _source(config: Config, shards: Sequence[Any]) -> str:
    return ", ".join(sorted({shard.path for shard in shards if shard.path})) or config.tasks.name


def write_rows(
    folder: RunFolder, rows: Iterable[dict[str, Any]], schema: pa.Schema, name: str
) -> int:
    """Stream rows into one Parquet file `name`.parquet; returns their number."""
    target = folder.inner(f"{name}.parquet")
    folder.filesystem.create_dir(target.rsplit("/", 1)[0])
    count = 0
    with pq.ParquetWriter(
        target + ".tmp", schema, filesystem=folder.filesystem, compression="zstd"
    ) as writer:
        iterator = iter(rows)
        while chunk := list(itertools.islice(iterator, ROWS)):
            writer.write_table(pa.Table.from_pylist(chunk, schema=schema))
            count += len(chunk)
    folder.filesystem.move(target + ".tmp", target)
    return count


def _check_unique(folder: RunFolder, total: int) -> None:
    """No question twice, within a split or across."""
    for question_id, first, second in duplicates(lambda: _ids(folder), total):
        raise TaskError(_duplicate(folder, question_id, first, second))


def _ids(folder: RunFolder) -> Iterator[tuple[str, str]]:
    for split in (Split.TRAIN, Split.EVAL):
        source = dataset.dataset(
            folder.inner("questions", f"{split}.parquet"), filesystem=folder.filesystem
        )
        for batch in source.to_batches(columns=["question_id", "split"]):
            yield from zip(
                batch["question_id"].to_pylist(), batch["split"].to_pylist(), strict=True
            )


def _duplicate(folder: RunFolder, question_id: str, first: str, second: str) -> str:
    source = dataset.dataset(
        folder.inner("questions", f"{second}.parquet"), filesystem=folder.filesystem
    )
    found = source.head(1, filter=dataset.field("question_id") == question_id).to_pylist()
    where = f"twice in {first}" if first == second else f"in {first} and in {second}"
    return f"tasks: duplicate question id {question_id} ({where}): {found[0]['question'][:120]!r}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Debates of one arm to hold over a split."""

    arm: str
    kind: str = "main"  # or latency: alone on an idle engine
    limit: int | None = None  # first questions only


def write_requests(
    folder: RunFolder, config: Config, model: str, split: Split, plans: Sequence[Plan], name: str
) -> int:
    """Write requests/`name`.parquet: arms take turns question by question, latency probes last."""
    main = [plan for plan in plans if plan.kind == "main"]
    rows = itertools.chain(
        heapq.merge(*(_requests(folder, config, model, split, plan) for plan in main), key=_index),
        *(_requests(folder, config, model, split, plan) for plan in plans if plan not in main),
    )
    return write_rows(folder, (row for _, row in rows), REQUEST_SCHEMA, f"requests/{name}")


def _index(item: tuple[int, dict[str, Any]]) -> int:
    return item[0]


def _requests(
    folder: RunFolder, config: Config, model: str, split: Split, plan: Plan
) -> Iterator[tuple[int, dict[str, Any]]]:
    config_hash = generation_hash(config, model, plan.arm)
    for index, row in enumerate(itertools.islice(_questions(folder, split), plan.limit)):
        key = [row["question_id"], split.value, config_hash, plan.arm, plan.kind, 0]
        yield (
            index,
            {
                "debate_id": stable_hash(key),
                "config_hash": config_hash,
                "arm": plan.arm,
                "kind": plan.kind,
                "replica": 0,
                **row,
            },
        )


def _questions(folder: RunFolder, split: Split) -> Iterator[dict[str, Any]]:
    source = dataset.dataset(
        folder.inner("questions", f"{split}.parquet"), filesystem=folder.filesystem
    )
    for batch in source.to_batches():
        yield from batch.to_pylist()
