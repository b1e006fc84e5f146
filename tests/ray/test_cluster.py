"""Jobs submitted to several Ray nodes on this machine, by the command line, with the token only."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from pyarrow import dataset

from agentark_ray.cluster.local import LocalCluster, NodeProcess, NodeSpec
from agentark_ray.cluster.processes import free_port

ROOT = Path(__file__).parents[2]
DEADLINE_S = 400
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


class Client:
    """Another process that knows an address and a token."""

    def __init__(self, address: str, token: Path) -> None:
        self._env = {
            **os.environ,
            "RAY_API_SERVER_ADDRESS": address,
            "RAY_AUTH_TOKEN_PATH": str(token),
        }
        for name in ("RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_AUTH_MODE"):
            self._env.pop(name, None)

    def __call__(self, *args: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "agentark_ray.cli", "cluster", *args]
        done = subprocess.run(
            command, cwd=ROOT, env=self._env, capture_output=True, text=True, timeout=DEADLINE_S
        )
        assert done.returncode == code, done.stdout[-3000:] + done.stderr[-3000:]
        return done

    def runs(self, job: str) -> Callable[[], bool]:
        """A function that says whether a job has not ended."""

        def look() -> bool:
            found = json.loads(self("status", job, "--json").stdout)
            if found["status"] not in ("PENDING", "RUNNING"):
                print(found, self("logs", job).stdout)  # pytest shows it if the test fails
                return False
            return True

        return look


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("token") / "auth_token"


@pytest.fixture(scope="module")
def cluster(token: Path) -> Iterator[LocalCluster]:
    """A head without work and two workers, with a token of their own."""
    before = os.environ.copy()
    os.environ.pop("RAY_AUTH_TOKEN", None)
    os.environ["RAY_AUTH_TOKEN_PATH"] = str(token)
    with tempfile.TemporaryDirectory(prefix="ak-", dir="/tmp") as folder:  # sockets: a short path
        cluster = LocalCluster(Path(folder))
        try:
            cluster.up([NodeSpec(cpus=4)] * 2, dashboard_port=free_port())
            yield cluster
        finally:
            family = [member for node in cluster.state().nodes for member in tree(node)]
            cluster.down()
            os.environ.clear()
            os.environ.update(before)
            assert [p for p in family if alive(p)] == [], "processes are left"


@pytest.fixture
def client(cluster: LocalCluster, token: Path) -> Client:
    return Client(cluster.state().dashboard, token)


def tree(node: NodeProcess) -> list[psutil.Process]:
    process = node.process()
    return [process, *process.children(recursive=True)] if process else []


def alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def wait_for(what: str, ready: Callable[[], Any], goes_on: Callable[[], bool]) -> Any:
    """What `ready` returns, once that is true, while the job goes on."""
    deadline = time.monotonic() + DEADLINE_S
    looked = time.monotonic()
    while not (found := ready()):
        assert time.monotonic() < deadline, f"{what}: not in {DEADLINE_S} s"
        if time.monotonic() > looked + 10:
            looked = time.monotonic()
            assert goes_on(), f"{what}: the job ended before"
        time.sleep(0.1)
    return found


def scripted(folder: Path, questions: Path, *more: str) -> list[str]:
    return [
        "--config",
        "jobs/configs/gsm8k.yaml",
        f"output={folder}",
        f"tasks.path={questions}",
        "engine.type=scripted",
        "engine.scripted_latency_s=0.3",
        "engine.in_flight=4",
        "engine.rows_per_block=4",
        *more,
    ]


def ids(folder: Path, name: str) -> list[str]:
    table = dataset.dataset(folder / name, format="parquet").to_table(columns=["debate_id"])
    return sorted(table["debate_id"].to_pylist())


def files(folder: Path, pattern: str) -> int:
    return len(list(folder.glob(pattern)))


def test_without_the_token_nothing_is_told(cluster: LocalCluster, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    address = cluster.state().dashboard
    assert "no token" in Client(address, wrong)("status", code=2).stderr
    wrong.write_text("0" * 64)
    refused = Client(address, wrong)("status", code=2)
    assert len(refused.stderr.strip().splitlines()) == 1
    assert f"{address}: refuses the token of {wrong}" in refused.stderr


def test_a_job_that_is_stopped_goes_on_when_it_is_submitted_again(
    client: Client, tmp_path: Path, gsm8k_file: Callable[[int], Path]
) -> None:
    folder = tmp_path / "run"
    args = scripted(folder, gsm8k_file(200), "engine.actors=2")
    client("submit", "generate", "--id", "first", *args)
    wait_for("traces", lambda: files(folder, "traces/*.parquet") >= 4, client.runs("first"))
    stopped = json.loads(client("stop", "first", "--json").stdout)
    assert (stopped["status"], stopped["output"]) == ("STOPPED", str(folder))
    assert "Run the same command again to continue" in client("logs", "first").stdout
    kept = set(ids(folder, "traces"))
    assert kept

    again = client("submit", "generate", "--wait", *args)
    assert "traces:" in again.stdout and "\r" not in again.stdout
    held = ids(folder, "traces")
    assert held == ids(folder, "requests/train.parquet") and len(set(held)) == len(held) > 100
    assert kept < set(held)
    listed = json.loads(client("status", "--json").stdout)
    assert [job["status"] for job in listed[:2]] == ["SUCCEEDED", "STOPPED"]


def test_a_job_that_fails_ends_with_its_code_and_reason(client: Client, tmp_path: Path) -> None:
    failed = client(
        "submit", "generate", "--wait", *scripted(tmp_path / "run", tmp_path / "none.jsonl"), code=2
    )
    assert "none.jsonl" in failed.stdout


def test_a_job_that_cannot_fit_says_so(
    client: Client, tmp_path: Path, gsm8k_file: Callable[[int], Path]
) -> None:
    args = scripted(tmp_path / "run", gsm8k_file(20), "engine.actors=2", "gpus_per_engine=4")
    failed = client("submit", "generate", "--wait", *args, code=2)
    assert "needs 8 GPUs (2 x 4, each group on one node), the cluster has 0" in failed.stdout
