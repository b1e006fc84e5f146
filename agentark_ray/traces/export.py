"""Traces -> chat JSON lines: one line a turn, its prompt and what was said."""

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from agentark_ray.config import ConfigError
from agentark_ray.debate_rows import Row, role, solves, turn_leaves
from agentark_ray.types import DebateStatus, Verdict

BATCH_ROWS = 64  # with all they say
TURN = turn_leaves("agent", "role", "round", "text", "verdict")
MESSAGES = turn_leaves("messages.list.element.role", "messages.list.element.content")
COLUMNS = ("debate_id", "question_id", "status", *TURN, *MESSAGES)

Only = Literal["correct", "all"]
Turns = Literal["final", "all"]


def chat_lines(row: Row, only: Only, turns: Turns) -> Iterator[dict[str, Any]]:
    """The lines of a trace that has COLUMNS; none unless the debate ended well.

    Args:
        row: the trace.
        only: `correct` leaves out turns without a right answer.
        turns: `final` takes every solver's last turn, never a judge's or an aggregator's.
    """
    if row["status"] != DebateStatus.OK:
        return
    for turn in row["turns"] if turns == "all" else final_turns(row):
        if only == "all" or turn["verdict"] == Verdict.CORRECT:
            answer = {"role": "assistant", "content": turn["text"]}
            yield {
                "messages": [*turn["messages"], answer],
                "debate_id": row["debate_id"],
                "question_id": row["question_id"],
                "agent": turn["agent"],
                "role": role(turn),
                "round": turn["round"],
                "verdict": turn["verdict"],
            }


def final_turns(row: Row) -> list[Row]:
    """The last turn of every solver, by agent."""
    ordered = sorted(filter(solves, row["turns"]), key=lambda turn: turn["round"])
    last = {turn["agent"]: turn for turn in ordered}
    return [last[agent] for agent in sorted(last)]


def check_target(out: Path, force: bool) -> None:
    """Raises ConfigError if the file cannot be made there, or exists and must not be replaced."""
    if out.exists() and not force:
        raise ConfigError(f"{out} exists; give --force to replace it")
    if out.is_dir() or not out.parent.is_dir():
        raise ConfigError(f"{out}: expected the name of a file in a folder that exists")


def write_chat(
    rows: Iterable[Row], out: Path, only: Only, turns: Turns, counts: Counter[str]
) -> None:
    """Stream the lines of all rows into a file that appears when it is whole.

    `counts` is kept up to date: debates, lines, and `left_out` debates that did not end well.
    """
    pending = out.with_name(out.name + ".tmp")
    try:
        with pending.open("w", encoding="utf-8") as file:
            for row in rows:
                for line in chat_lines(row, only, turns):
                    file.write(json.dumps(line, ensure_ascii=False) + "\n")
                    counts["lines"] += 1
                counts["debates"] += 1
                counts["left_out"] += row["status"] != DebateStatus.OK
        os.replace(pending, out)
    finally:
        pending.unlink(missing_ok=True)
