"""Questions and requests as Parquet, written by streaming tasks: nothing grows on the driver."""

import heapq
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import dataset

from agentark_ray.config import Config, stable_hash
from agentark_ray.debate.protocol import generation_hash
from agentark_ray.evaluate.perturb.change import perturb
from agentark_ray.robustness_config import cell_of
from agentark_ray.run_folder import RunFolder
from agentark_ray.tasks.base import Shard, Task, TaskError
from agentark_ray.tasks.registry import all_shards, ood_sets, read_split
from agentark_ray.tasks.window import is_windowed
from agentark_ray.tiny.path import tiny_model_path
from agentark_ray.traces.leaks import NO_LEAKS, Leaks, find_leaks
from agentark_ray.traces.schema import (
    QUESTION_SCHEMA,
    REQUEST_SCHEMA,
    STORED_QUESTION_SCHEMA,
    question_row,
    row_question,
)
from agentark_ray.traces.unique import Seen, duplicates
from agentark_ray.types import Question, Split

ROWS = 1_000  # rows in memory at once
SHOWN = 5  # files in a message


def write_questions(folder: RunFolder, config: Config) -> dict[str, int]:
    """Write questions/SPLIT.parquet for train, eval and, if the config has any, ood and ood-NAME.

    A question that comes again in a split is dropped. Training questions that are evaluation
    questions are treated as `tasks.leaks` says.

    Returns:
        The questions of each split and set, `duplicates` dropped, `other_gold` (those of them that
        came with another gold answer; the first one counts), `windowed` where contexts may be, and
        `leaks` found.

    Raises:
        TaskError: a malformed record, an id given to two questions, an empty split, leaks.
    """
    shards = all_shards(config.tasks, config.seed)
    counts: dict[str, int] = {}
    found: Counter[str] = Counter()
    splits = [split for split in Split if any(shard.split == split for _, shard in shards)]
    for split in splits:
        questions = read_split(shards, split, config.seed)
        limit = getattr(config.tasks, f"{split}_questions")
        rows = _new_rows(questions, found, limit)
        counts[split.value] = write_rows(folder, rows, STORED_QUESTION_SCHEMA, f"questions/{split}")
        if not counts[split.value] and split != Split.OOD:
            raise TaskError(f"tasks: no {split} question in {_source(config, shards)}")
        _check_unique(folder, split, counts[split.value])
    for name, (ood, limit) in ood_sets(config.evaluate.ood, config.seed).items():
        rows = _new_rows(read_split(ood, Split.OOD, config.seed), found, limit)
        counts[name] = write_rows(folder, rows, STORED_QUESTION_SCHEMA, f"questions/{name}")
        if not counts[name]:
            raise TaskError(f"evaluate.ood: no question in the set {name}")
        _check_unique(folder, name, counts[name])
        shards += ood
    apart = {task.name: task.disjoint for task, _ in shards} == {config.tasks.name: True}
    leaks = NO_LEAKS if apart else find_leaks(folder, [s for s in counts if s != Split.TRAIN])
    if leaks.ids and config.tasks.leaks == "fail":
        raise TaskError(leaks.message())
    if leaks.ids and config.tasks.leaks == "drop":
        counts["train"] = _drop(folder, leaks)
    names = ("duplicates", "other_gold", *(["windowed"] if config.tasks.context_words else []))
    return {**counts, **{name: found[name] for name in names}, "leaks": len(leaks.ids)}


def _new_rows(
    questions: Iterable[Question], found: Counter[str], limit: int | None
) -> Iterator[dict[str, Any]]:
    """Rows of the questions that did not come before, `limit` at most; counts the dropped."""
    seen = Seen()
    written = 0
    for question in questions:
        gold = question.gold or ""
        before = seen.before(question.text, gold)
        if before is None:
            found["windowed"] += is_windowed(question.text)
            yield question_row(question)
            written += 1
            if written == limit:
                break
        else:
            found.update(duplicates=1, other_gold=int(before != gold))
    seen.close()


def _drop(folder: RunFolder, leaks: Leaks) -> int:
    """Training questions without the leaking ones; returns how many are left."""
    dropped = frozenset(leaks.ids)
    rows = (
        row for row in stored_questions(folder, Split.TRAIN) if row["question_id"] not in dropped
    )
    count = write_rows(folder, rows, STORED_QUESTION_SCHEMA, "questions/train")
    if not count:
        raise TaskError(f"{leaks.message()}; but nothing else is there to train on")
    return count


