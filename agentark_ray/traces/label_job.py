"""Traces -> labels on Ray Data: parts of about equal size, each a task that writes one label file.

A part's file appears whole or not at all and always holds the same debates, so a part that is done
twice (a retry, a task that outlives its driver) does no harm, and a job that is run again does the
parts that have no file yet. The driver sees two numbers a part.
"""

import asyncio
import functools
import hashlib
import importlib.resources
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import ray
from ray.data import DataContext

from agentark_ray.config import ConfigError
from agentark_ray.grading.base import Grader
from agentark_ray.grading.registry import GRADERS
from agentark_ray.label_rows import (
    BATCH_ROWS,
    LABEL_SCHEMA,
    PART_SCHEMA,
    PARTS,
    part_batches,
    part_file,
)
from agentark_ray.run_folder import RunFolder
from agentark_ray.session import TASK_RETRIES
from agentark_ray.tasks.registry import TASKS
from agentark_ray.traces.label import COLUMNS, failed_label, relabel
from agentark_ray.traces.requests import write_rows
from agentark_ray.traces.storage import patiently, retry_outages

PART_ROWS = 256  # debates a part
SLICES_A_GROUP = 32  # at most: a slice of a row group costs reading what is before it
THREADS = 16  # that wait for storage


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What every part's task needs to know."""

    traces: RunFolder
    store: RunFolder  # the version's folder
    grader: str | None  # a key of GRADERS; None: each task's own
    aggregate: str  # of the debates' answers, one of traces.label.VOTES

    def grader_of(self, row: Mapping[str, Any]) -> Grader:
        """Who grades a trace."""
        return GRADERS[self.grader] if self.grader else TASKS[row["task"]].grader

    def aggregate_of(self, row: Mapping[str, Any]) -> str:
        """How the answers of a trace become one: baselines vote over their last round."""
        return self.aggregate if row["arm"] == "debate" else "vote"


def write_parts(work: Work, files: Sequence[str], part_rows: int = PART_ROWS) -> int:
    """Write the list of parts; returns the number of debates.

    Raises:
        ConfigError: traces of a task without grader, or none at all.
    """
    tasks: set[str] = set()

    def groups() -> Iterator[dict[str, Any]]:
        with ThreadPoolExecutor(THREADS) as pool:
            for file, rows, found in pool.map(lambda file: _survey(work.traces, file), files):
                tasks.update(found)
                for group, count in enumerate(rows):
                    yield from _slices(file, group, count, part_rows)

    parts = _parts(groups(), part_rows)
    total = 0

    def counted() -> Iterator[dict[str, Any]]:
        nonlocal total
        for part in parts:
            total += part["rows"]
            yield part
        if unknown := tasks - TASKS.keys() if work.grader is None else set():
            raise ConfigError(
                f"{work.traces.uri}: traces of the task {', '.join(sorted(unknown))}, which is not"
                f" known ({', '.join(TASKS)}); choose a grader: --grader {'|'.join(GRADERS)}"
            )

    write_rows(work.store, counted(), PART_SCHEMA, "/".join(PARTS).removesuffix(".parquet"))
    return total


def _survey(traces: RunFolder, file: str) -> tuple[str, list[int], set[str]]:
    """(the file, rows of each row group, tasks)"""
    path = traces.inner(file)
    with traces.filesystem.open_input_file(path) as source, pq.ParquetFile(source) as found:
        metadata = found.metadata
        rows = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        return file, rows, set(found.read(columns=["task"])["task"].unique().to_pylist())


