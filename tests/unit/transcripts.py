"""Transcripts made by hand: rows of the trace schema, from strings of verdicts."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import dataset

from agentark_ray.evaluate.summary import summarize
from agentark_ray.gates_config import DecideBy, GatesConfig
from agentark_ray.traces.schema import TRACE_SCHEMA
from tests.unit.debates import RIGHT, WRONG

BY_POINT = GatesConfig(decide_by=DecideBy.POINT)  # of four questions nothing is certain


def turn(agent: int, round_: int, verdict: str, text: str = "said") -> dict[str, Any]:
    """An agent's turn; its answer is 4 where it is right."""
    answer = {RIGHT: "4", WRONG: "5"}.get(verdict)
    return {
        "agent": agent,
        "round": round_,
        "messages": [{"role": "user", "content": "long prompt"}],
        "text": text,
        "answer": answer,
        "verdict": verdict,
        "prompt_tokens": 20,
        "cached_tokens": 0,
        "output_tokens": 10,
        "finish_reason": "stop",
        "mean_logprob": -0.5,
        "latency_s": 0.01,
    }


def row(arm: str, question: str, *rounds: str, **changes: Any) -> dict[str, Any]:
    """A trace; a round is a string of agents' verdicts, `r` right, `w` wrong, `u` unparsable."""
    words = {"r": RIGHT, "w": WRONG, "u": "unparsable"}
    turns = [
        turn(agent, round_, words[letter])
        for round_, letters in enumerate(rounds)
        for agent, letter in enumerate(letters)
    ]
    votes = [_vote(round_, letters) for round_, letters in enumerate(rounds)]
    values = {
        "debate_id": f"{arm}-{changes.get('kind', 'main')}-{question}",
        "config_hash": "c",
        "arm": arm,
        "kind": "main",
        "replica": 0,
        "question_id": question,
        "question": f"text of {question}",
        "gold": "4",
        "task": "arithmetic",
        "split": "eval",
        "model": "m",
        "agents": len(rounds[0]) if rounds else 1,
        "turns": turns,
        "votes": votes,
        "final_answer": votes[-1]["answer"] if votes else None,
        "verdict": votes[-1]["verdict"] if votes else None,
        "stop_reason": "rounds",
        "status": "ok",
        "error_type": None,
        "error_message": None,
        "wall_s": 0.05,
        "engine_s": 0.05,
        "output_tokens": 10 * len(turns),
        "prompt_tokens": 20 * len(turns),
        "cached_tokens": 0,
        "shortened_turns": 0,
    }
    return values | changes


def _vote(round_: int, letters: str) -> dict[str, Any]:
    lead = max("rw", key=letters.count) if set(letters) - {"u"} else "u"
    return {
        "round": round_,
        "answer": {"r": "4", "w": "5", "u": None}[lead],
        "count": 0 if lead == "u" else letters.count(lead),
        "agents": len(letters),
        "verdict": {"r": RIGHT, "w": WRONG, "u": "unparsable"}[lead],
    }


def failed(arm: str, question: str, *rounds: str, **changes: Any) -> dict[str, Any]:
    """A trace that failed after these rounds."""
    error = {
        "status": "failed",
        "verdict": None,
        "final_answer": None,
        "error_type": "TimeoutError",
        "error_message": "too slow",
    }
    return row(arm, question, *rounds, **(error | changes))


ROWS = [
    row("single", "q1", "r"),
    row("single", "q2", "w"),
    row("single", "q3", "u"),
    row("single", "q4", "w"),
    row("single_check", "q1", "r", "w"),
    row("single_check", "q2", "w", "r"),
    row("single_check", "q3", "u", "r"),
    row("single_check", "q4", "w", "w"),
    row("self_consistency", "q1", "rrw"),
    row("self_consistency", "q2", "wwr"),
    row("self_consistency", "q3", "rrr"),
    row("self_consistency", "q4", "www"),
    row("debate", "q1", "rrr"),  # unanimous: nobody looks twice
    row("debate", "q2", "wwr", "rrr"),  # two fixed, one kept
    row("debate", "q3", "rrw", "rww"),  # one broken
    failed("debate", "q4", "rrw"),  # the second round failed
    row("student", "q1", "r"),
    row("student", "q2", "r"),
    row("student", "q3", "r"),
    row("student", "q4", "w"),
    *(row("student", f"q{i}", "r", kind="latency", wall_s=i / 100) for i in (1, 2, 3)),
    failed("student", "q4", kind="latency", wall_s=600.0),
]


def write(folder: Path, rows: list[dict[str, Any]]) -> dataset.Dataset:
    """The rows in two Parquet files."""
    folder.mkdir(parents=True, exist_ok=True)
    half = len(rows) // 2
    for name, part in (("a", rows[:half]), ("b", rows[half:])):
        table = pa.Table.from_pylist(part, schema=TRACE_SCHEMA)
        pq.write_table(table, folder / f"{name}.parquet", compression="zstd")
    return dataset.dataset(str(folder), format="parquet")


def summary_of(folder: Path, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The summary of an evaluation with these transcripts."""
    return summarize([write(folder, rows)], BY_POINT, train_traces=1500, seeds=[17])
