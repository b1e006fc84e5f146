"""Rows of stored debates (trace schema), read light and counted alike by traces/ and evaluate/.

Only the leaves that are asked for leave the disk: a row costs bytes, however long its debate was.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import dataset

from agentark_ray.types import SOLVERS, Role, Verdict

BATCH_ROWS = 1_000
Row = Mapping[str, Any]
# The leading answer of a round.
VOTE = pa.struct(
    [
        ("round", pa.int32()),
        ("answer", pa.string()),
        ("count", pa.int32()),
        ("agents", pa.int32()),
        ("verdict", pa.string()),
    ]
)


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


class PathClass(StrEnum):
    """How a solver came from its first verdict to its last. Who spoke once did not change.

    An unparsable answer is wrong. Where the grader gave up, or there was nothing to grade with,
    at either end, the path is undecided: nothing is known, and no rate may count it.
    """

    KEPT_RIGHT = "kept_right"
    CORRECTED = "corrected"  # wrong, then right
    CORRUPTED = "corrupted"  # right, then wrong
    STAYED_WRONG = "stayed_wrong"
    UNDECIDED = "undecided"


_RIGHT: dict[str | None, bool] = {
    Verdict.CORRECT: True,
    Verdict.INCORRECT: False,
    Verdict.UNPARSABLE: False,
}
_PATHS = {
    (True, True): PathClass.KEPT_RIGHT,
    (False, True): PathClass.CORRECTED,
    (True, False): PathClass.CORRUPTED,
    (False, False): PathClass.STAYED_WRONG,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentPath:
    """One solver's way through a debate."""

    agent: int
    path: PathClass
    turns: int  # how often it spoke


def agent_paths(row: Row) -> list[AgentPath]:
    """The path of every solver of a debate, by agent."""
    said: dict[int, dict[int, str | None]] = {}  # agent -> round -> verdict
    for turn in filter(solves, row["turns"] or ()):
        said.setdefault(turn["agent"], {})[turn["round"]] = turn["verdict"]
    return [
        AgentPath(
            agent=agent,
            path=path_class(rounds[min(rounds)], rounds[max(rounds)]),
            turns=len(rounds),
        )
        for agent, rounds in sorted(said.items())
    ]


def path_class(first: str | None, last: str | None) -> PathClass:
    """The path between two verdicts."""
    if first not in _RIGHT or last not in _RIGHT:
        return PathClass.UNDECIDED
    return _PATHS[_RIGHT[first], _RIGHT[last]]


def second_looks(row: Row) -> list[PathClass]:
    """The paths of the solvers with at least two turns."""
    return [found.path for found in agent_paths(row) if found.turns > 1]