def _slices(file: str, group: int, count: int, part_rows: int) -> Iterator[dict[str, Any]]:
    step = max(part_rows, -(-count // SLICES_A_GROUP))
    for first in range(0, count, step):
        rows = min(step, count - first)
        yield {"file": file, "group": group, "first": first, "rows": rows}


def _parts(slices: Iterable[dict[str, Any]], part_rows: int) -> Iterator[dict[str, Any]]:
    """Slices in order, gathered until a further one would make more than `part_rows`."""
    number, gathered, rows = 0, [], 0
    for piece in slices:
        if gathered and rows + piece["rows"] > part_rows:
            yield {"part": number, "rows": rows, "slices": gathered}
            number, gathered, rows = number + 1, [], 0
        gathered, rows = [*gathered, piece], rows + piece["rows"]
    if gathered:
        yield {"part": number, "rows": rows, "slices": gathered}


def label_parts(work: Work) -> Iterator[Counter[str]]:
    """Do all parts that have no file yet; yields {"debates", "labels"} of parts as they end."""
    context = DataContext.get_current()
    context.enable_progress_bars = False
    retry_outages(context)
    done = (
        ray.data.read_parquet(work.store.path(*PARTS))
        .repartition(target_num_rows_per_block=1)
        .map_batches(
            functools.partial(_label_block, work=work),
            batch_size=None,
            batch_format="pyarrow",
            max_retries=TASK_RETRIES,
        )
    )
    ended: Iterable[Any] = done.iter_batches(batch_size=None, batch_format="pyarrow")
    for batch in ended:
        for counts in batch.to_pylist():
            yield Counter(counts)


def _label_block(parts: pa.Table, work: Work) -> pa.Table:
    counts = [patiently(lambda part=part: label_part(work, part)) for part in parts.to_pylist()]
    return pa.Table.from_pylist(counts, schema=COUNTS_SCHEMA)


COUNTS_SCHEMA = pa.schema([("debates", pa.int64()), ("labels", pa.int64())])


def label_part(work: Work, part: Mapping[str, Any]) -> dict[str, int]:
    """Write the labels of a part, unless they are there; its debates, and turns labelled."""
    counts = {"debates": part["rows"], "labels": 0}
    if work.store.exists(part_file(part)):
        return counts
    tables = (
        asyncio.run(_label_batch(work, batch.to_pylist()))
        for batch in part_batches(work.traces, part, COLUMNS, BATCH_ROWS)
    )
    counts["labels"] = write_part(work.store, part, tables)
    return counts


async def _label_batch(work: Work, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    labels = [await label_row(work, row) for row in rows]
    return pa.Table.from_pylist(labels, schema=LABEL_SCHEMA)


async def label_row(work: Work, row: Mapping[str, Any]) -> dict[str, Any]:
    """The label of a trace; one that a grader cannot bear has the error in it."""
    grader = work.grader_of(row)
    try:
        return await relabel(row, grader, work.aggregate_of(row))
    except Exception as error:
        return failed_label(row, f"grader:{grader.name}", error)


def write_part(store: RunFolder, part: Mapping[str, Any], tables: Iterable[pa.Table]) -> int:
    """Write a part's label file, whole or not at all; returns the number of turns in it."""
    target = store.inner(part_file(part))
    pending = f"{target}.{uuid.uuid4().hex}.tmp"
    turns = 0
    with pq.ParquetWriter(
        pending, LABEL_SCHEMA, filesystem=store.filesystem, compression="zstd"
    ) as writer:
        for table in tables:
            writer.write_table(table)
            turns += sum(len(chunk.flatten()) for chunk in table["turns"].chunks)
    store.filesystem.move(pending, target)
    return turns


def code_hash() -> str:
    """16 hex digits over the code of this package that extracts, compares and counts answers."""
    package = importlib.resources.files("agentark_ray")
    digest = hashlib.sha256()
    sources = [
        *sorted(package.joinpath("grading").iterdir(), key=lambda file: file.name),
        package / "debate" / "vote.py",
        package / "debate" / "aggregate.py",
        package / "traces" / "label.py",
    ]
    for source in sources:
        if source.name.endswith(".py"):
            digest.update(source.name.encode() + b"\0" + source.read_bytes())
    return digest.hexdigest()[:16]
