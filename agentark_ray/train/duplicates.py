"""Training questions that are all but the same, on Ray Data: MinHash bands, one shuffle.

Two questions are one if they have the same numbers and signs of arithmetic in the same order, the
same right answer and document, if there is one, and words that are alike (tasks/leaks.py says what
is compared). Word problems made from one template differ in their numbers and stay. Of questions
that are one the one with a right consensus stays, the least id where equal.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray
from pyarrow import dataset

from agentark_ray.label_rows import labelled_dataset
from agentark_ray.run_folder import RunFolder
from agentark_ray.session import TASK_RETRIES
from agentark_ray.similar import band_keys, jaccard, shingles
from agentark_ray.tasks.leaks import Asked, print_of
from agentark_ray.types import Verdict

COLUMNS = ["debate_id", "question_id", "question", "task", "gold", "verdict"]
ONE_TASK = 10_000  # traces that one task compares faster than a shuffle starts
QUESTIONS_A_TASK = 1_024
QUESTIONS_A_PARTITION = 20_000

DUPLICATE_SCHEMA = pa.schema([("question_id", pa.string()), ("same_as", pa.string())])


def write_duplicates(folder: RunFolder, out: str, threshold: float, labels: str | None) -> None:
    """Write every training question that another one stands for to the folder `out` of the run.

    What is right is said by the version `labels`, or by the verdicts in the traces.
    """
    traces = dataset.dataset(folder.inner("traces"), filesystem=folder.filesystem, format="parquet")
    rows = traces.count_rows()
    if labels is None and rows <= ONE_TASK:
        ray.get(_in_one_task.remote(folder, out, threshold))
        return
    bands = functools.partial(band_rows, threshold=threshold)
    found = (
        labelled_dataset(folder, "traces", labels, COLUMNS)
        .map_batches(bands, batch_size=QUESTIONS_A_TASK, batch_format="pyarrow")
        .repartition(-(-rows // QUESTIONS_A_PARTITION), keys=["key"])
        .map_batches(
            functools.partial(alike_rows, threshold=threshold),
            batch_size=None,  # a whole partition: all rows of its keys
            batch_format="pyarrow",
        )
    )
    found.write_parquet(folder.path(out), compression="zstd")


@ray.remote(num_cpus=1, max_retries=TASK_RETRIES)
def _in_one_task(folder: RunFolder, out: str, threshold: float) -> None:
    traces = dataset.dataset(folder.inner("traces"), filesystem=folder.filesystem, format="parquet")
    found = alike_rows(band_rows(traces.to_table(columns=COLUMNS), threshold), threshold)
    folder.filesystem.create_dir(folder.inner(out))
    dataset.write_dataset(found, folder.inner(out), filesystem=folder.filesystem, format="parquet")


def band_rows(block: pa.Table, threshold: float) -> pa.Table:
    """COLUMNS -> a row for every band of a question, with all that is needed to compare it."""
    rows = block.to_pylist()
    prints = [print_of(Asked(row["question_id"], row["question"], row["gold"])) for row in rows]
    sets = [shingles(found.tokens) for found in prints]
    salts = [
        (row["task"], found.gold, found.signature, found.context)
        for row, found in zip(rows, prints, strict=True)
    ]
    keys_N = list(band_keys(sets, threshold, salts))
    table = pa.table(
        {
            "question_id": block["question_id"],
            "wrong": pa.array([row["verdict"] != Verdict.CORRECT for row in rows], pa.bool_()),
            "words": pa.array([" ".join(found.tokens) for found in prints], pa.string()),
        }
    )
    index = pa.array([i for i, keys in enumerate(keys_N) for _ in keys], pa.int64())
    key = pa.array([key for keys in keys_N for key in keys], pa.int64())
    return table.take(index).append_column("key", key)


def alike_rows(block: pa.Table, threshold: float) -> pa.Table:
    """Rows of `band_rows` that hold all rows of each of their keys -> DUPLICATE_SCHEMA."""
    keys = block["key"].to_numpy()
    values, counts = np.unique(keys, return_counts=True)
    several = np.isin(keys, values[counts > 1])
    candidates = block.filter(pa.array(several)).sort_by(
        [("key", "ascending"), ("wrong", "ascending"), ("question_id", "ascending")]
    )
    pairs = dict(_alike(candidates.to_pylist(), threshold))
    return pa.table([list(pairs), list(pairs.values())], schema=DUPLICATE_SCHEMA)


def _alike(rows: Sequence[dict[str, Any]], threshold: float) -> Iterator[tuple[str, str]]:
    """(question, the one that stands for it) in rows sorted by key, the best first.

    A question is compared with those of its key that stand for themselves.
    """
    key = None
    kept: list[tuple[str, frozenset[str]]] = []
    for row in rows:
        if row["key"] != key:
            key, kept = row["key"], []
        question_id, said = row["question_id"], shingles(row["words"].split(" "))
        same = next((id_ for id_, other in kept if jaccard(said, other) >= threshold), None)
        if same is None:
            kept.append((question_id, said))
        elif same != question_id:  # else another debate on the same question
            yield question_id, same


def duplicates_among(folder: RunFolder, out: str, question_ids: Sequence[str]) -> set[str]:
    """Which of these questions another one stands for. Streams what `write_duplicates` wrote."""
    if not folder.exists(out):  # not asked for
        return set()
    found = dataset.dataset(
        folder.inner(out),
        schema=DUPLICATE_SCHEMA,
        filesystem=folder.filesystem,
        format="parquet",
    )
    wanted = pc.field("question_id").isin(pa.array(question_ids, pa.string()))
    return set(found.to_table(columns=["question_id"], filter=wanted)["question_id"].to_pylist())
