"""What tests of trace generation share: a config of the scripted engine, a job, what it left."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psutil

from agentark_ray.config import Config, parse_config
from agentark_ray.run_folder import RunFolder
from agentark_ray.traces.generate import generate_traces, verify_traces
from agentark_ray.traces.progress import start_progress
from agentark_ray.traces.read import trace_dataset
from agentark_ray.traces.requests import Plan, write_questions, write_requests
from agentark_ray.types import Split


def values_for(tmp_path: Path, questions: Path, *overrides: str) -> list[str]:
    """Config overrides as a command line has them."""
    return [
        f"output={tmp_path}/run",
        "tasks.name=gsm8k",
        f"tasks.path={questions}",
        "engine.type=scripted",
        "engine.rows_per_block=4",
        "engine.in_flight=8",
        "debate.agents=3",
        *overrides,
    ]


def config_for(tmp_path: Path, questions: Path, *overrides: str) -> Config:
    return parse_config({}, values_for(tmp_path, questions, *overrides), "test")


def hold(config: Config, plans: Sequence[Plan] = (Plan(arm="debate"),)) -> tuple[RunFolder, int]:
    """Hold the debates of the training questions; the folder and the number of requests."""
    folder = RunFolder(config.output)
    folder.open(config, "m")
    write_questions(folder, config)
    total = write_requests(folder, config, "m", Split.TRAIN, plans, "train")
    progress = start_progress(total, int(total * config.engine.max_failed_fraction))
    arms = {plan.arm for plan in plans}
    generate_traces(folder, config, "m", arms, "train", "traces", progress)
    return folder, total


def timed(config: Config, plans: Sequence[Plan] = (Plan(arm="debate"),)) -> tuple[int, float]:
    """Hold the debates; the number of requests, and the seconds that took."""
    started = time.monotonic()
    _, total = hold(config, plans)
    return total, time.monotonic() - started


def assert_whole(config: Config, total: int) -> None:
    """Every request has its row, once; verify_traces has dropped what a dying task left."""
    folder = RunFolder(config.output)
    assert verify_traces(folder, config, "traces", total)["rows"] == total
    asked, held = (
        sorted(trace_dataset(folder, name).to_table(columns=["debate_id"])["debate_id"].to_pylist())
        for name in ("requests/train.parquet", "traces")
    )
    assert len(set(asked)) == total > 100
    assert held == asked


def files(config: Config) -> int:
    """Blocks on disk."""
    return len(list(Path(config.output, "traces").glob("*.parquet")))


def wait_until(ready: Callable[[], bool]) -> None:
    """Look every 50 ms, for 100 s."""
    deadline = time.monotonic() + 100
    while not ready():
        assert time.monotonic() < deadline, "nothing happened in 100 s"
        time.sleep(0.05)


@contextmanager
def when_running(config: Config, act: Callable[[], None]) -> Iterator[None]:
    """Do `act` once three blocks are on disk, while the job goes on."""

    def watch() -> None:
        wait_until(lambda: files(config) >= 3)
        act()

    with ThreadPoolExecutor(1) as pool:
        acted = pool.submit(watch)
        yield
        assert acted.done(), "the job ended before its failure"
        acted.result()


def actors(raylet: int | None = None) -> list[psutil.Process]:
    """Processes of DebateActors that this test process, or the raylet, has started."""
    return children("DebateActor", raylet)


def children(name: str, of: int | None = None) -> list[psutil.Process]:
    """Processes that this process, or that of the given id, has started: the tasks of a name."""
    found = psutil.Process(of).children(recursive=True)
    return [process for process in found if name in _command(process)]


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:  # it ended in between
        return ""