def _source(config: Config, shards: Sequence[tuple[Task, Shard]]) -> str:
    paths = {shard.path for _, shard in shards if shard.path}
    where = ", ".join(sorted(paths)[:SHOWN]) + (" ..." if len(paths) > SHOWN else "")
    return (
        f"{where or config.tasks.name} (tasks.eval_fraction={config.tasks.eval_fraction},"
        f" tasks.eval_path={config.tasks.eval_path})"
    )


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


def _check_unique(folder: RunFolder, split: str, total: int) -> None:
    """No id twice in a split: possible only where records bring their own."""
    for question_id, first, second in duplicates(lambda: _texts(folder, split), total):
        raise TaskError(
            f"tasks: the id {question_id!r} stands for two {split} questions:"
            f" {first!r} and {second!r}"
        )


def _texts(folder: RunFolder, split: str) -> Iterator[tuple[str, str]]:
    for row in stored_questions(folder, split, ["question_id", "question"]):
        yield row["question_id"], row["question"][:120]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Debates of one arm to hold over a split."""

    arm: str
    # main, latency (alone on an idle engine), or one of robustness_config.row_kind and ood_kind
    kind: str = "main"
    limit: int | None = None  # first questions only
    samples: int = 1  # debates on a question, as replicas
    questions: str | None = None  # a file of questions/ that is not the split's


def write_requests(
    folder: RunFolder, config: Config, model: str, split: Split, plans: Sequence[Plan], name: str
) -> int:
    """Write requests/`name`.parquet: plans take turns question by question, latency probes last.

    A changed question is left out where the change cannot be made.
    """
    late = [plan for plan in plans if plan.kind == "latency"]
    first = [plan for plan in plans if plan not in late]
    rows = itertools.chain(
        heapq.merge(*(_requests(folder, config, model, split, plan) for plan in first), key=_index),
        *(_requests(folder, config, model, split, plan) for plan in late),
    )
    return write_rows(folder, (row for _, row in rows), REQUEST_SCHEMA, f"requests/{name}")


def _index(item: tuple[int, dict[str, Any]]) -> int:
    return item[0]


def _requests(
    folder: RunFolder, config: Config, model: str, split: Split, plan: Plan
) -> Iterator[tuple[int, dict[str, Any]]]:
    config_hash = generation_hash(config, known_as(folder, model), plan.arm)
    cell = cell_of(plan.kind)
    rows = stored_questions(folder, plan.questions or split)
    for index, row in enumerate(itertools.islice(rows, plan.limit)):
        asked = perturb(row_question(row), *cell, config.seed) if cell else None
        if cell is None or asked is not None:
            own = question_row(asked) if asked else row
            for replica in range(plan.samples):
                yield index, request_row(own, config_hash, plan.arm, plan.kind, replica)


def known_as(folder: RunFolder, model: str) -> str:
    """What the ids of debates call a resolved model: its place must not matter where it can move.

    The tiny model is in the package and a student in the run folder; both may be copied elsewhere,
    and what was answered there is still theirs.
    """
    if model == str(tiny_model_path()):
        return "tiny"
    return model.removeprefix(f"{folder.uri}/")


def request_row(
    question: Mapping[str, Any], config_hash: str, arm: str, kind: str = "main", replica: int = 0
) -> dict[str, Any]:
    """A row of REQUEST_SCHEMA for a row that has QUESTION_SCHEMA's columns."""
    asked = {name: question[name] for name in QUESTION_SCHEMA.names}
    key = [asked["question_id"], asked["split"], config_hash, arm, kind, replica]
    return {
        "debate_id": stable_hash(key),
        "config_hash": config_hash,
        "arm": arm,
        "kind": kind,
        "replica": replica,
        **asked,
    }


def stored_questions(
    folder: RunFolder, split: str, columns: list[str] | None = None
) -> Iterator[dict[str, Any]]:
    """The rows of questions/`split`.parquet, in order."""
    source = dataset.dataset(
        folder.inner("questions", f"{split}.parquet"), filesystem=folder.filesystem
    )
    for batch in source.to_batches(columns=columns):
        yield from batch.to_pylist()
