"""Jobs that lose an actor, a node, their driver, their engine or their storage on the way.

Real processes are killed by pid. After each failure every question has one row, and the time that
the failure cost is printed: the job's seconds less those of the same job undisturbed.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
import pyarrow.compute as pc
import pytest
import ray
from ray.cluster_utils import Cluster

from agentark_ray.config import parse_config
from agentark_ray.lost_nodes import root_cause
from agentark_ray.run_folder import RunFolder
from agentark_ray.traces import progress
from agentark_ray.traces.asking import TooManyFailures
from agentark_ray.traces.generate import verify_traces
from agentark_ray.traces.read import trace_dataset
from tests.ray.helpers import (
    actors,
    assert_whole,
    config_for,
    files,
    hold,
    timed,
    values_for,
    wait_until,
    when_running,
)

pytestmark = [pytest.mark.usefixtures("ray_cluster"), pytest.mark.timeout(600)]

QUESTIONS = 150
POISONED = range(40, 60, 5)
SLOWLY = "engine.scripted_latency_s=0.2"
OUTAGE_S = 20

DRIVER = """
import sys
from agentark_ray.config import parse_config
from agentark_ray.session import ray_session
from tests.ray.helpers import hold
with ray_session():
    hold(parse_config({}, sys.argv[1:], "test"))
"""


def ask(folder: Path, poison: str = "", poisoned: Sequence[int] = POISONED) -> Path:
    """A GSM8K file in which the questions `poisoned` contain the word `poison`."""
    path = folder / "questions.jsonl"
    lines = [
        {"question": f"Tom has {i} of {i + 42} apples. {word} How many?", "answer": "#### 42"}
        for i in range(QUESTIONS)
        for word in [poison if i in poisoned else ""]
    ]
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


@pytest.fixture(scope="module")
def quiet_s(ray_cluster: None, tmp_path_factory: pytest.TempPathFactory) -> float:
    """Seconds of the job when nothing fails, on a Ray that has held debates before."""
    cold = tmp_path_factory.mktemp("cold")
    hold(config_for(cold, ask(cold), "tasks.train_questions=8"))
    place = tmp_path_factory.mktemp("quiet")
    _, seconds = timed(config_for(place, ask(place), SLOWLY))
    return seconds


@pytest.fixture
def tell_loss(quiet_s: float, tell_lost: Callable[[float, float], None]) -> Callable[[float], None]:
    """Tells what a failure cost, given the disturbed job's seconds."""
    return lambda seconds: tell_lost(seconds, quiet_s)


def test_an_actor_is_killed(tmp_path: Path, tell_loss: Callable[[float], None]) -> None:
    config = config_for(tmp_path, ask(tmp_path), SLOWLY)
    killed = []

    def kill() -> None:
        (actor,) = actors()
        actor.kill()
        killed.append(actor.pid)

    with when_running(config, kill):
        total, seconds = timed(config)
    assert len(killed) == 1
    assert_whole(config, total)
    tell_loss(seconds)


def test_the_engine_dies_once(tmp_path: Path, tell_loss: Callable[[float], None]) -> None:
    once = tmp_path / "died"
    config = config_for(
        tmp_path, ask(tmp_path, f"POISON:{once}"), SLOWLY, "engine.scripted_fault=exit"
    )
    total, seconds = timed(config)
    folder = RunFolder(config.output)
    assert once.exists()
    assert_whole(config, total)
    assert verify_traces(folder, config, "traces", total)["failed"] == 0
    tell_loss(seconds)


@pytest.mark.slow
def test_the_engine_hangs_once(tmp_path: Path, tell_loss: Callable[[float], None]) -> None:
    """One deadline until completions time out, one for the probe, then a new actor."""
    once = tmp_path / "hung"
    config = config_for(
        tmp_path,
        ask(tmp_path, f"POISON:{once}"),
        SLOWLY,
        "engine.scripted_fault=hang",
        "engine.timeout_s=3",
    )
    total, seconds = timed(config)
    folder = RunFolder(config.output)
    assert once.exists()
    assert_whole(config, total)
    assert verify_traces(folder, config, "traces", total)["failed"] == 0
    tell_loss(seconds)


def test_poison_questions_fail_alone(tmp_path: Path, tell_loss: Callable[[float], None]) -> None:
    config = config_for(tmp_path, ask(tmp_path, "POISON"), SLOWLY, "engine.scripted_fault=raise")
    total, seconds = timed(config)
    folder = RunFolder(config.output)
    assert_whole(config, total)
    rows = trace_dataset(folder, "traces").to_table(["question", "status", "error_type"])
    poisoned = pc.match_substring(rows["question"], "POISON")  # pyright: ignore
    failed = rows.filter(poisoned)
    assert failed.num_rows > 0
    assert set(failed["status"].to_pylist()) == {"failed"}
    assert set(failed["error_type"].to_pylist()) == {"RuntimeError"}
    assert rows["status"].to_pylist().count("ok") == total - failed.num_rows
    tell_loss(seconds)


