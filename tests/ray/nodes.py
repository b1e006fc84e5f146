"""Several Ray nodes on this machine, jobs that are submitted to them, and nodes that are lost."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from pyarrow import dataset

from agentark_ray.cluster.local import HEAD, LocalCluster, NodeSpec
from agentark_ray.cluster.node import NodeProcess
from agentark_ray.cluster.processes import free_port
from tests.ray.helpers import children

ROOT = Path(__file__).parents[2]
DEADLINE_S = 400


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


def driver(cluster: LocalCluster, script: str) -> Any:
    """What a driver on this machine prints at last, as JSON; the cluster's token is in use."""
    env = {**os.environ, "RAY_ADDRESS": cluster.state().address, "RAY_AUTH_MODE": "token"}
    begin = "import json, ray\nray.init(log_to_driver=False)\n"
    done = subprocess.run(
        [sys.executable, "-c", begin + script],
        env=env,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@contextmanager
def local_cluster(token: Path, nodes: Sequence[NodeSpec], **options: Any) -> Iterator[LocalCluster]:
    """A head without work and workers, with a token of their own; nothing of them is left.

    `options` are further ones of LocalCluster.up.
    """
    before = os.environ.copy()
    os.environ.pop("RAY_AUTH_TOKEN", None)
    os.environ["RAY_AUTH_TOKEN_PATH"] = str(token)
    with tempfile.TemporaryDirectory(prefix="ak-", dir="/tmp") as folder:  # sockets: a short path
        cluster = LocalCluster(Path(folder))
        try:
            cluster.up(nodes, dashboard_port=free_port(), **options)
            yield cluster
        finally:
            family = [member for node in cluster.state().nodes for member in tree(node)]
            cluster.down()
            os.environ.clear()
            os.environ.update(before)
            assert [p for p in family if alive(p)] == [], "processes are left"


def tree(node: NodeProcess) -> list[psutil.Process]:
    process = node.process()
    return [process, *process.children(recursive=True)] if process else []


def alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def workers(cluster: LocalCluster, name: str) -> list[str]:
    """Names of the nodes that run tasks or actors of a name."""
    nodes = [node for node in cluster.state().alive if node.name != HEAD]
    return [node.name for node in nodes if children(name, node.pid)]


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
