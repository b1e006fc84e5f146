"""Exporting turns as chat lines: which ones, whole or not at all, never over another file."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from agentark_ray.cli import app
from agentark_ray.traces.export import chat_lines, write_chat
from tests.unit.transcripts import failed, row, turn, write

ROWS = [
    row("debate", "q1", "rwr", "rrw"),
    row("debate", "q2", "wr"),
    failed("debate", "q3", "rr"),
]


def places(row_: dict[str, Any], only: Any, turns: Any) -> list[tuple[int, int]]:
    """(agent, round) of every line."""
    return [(line["agent"], line["round"]) for line in chat_lines(row_, only, turns)]


def test_by_default_the_last_turns_that_are_right() -> None:
    assert places(ROWS[0], "correct", "final") == [(0, 1), (1, 1)]


def test_the_other_choices() -> None:
    assert places(ROWS[0], "all", "final") == [(0, 1), (1, 1), (2, 1)]
    assert places(ROWS[0], "correct", "all") == [(0, 0), (2, 0), (0, 1), (1, 1)]
    assert len(places(ROWS[0], "all", "all")) == 6


def test_a_failed_debate_gives_nothing() -> None:
    assert places(ROWS[2], "all", "all") == []


@pytest.mark.parametrize("role", ["judge", "aggregator", "verifier"])
def test_who_does_not_solve_is_left_out_of_final_turns(role: str) -> None:
    judged = row("debate", "q1", "rw")
    judged["turns"].append(turn(2, 1, "correct") | {"role": role})
    assert places(judged, "correct", "final") == [(0, 0)]
    assert places(judged, "correct", "all") == [(0, 0), (2, 1)]


def test_a_line_is_the_prompt_and_what_was_said() -> None:
    (line,) = chat_lines(ROWS[1], "correct", "final")
    assert line == {
        "messages": [
            {"role": "user", "content": "long prompt"},
            {"role": "assistant", "content": "said"},
        ],
        "debate_id": "debate-main-q2",
        "question_id": "q2",
        "agent": 1,
        "role": "agent",
        "round": 0,
        "verdict": "correct",
    }


def agentark(*args: object) -> Result:
    return CliRunner().invoke(app, ["traces", "export", *map(str, args)])


def test_the_command_writes_lines_and_says_how_many(tmp_path: Path) -> None:
    write(tmp_path / "traces", ROWS)
    out = tmp_path / "out.jsonl"
    done = agentark(tmp_path, out)
    assert done.exit_code == 0, done.output
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(line["question_id"], line["agent"]) for line in lines] == [
        ("q1", 0),
        ("q1", 1),
        ("q2", 1),
    ]
    assert "3 turns of 3 debates (1 that failed left out)" in done.stdout
    assert not out.with_name("out.jsonl.tmp").exists()


def test_the_command_prints_json(tmp_path: Path) -> None:
    write(tmp_path / "traces", ROWS)
    out = tmp_path / "out.jsonl"
    done = agentark(tmp_path, out, "--only", "all", "--turns", "all", "--json")
    counts = {"lines": 8, "debates": 3, "left_out": 1}
    assert json.loads(done.stdout) == {"path": str(out), **counts}


def test_a_file_is_replaced_only_by_force(tmp_path: Path) -> None:
    write(tmp_path / "traces", ROWS)
    out = tmp_path / "out.jsonl"
    out.write_text("mine")
    done = agentark(tmp_path, out)
    assert (done.exit_code, out.read_text()) == (2, "mine")
    assert "exists; give --force" in done.stderr
    assert agentark(tmp_path, out, "--force").exit_code == 0
    assert len(out.read_text().splitlines()) == 3


def test_no_folder_to_write_to_is_named(tmp_path: Path) -> None:
    write(tmp_path / "traces", ROWS)
    done = agentark(tmp_path, tmp_path / "no" / "out.jsonl")
    assert done.exit_code == 2
    assert "in a folder that exists" in done.stderr


def test_what_is_not_whole_does_not_appear(tmp_path: Path) -> None:
    def broken() -> Iterator[dict[str, Any]]:
        yield ROWS[0]
        raise KeyboardInterrupt

    out = tmp_path / "out.jsonl"
    out.write_text("before")
    with pytest.raises(KeyboardInterrupt):
        write_chat(broken(), out, "all", "all", Counter())
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]
    assert out.read_text() == "before"
