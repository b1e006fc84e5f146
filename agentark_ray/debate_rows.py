"""Rows of stored debates (trace schema), read light and counted alike by traces/ and evaluate/.

Only the leaves that are asked for leave the disk: a row costs bytes, however long its debate was.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow.parquet as pq
from pyarrow import dataset

from agentark_ray.types import SOLVERS, Role, Verdict

BATCH_ROWS = 1_000
Row = Mapping[str, Any]


def vote_leaves(*names: str) -> tuple[str, ...]:
    """Columns of leaves of a vote."""
    return tuple(f"votes.list.element.{name}" for name in names)


def turn_leaves(*names: str) -> tuple[str, ...]:
    """Columns of leaves of a turn."""
    return tuple(f"turns.list.element.{name}" for name in names)


def light_rows(
    stored: Sequence[dataset.Dataset], columns: Sequence[str], batch_rows: int = BATCH_ROWS
) -> Iterator[dict[str, Any]]:
    """Every row of Parquet datasets, with those of the leaf columns that its file has."""
    for found in stored:
        for fragment in found.get_fragments():
            with fragment.open() as source, pq.ParquetFile(source) as file:
                for batch in file.iter_batches(batch_rows, columns=list(columns)):
                    yield from batch.to_pylist()


def role(turn: Row) -> str:
    """A turn's Role; traces of schema version 1 have agents only and do not say so."""
    return turn.get("role") or Role.AGENT


def solves(turn: Row) -> bool:
    """Whether a turn is a solution, not a judgement or a summary of others."""
    return role(turn) in SOLVERS


def second_looks(row: Row) -> list[tuple[bool, bool]]:
    """(right in its first round, right in its last) of every solver with at least two turns."""
    said: dict[int, list[tuple[int, bool]]] = {}
    for turn in filter(solves, row["turns"] or ()):
        right = turn["verdict"] == Verdict.CORRECT
        said.setdefault(turn["agent"], []).append((turn["round"], right))
    return [(min(turns)[1], max(turns)[1]) for turns in said.values() if len(turns) > 1]