def test_too_many_poison_questions_end_the_run(tmp_path: Path) -> None:
    config = config_for(
        tmp_path,
        ask(tmp_path, "POISON"),
        "engine.scripted_fault=raise",
        "engine.max_failed_fraction=0.01",
    )
    with pytest.raises(Exception, match="debates failed") as caught:
        hold(config)
    told = root_cause(caught.value)  # what a user reads
    assert isinstance(told, TooManyFailures)
    assert re.search(r"debates failed, at most 1 may.*RuntimeError: scripted", str(told))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "words"),
    [("exit", "EngineDead: scripted fault"), ("kill", "the process was killed")],
)
def test_a_question_that_kills_its_engine_each_time_fails_alone(
    tmp_path: Path, tell_loss: Callable[[float], None], fault: str, words: str
) -> None:
    config = config_for(
        tmp_path,
        ask(tmp_path, "POISON", [50]),
        SLOWLY,
        f"engine.scripted_fault={fault}",
        "engine.actors=2",
        "engine.max_engine_deaths=3",
    )
    total, seconds = timed(config)
    folder = RunFolder(config.output)
    assert_whole(config, total)
    rows = trace_dataset(folder, "traces").to_table(
        columns=["question", "status", "error_type", "error_message"]
    )
    (row,) = (row for row in rows.to_pylist() if row["status"] != "ok")
    assert "POISON" in row["question"]
    assert (row["status"], row["error_type"]) == ("failed", "EngineKilled")
    assert "died 3 times" in row["error_message"]
    assert words in row["error_message"]
    tell_loss(seconds)


def test_engines_that_die_on_everything_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "DEATHS_IN_A_ROW", 2)
    config = config_for(
        tmp_path, ask(tmp_path, "POISON", range(QUESTIONS)), "engine.scripted_fault=exit"
    )
    with pytest.raises(Exception, match=r"died 3 times in a row.*EngineDead: scripted fault"):
        hold(config)
    assert files(config) == 0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], None]]:
    """Remounts tmp_path/run, a disk of its own, with the given option: ro or rw."""
    place = tmp_path / "run"
    place.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "tmpfs", str(place)], capture_output=True
    ).returncode:
        pytest.skip("needs the right to mount a file system")

    def remount(option: str) -> None:
        command = ["mount", "-o", f"remount,{option}", str(place)]
        # busy while a file is being written
        wait_until(lambda: not subprocess.run(command, capture_output=True).returncode)

    yield remount
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.slow
def test_the_storage_is_gone_for_a_while(
    tmp_path: Path, disk: Callable[[str], None], tell_loss: Callable[[float], None]
) -> None:
    config = config_for(tmp_path, ask(tmp_path), SLOWLY)

    def outage() -> None:
        disk("ro")
        time.sleep(OUTAGE_S)
        disk("rw")

    with when_running(config, outage):
        total, seconds = timed(config)
    assert_whole(config, total)
    tell_loss(seconds)


@contextmanager
def driver(address: str, values: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process that runs the job on the cluster at `address`; killed at the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER, *values],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "RAY_ADDRESS": address},
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_the_driver_is_killed_four_times(
    tmp_path: Path, tell_loss: Callable[[float], None]
) -> None:
    values = values_for(tmp_path, ask(tmp_path), SLOWLY)
    config = parse_config({}, values, "test")
    address = ray.get_runtime_context().gcs_address
    assert address
    started = time.monotonic()
    for more in (1, 2, 3, 4):
        wanted = files(config) + more
        with driver(address, values) as process:
            wait_until(lambda p=process, n=wanted: files(config) >= n or p.poll() is not None)
            assert process.poll() is None, "the job ended before it could be killed"
            process.send_signal(signal.SIGKILL)
    kept = files(config)
    _, total = hold(config)
    assert kept >= 10
    assert_whole(config, total)
    tell_loss(time.monotonic() - started)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A head that takes no work and two workers, as processes of this machine."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    for _ in range(2):
        cluster.add_node(num_cpus=4)
    yield cluster
    cluster.shutdown()


def job_s(address: str, values: list[str]) -> float:
    """Seconds of the job as a process of its own."""
    started = time.monotonic()
    with driver(address, values) as process:
        assert process.wait(timeout=150) == 0
    return time.monotonic() - started


@pytest.mark.slow
def test_a_node_is_killed(
    tmp_path: Path, cluster: Cluster, tell_lost: Callable[[float, float], None]
) -> None:
    address, questions = str(cluster.address), ask(tmp_path)
    values = values_for(tmp_path, questions, SLOWLY, "engine.actors=2")
    config = parse_config({}, values, "test")
    job_s(address, [*values, f"output={tmp_path}/cold", "tasks.train_questions=8"])
    undisturbed = job_s(address, [*values, f"output={tmp_path}/quiet"])
    raylets = [node.all_processes["raylet"][0].process.pid for node in cluster.worker_nodes]
    started = time.monotonic()
    with driver(address, values) as process:
        wait_until(lambda: files(config) >= 3 or process.poll() is not None)
        assert process.poll() is None, "the job ended before a node could be killed"
        victim = next(raylet for raylet in raylets if actors(raylet))
        for member in [*psutil.Process(victim).children(recursive=True), psutil.Process(victim)]:
            member.kill()
        assert process.wait(timeout=150) == 0
    tell_lost(time.monotonic() - started, undisturbed)
    assert_whole(
        config, trace_dataset(RunFolder(config.output), "requests/train.parquet").count_rows()
    )
