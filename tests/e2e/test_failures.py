"""A generation with the real command line and vLLM, whose engine's process is killed."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from pyarrow import dataset

from tests.ray.helpers import actors, children

ROOT = Path(__file__).parents[2]
QUESTIONS = 160
pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]


def begin(output: Path) -> subprocess.Popen[str]:
    """Debates of the tiny model, in blocks of eight."""
    values = [
        f"output={output}",
        f"tasks.train_questions={QUESTIONS}",
        "tasks.eval_questions=5",
        "engine.in_flight=16",
        "engine.rows_per_block=8",
    ]
    command = [sys.executable, "-m", "agentark_ray.cli", "traces", "generate"]
    return subprocess.Popen(
        [*command, "jobs/configs/demo.yaml", *values],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process: subprocess.Popen[str]) -> str:
    """What it said on its way to success."""
    _, said = process.communicate(timeout=400)
    assert process.returncode == 0, said[-4000:]
    return said


def engine_of(process: subprocess.Popen[str]) -> tuple[psutil.Process, psutil.Process]:
    """The debate actor of a command, and vLLM's process, in which the model runs."""
    (actor,) = actors(process.pid)
    (engine,) = children("VLLM::EngineCore", actor.pid)
    return actor, engine


def test_the_process_of_vllm_is_killed(
    tmp_path: Path, tell_lost: Callable[[float, float], None]
) -> None:
    started = time.monotonic()
    end(begin(tmp_path / "quiet"))
    undisturbed = time.monotonic() - started

    folder = tmp_path / "run"
    started = time.monotonic()
    with begin(folder) as process:
        while len(list(folder.glob("traces/*.parquet"))) < 3:
            assert process.poll() is None, end(process)
            assert time.monotonic() - started < 200, "no traces in 200 s"
            time.sleep(0.05)
        actor, engine = engine_of(process)
        engine.kill()
        psutil.wait_procs([actor], timeout=60)
        assert not actor.is_running(), "it cannot go on without its engine"
        said = end(process)
    tell_lost(time.monotonic() - started, undisturbed)

    again = re.search(r"debates: (\d+) held again after a loss", said)
    assert again and 0 < int(again[1]) < QUESTIONS / 2
    read = dataset.dataset(folder / "traces").to_table(columns=["debate_id", "status"])
    held, asked = (
        sorted(table["debate_id"].to_pylist())
        for table in (read, dataset.dataset(folder / "requests/train.parquet").to_table())
    )
    assert held == asked and len(set(held)) == len(held) == QUESTIONS
    assert set(read["status"].to_pylist()) == {"ok"}
    figures = json.loads((folder / "manifest.json").read_text())["stages"]["generate"]
    assert (figures["rows"], figures["failed"], figures["attempts"]) == (QUESTIONS, 0, 1)
