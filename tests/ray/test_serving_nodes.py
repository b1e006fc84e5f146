"""What users of an application that is served on several nodes see when one of them is lost."""

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import yaml

from agentark_ray.cluster.local import LocalCluster, NodeSpec
from agentark_ray.serving.keys import add_key
from tests.ray.helpers import children
from tests.ray.nodes import ROOT, local_cluster
from tests.ray.serving import scripted_run
from tests.ray.test_serving_failures import (
    AGAIN,
    LOAD_S,
    LOST_INGRESS,
    NO_CONNECTION,
    PORT,
    during_load,
    lasting,
    load,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

DOUBLED = ("EngineServer:base", "EngineServer:student", "debate", "ingress")
BACK_S = 110  # what during_load waits


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    token = tmp_path_factory.mktemp("token") / "auth_token"
    with local_cluster(token, [NodeSpec(cpus=12)] * 2) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def served(cluster: LocalCluster, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """An application with two replicas of all but its recorder, deployed by the command line."""
    folder = tmp_path_factory.mktemp("serving")
    keys, settings = folder / "keys.jsonl", folder / "serve.yaml"
    key = add_key(str(keys), "alice")
    pool = {"min_replicas": 2, "max_replicas": 2}
    values = {
        "run": scripted_run(folder / "run").uri,
        "port": PORT,
        "models": ["student", "debate", "base"],
        "pools": dict.fromkeys(("base", "student", "debate", "ingress"), pool),
        "keys": {"file": str(keys), "requests_per_minute": 1_000_000},
        "limits": {"max_tokens": 600},
    }
    settings.write_text(yaml.safe_dump(values))
    done = subprocess.run(
        [sys.executable, "-m", "agentark_ray.cli", "serve", str(settings)],
        cwd=ROOT,
        env={**os.environ, "RAY_ADDRESS": cluster.state().address, "RAY_AUTH_MODE": "token"},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return {"key": key}


def replicas(cluster: LocalCluster) -> dict[str, list[str]]:
    """Deployment -> for each of its replicas the name of its node."""
    return {
        name: [
            node.name
            for node in cluster.state().alive
            for _ in children(f"ServeReplica:agentark:{name}", node.pid)
        ]
        for name in (*DOUBLED, "recorder")
    }


def complete(found: dict[str, list[str]]) -> bool:
    """Whether all replicas are there."""
    return len(found["recorder"]) == 1 and all(len(found[name]) == 2 for name in DOUBLED)


def test_a_lost_node_costs_no_request(
    cluster: LocalCluster, served: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """The node with the recorder, and with half of all else."""
    before = replicas(cluster)
    assert complete(before) and all(len(set(before[name])) == 2 for name in DOUBLED), before
    (victim,) = before["recorder"]
    seconds: list[float] = []

    def lose() -> None:
        cluster.kill(victim)
        lost = time.monotonic()
        while not complete(now := replicas(cluster)):
            assert time.monotonic() < lost + BACK_S, f"not back in {BACK_S} s: {now}"
            time.sleep(0.5)
        seconds.append(time.monotonic() - lost)

    with ThreadPoolExecutor(1) as pool:
        students = pool.submit(load, served, "student", lasting(LOAD_S))
        debates = during_load(served, "debate", lose)
    debates += load(served, "debate", lasting(3))
    found = {"student": students.result(), "debate": debates}
    for statuses in found.values():
        assert {200} <= set(statuses) <= {200, NO_CONNECTION, LOST_INGRESS} | AGAIN, Counter(
            statuses
        )
    with capsys.disabled():
        numbers = {model: Counter(statuses) for model, statuses in found.items()}
        print(f"\n{numbers}, replicas back after {seconds[0]:.1f} s")
