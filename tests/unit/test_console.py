"""Progress lines: what is shown when the output is not a terminal."""

import io
import re
import time

import pytest
from rich.console import Console

from agentark_ray import console
from agentark_ray.console import State, _eta, watch


def test_eta_counts_from_where_a_resumed_job_began() -> None:
    state = State(done=150, total=200, text="")
    assert _eta(state, began=10.0, done_then=100, now=20.0) == "10 s"
    assert _eta(state, began=10.0, done_then=150, now=20.0) == "?"


def test_lines_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "LINE_EVERY_S", 0.05)
    out = io.StringIO()
    states = iter([None, State(done=1, total=4, text="x 1"), State(done=3, total=4, text="x 3")])
    with watch(Console(file=out, width=100), "debates", lambda: next(states, None)):
        deadline = time.monotonic() + 30
        while out.getvalue().count("\n") < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
    lines = out.getvalue().splitlines()
    assert lines[0].startswith("  debates: starting")
    assert lines[1] == "  debates: 1/4, x 1, eta ?"
    assert re.fullmatch(r"  debates: 3/4, x 3, eta \d+ s", lines[2])
