"""The command line: bad input is one clear line and exit code 2, before anything starts."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.e2e


def agentark(*args: str, limit_s: float = 110) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "agentark_ray.cli", *args]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=limit_s)


def refused(*args: str) -> str:
    done = agentark("run", *args)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("debate.agentz=3", "unknown key 'debate.agentz', did you mean 'debate.agents'?"),
        ("debate.rounds=0", "debate.rounds=0: Input should be greater than or equal to 1"),
        ("tasks.path=missing.jsonl", "tasks.path=missing.jsonl: no such file or folder"),
        ("model=./missing", "model=missing: no such folder"),
        ("output=README.md/run", "cannot write the run folder"),
    ],
)
def test_bad_input_is_named_before_ray_starts(
    override: str, expected: str, tmp_path: Path, gsm8k_file: Callable[[int], Path]
) -> None:
    values = [f"output={tmp_path}/run", f"tasks.path={gsm8k_file(2)}", override]
    error = refused("jobs/configs/gsm8k.yaml", *values)
    assert expected in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "run" / "questions").exists()


def test_a_missing_config_is_named() -> None:
    assert "error: nowhere.yaml: no such config file" in refused("nowhere.yaml")


def test_a_folder_of_another_config_is_left_alone(tmp_path: Path) -> None:
    from agentark_ray.config import load_config
    from agentark_ray.run_folder import RunFolder

    demo = load_config(ROOT / "jobs/configs/demo.yaml", [f"output={tmp_path}"])
    RunFolder(str(tmp_path)).open(demo, "m")
    before = (tmp_path / "manifest.json").read_text()
    error = refused("jobs/configs/demo.yaml", f"output={tmp_path}", "debate.agents=7")
    assert "holds a run of another config (debate.agents: 5 -> 7)" in error
    assert (tmp_path / "manifest.json").read_text() == before


def test_bad_questions_are_named_before_an_engine_starts(
    tmp_path: Path, gsm8k_file: Callable[[int], Path]
) -> None:
    path = gsm8k_file(20)
    path.write_text(path.read_text() + '{"question": "half a li')
    error = refused("jobs/configs/gsm8k.yaml", f"output={tmp_path}/run", f"tasks.path={path}")
    assert f"error: {path}:21: not valid JSON" in error
    assert not (tmp_path / "run" / "traces").exists()


def test_help_shows_examples() -> None:
    done = agentark("run", "--help")
    assert done.returncode == 0
    assert "agentark run jobs/configs/demo.yaml debate.agents=7" in done.stdout


def test_report_needs_an_evaluated_run(tmp_path: Path) -> None:
    done = agentark("report", str(tmp_path))
    assert done.returncode == 2
    assert "no evaluated run (eval/summary.json is missing)" in done.stderr


@pytest.mark.timeout(240)  # the doctor gives the import of vLLM 180 s
def test_doctor_prints_json() -> None:
    done = agentark("doctor", "--json", limit_s=220)
    assert done.returncode in (0, 1)
    assert json.loads(done.stdout)
