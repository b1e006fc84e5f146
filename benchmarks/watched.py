"""A generation on Ray nodes of this machine, looked at while it runs."""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from agentark_ray.cluster.local import HEAD, LocalCluster, NodeSpec, State
from agentark_ray.cluster.processes import free_port

ROOT = Path(__file__).parents[1]
LOOK_S = 2.0


@contextmanager
def nodes(workers: int, cpus: int) -> Iterator[State]:
    """A head without work and workers of so many logical CPUs."""
    with tempfile.TemporaryDirectory(prefix="ak-", dir="/tmp") as folder:
        cluster = LocalCluster(Path(folder))
        port = free_port()
        try:
            yield cluster.up([NodeSpec(cpus=cpus)] * workers, dashboard_port=port)
        finally:
            cluster.down()


def environment(state: State) -> dict[str, str]:
    """Of a driver of this cluster."""
    return {**os.environ, "RAY_ADDRESS": state.address, "RAY_AUTH_MODE": "token"}


def job(args: argparse.Namespace, output: Path, actors: int, questions: int) -> list[str]:
    """The command of a generation on scripted engines."""
    return [
        *(sys.executable, "-m", "agentark_ray.cli", "traces", "generate", f"{output}.yaml"),
        f"output={output}",
        f"tasks.train_questions={questions}",
        "tasks.name=arithmetic",
        "tasks.eval_questions=1",
        f"debate.agents={args.agents}",
        f"debate.rounds={args.rounds}",
        f"debate.stop={args.stop}",
        "debate.max_tokens=64",
        "engine.type=scripted",
        f"engine.scripted_latency_s={args.latency}",
        f"engine.scripted_accuracy={args.accuracy}",
        "engine.max_model_len=65536",
        f"engine.actors={actors}",
        f"engine.in_flight={args.in_flight}",
        f"engine.rows_per_block={args.rows_per_block}",
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A job at one moment."""

    seconds: float  # since it began
    files: int
    driver_mb: float
    gcs_mb: float
    cpu_s: float  # of all processes of the cluster and the driver


def watch(command: Sequence[str], state: State, traces: Path) -> list[Look]:
    """Run a job to its end and look at it every two seconds.

    Raises:
        RuntimeError: it failed; its last words.
    """
    looks: list[Look] = []
    started = time.monotonic()
    with tempfile.TemporaryFile("w+") as words:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment(state), stdout=words, stderr=words
        )
        driver = psutil.Process(process.pid)
        gcs, meter = gcs_of(state), CpuMeter()
        while process.poll() is None:
            time.sleep(LOOK_S)
            try:
                looks.append(
                    Look(
                        seconds=time.monotonic() - started,
                        files=len(list(traces.glob("*.parquet"))),
                        driver_mb=driver.memory_info().rss / 1e6,
                        gcs_mb=gcs.memory_info().rss / 1e6,
                        cpu_s=meter.seconds([driver, *roots(state)]),
                    )
                )
            except psutil.NoSuchProcess:
                break
        if process.wait():
            words.seek(0)
            raise RuntimeError(words.read()[-3000:])
    return looks


def roots(state: State) -> Iterator[psutil.Process]:
    """The processes that nodes were started as."""
    for node in state.nodes:
        if process := node.process():
            yield process


def gcs_of(state: State) -> psutil.Process:
    """The head's GCS, which keeps the state of the cluster."""
    (head,) = (node for node in state.nodes if node.name == HEAD)
    found = psutil.Process(head.pid).children(recursive=True)
    return next(process for process in found if process.name() == "gcs_server")


class CpuMeter:
    """CPU time of processes and of all that they start, those that have ended included.

    What a process used after the last look at it is lost.
    """

    def __init__(self) -> None:
        self._seen: dict[tuple[int, float], float] = {}  # process -> its seconds so far

    def seconds(self, roots: Sequence[psutil.Process]) -> float:
        """Of everything that was ever seen below `roots`."""
        for root in roots:
            with suppress(psutil.NoSuchProcess):
                for process in [root, *root.children(recursive=True)]:
                    with suppress(psutil.NoSuchProcess):
                        key = process.pid, process.create_time()
                        self._seen[key] = sum(process.cpu_times()[:2])
        return sum(self._seen.values())


def output_of(place: Path) -> Path:
    """An output folder whose job has an empty config file; everything is an override."""
    output = place / "run"
    output.with_suffix(".yaml").write_text("{}\n")
    return output


def settings(args: argparse.Namespace) -> dict[str, Any]:
    """The options of a benchmark, as JSON takes them."""
    return {
        key: str(value) if isinstance(value, Path) else value for key, value in vars(args).items()
    }
