"""A generation with the real command line and vLLM, whose engine's process is killed."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from pyarrow import dataset

from tests.ray.helpers import actors, children

ROOT = Path(__file__).parents[2]
QUESTIONS = 160
pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]


@contextmanager
def generation(output: Path) -> Iterator[subprocess.Popen[str]]:
    """A command that holds debates of the tiny model, in blocks of eight; killed at the end."""
    values = [
        f"output={output}",
        f"tasks.train_questions={QUESTIONS}",
        "tasks.eval_questions=5",
        "engine.in_flight=16",
        "engine.rows_per_block=8",
    ]
    command = [sys.executable, "-m", "agentark_ray.cli", "traces", "generate"]
    process = subprocess.Popen(
        [*command, "jobs/configs/demo.yaml", *values],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def end(process: subprocess.Popen[str]) -> str:
    """What it said on its way to success."""
    _, said = process.communicate(timeout=400)
    assert process.returncode == 0, said[-4000:]
    return said


def from_third_block(
    output: Path, act: Callable[[int], None] = lambda pid: None
) -> tuple[str, float]:
    """What a generation said, and its seconds after three blocks are on disk, where `act` is done.

    How long it takes to start the first engine does not count.
    """
    deadline = time.monotonic() + 200
    with generation(output) as process:
        while len(list(output.glob("traces/*.parquet"))) < 3:
            assert process.poll() is None, end(process)
            assert time.monotonic() < deadline, "no traces in 200 s"
            time.sleep(0.05)
        started = time.monotonic()
        act(process.pid)
        said = end(process)
    return said, time.monotonic() - started


def kill_engine(command: int) -> None:
    """Kill vLLM's process, in which the model runs; its actor follows."""
    (actor,) = actors(command)
    (engine,) = children("VLLM::EngineCore", actor.pid)
    engine.kill()
    _, lives = psutil.wait_procs([actor], timeout=60)
    assert not lives, "an actor goes on without its engine"


def test_the_process_of_vllm_is_killed(
    tmp_path: Path, tell_lost: Callable[[float, float], None]
) -> None:
    quiet, folder = tmp_path / "quiet", tmp_path / "run"
    _, undisturbed = from_third_block(quiet)
    said, seconds = from_third_block(folder, kill_engine)
    tell_lost(seconds, undisturbed)

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
