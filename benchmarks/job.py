"""A generation job on Ray Data as the pipeline runs it, watched from outside."""

import statistics
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psutil
import ray
from ray.data import DataContext

from agentark_ray.config import Config
from agentark_ray.run_folder import RunFolder
from agentark_ray.traces.generate import generate_traces, verify_traces
from agentark_ray.traces.progress import start_progress
from agentark_ray.traces.requests import Plan, write_questions, write_requests
from agentark_ray.types import Split

POLL_S = 0.2  # a look takes CPU time on cores that the engines share
ALL_ACTORS_S = 600  # Ray Data waits so long for the whole pool before the first block


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The job at one moment in which actors sent news."""

    seconds: float  # since the first engine was ready
    done: int  # debates
    output_tokens: int
    cpu_s: float  # CPU time of all actors so far


def run_job(config: Config, model: str) -> list[Sample]:
    """Hold one debate for every training question; the samples, the last one at the end.

    All actors are up before the first block, so that a rate is one of the whole pool.

    Raises:
        Incomplete: rows are missing or failed.
    """
    folder = RunFolder(config.output)
    folder.open(config, model)
    write_questions(folder, config)
    total = write_requests(folder, config, model, Split.TRAIN, [Plan(arm="debate")], "train")
    progress = start_progress(total, 0)
    DataContext.get_current().wait_for_min_actors_s = ALL_ACTORS_S
    samples: list[Sample] = []
    ended = threading.Event()
    watcher = threading.Thread(target=_watch, args=(progress, samples, ended))
    watcher.start()
    try:
        generate_traces(folder, config, model, ["debate"], "train", "traces", progress)
    finally:
        ended.set()
        watcher.join()
    verify_traces(folder, config, "traces", total)
    return samples


def _watch(progress: Any, samples: list[Sample], ended: threading.Event) -> None:
    actors: list[psutil.Process] = []
    cpu = 0.0
    over = False
    while not over:
        over = ended.wait(POLL_S)
        counts, seconds = ray.get(progress.counts.remote())
        if counts.done == (samples[-1].done if samples else 0):
            continue
        actors = actors or _actors()
        with suppress(psutil.NoSuchProcess):  # the job ends
            cpu = sum(sum(process.cpu_times()[:2]) for process in actors)
        samples.append(
            Sample(seconds=seconds, done=counts.done, output_tokens=counts.output_tokens, cpu_s=cpu)
        )


def _actors() -> list[psutil.Process]:
    """The processes of the actors; Ray names a process after what it runs."""
    found = psutil.Process().children(recursive=True)
    return [process for process in found if "DebateActor" in process.name() + _command(process)]


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:  # it ended in between
        return ""


def steady(samples: Sequence[Sample], total: int) -> list[Sample]:
    """The samples between 15 % and 85 % of all debates: without ramp-up and tail."""
    return [sample for sample in samples if 0.15 * total <= sample.done <= 0.85 * total]


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """The least-squares rate of y over x.

    Raises:
        statistics.StatisticsError: fewer than two samples: the job was too short.
    """
    return statistics.linear_regression(x, y).slope
