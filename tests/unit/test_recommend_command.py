"""`agentark traces recommend` on stored debates."""

import json
from dataclasses import fields
from pathlib import Path

from typer.testing import CliRunner, Result

from agentark_ray.cli import app
from agentark_ray.cli_recommend import FIGURES
from agentark_ray.distill.recommend import Figures
from tests.unit.transcripts import failed, row, write


def recommend(*args: str) -> Result:
    return CliRunner().invoke(app, ["traces", "recommend", *args], catch_exceptions=False)


def stored(folder: Path) -> str:
    """Three debates and what does not count: a failed one, a latency probe, another arm."""
    rows = [
        row("debate", "q1", "wr", "rr"),
        row("debate", "q2", "rr"),
        row("debate", "q3", "ww"),
        failed("debate", "q4", "rr"),
        row("debate", "q1", "r", kind="latency"),
        row("single", "q1", "r"),
    ]
    write(folder, rows)
    return str(folder)


def test_figures_by_hand(tmp_path: Path) -> None:
    found = json.loads(recommend(stored(tmp_path), "--json").stdout)
    assert found["strategy"] == "RSFT"
    # every turn says the same one step; q1's first agent is corrected
    assert found["figures"] == {
        "questions": 4,
        "solved": 2,
        "median_steps": 1,
        "different": 1.0,
        "corrected": 1,
        "step_level": 0,
    }


def test_the_table_has_reason_and_figures(tmp_path: Path) -> None:
    shown = recommend(stored(tmp_path)).stdout
    assert shown.startswith("RSFT  2 questions have a right solution, fewer than 1,000")
    assert all(words in shown for words in FIGURES.values())
    assert FIGURES.keys() == {field.name for field in fields(Figures)}


def test_an_arm_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    done = recommend(stored(tmp_path), "--arm", "student")
    assert done.exit_code == 2
    assert "there are no debates of arm student" in done.stderr
