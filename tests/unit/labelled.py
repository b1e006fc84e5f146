"""Traces to be labelled, made by hand."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from agentark_ray.run_folder import RunFolder
from agentark_ray.traces.schema import TRACE_SCHEMA
from tests.unit.transcripts import row, turn


def trace(*rounds: str, roles: str = "", **changes: Any) -> dict[str, Any]:
    """A trace whose stored verdicts all say incorrect. A round has one answer a word."""
    turns = [
        {
            **turn(agent, round_, "incorrect", f"so the answer is {said}."),
            "role": roles.split()[agent] if roles else "agent",
        }
        for round_, answers in enumerate(rounds)
        for agent, said in enumerate(answers.split())
    ]
    votes = [
        {"round": r, "answer": "?", "count": 9, "agents": 9, "verdict": "incorrect"}
        for r in range(len(rounds))
    ]
    return row("debate", "q1") | {
        "turns": turns,
        "votes": votes,
        "aliases": [],
        "final_answer": "?",
        "verdict": "incorrect",
        **changes,
    }


def _named(i: int) -> dict[str, str]:
    return {"debate_id": f"d{i:04}", "question_id": f"{i:016x}"}


def write_traces(folder: Path, count: int, rows_a_file: int = 4, **changes: Any) -> RunFolder:
    """Traces of two agents and one round: d0010 says 10 and 5, d0011 says 4 and 5, and so on."""
    (folder / "traces").mkdir(parents=True)
    for first in range(10, 10 + count, rows_a_file):
        rows = [
            trace(
                f"{i if i % 2 == 0 else 4} 5",
                **_named(i) | {"gold": str(i)} | changes,
            )
            for i in range(first, min(first + rows_a_file, 10 + count))
        ]
        table = pa.Table.from_pylist(rows, schema=TRACE_SCHEMA)
        pq.write_table(table, folder / "traces" / f"{first:04}.parquet")
    return RunFolder(str(folder))
