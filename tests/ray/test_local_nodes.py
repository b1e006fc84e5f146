"""Nodes of one machine: labels and GPUs that Ray is told of, and one with a notice of its end."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agentark_ray.cluster.local import HEAD, LocalCluster, NodeSpec
from tests.ray.nodes import (
    Client,
    driver,
    files,
    ids,
    local_cluster,
    scripted,
    wait_for,
    workers,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
SPOT = "ray.io/market-type"
NOTICE_S = 60
NODES = """
shown = [{"labels": n["Labels"], "resources": n["Resources"]} for n in ray.nodes() if n["Alive"]]
print(json.dumps(shown))
"""
PLACED = """
@ray.remote(num_cpus=1, label_selector={"agentark/node": NAME})
def task():
    return 1

ready, _ = ray.wait([task.remote()], timeout=20)
print(len(ready))
"""


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("token") / "auth_token"


@pytest.fixture(scope="module")
def cluster(token: Path) -> Iterator[LocalCluster]:
    spec = NodeSpec(cpus=5, gpus=3, labels=(f"{SPOT}=spot", "zone=a"))
    with local_cluster(token, [spec] * 2) as cluster:
        yield cluster


@pytest.fixture
def client(cluster: LocalCluster, token: Path) -> Client:
    return Client(cluster.state().dashboard, token)


def placed(cluster: LocalCluster, name: str) -> bool:
    """Whether Ray puts a task on a worker."""
    return driver(cluster, f"NAME = {name!r}{PLACED}") == 1


def test_ray_knows_labels_and_gpus(cluster: LocalCluster) -> None:
    found = {node["labels"].get("agentark/node"): node for node in driver(cluster, NODES)}
    head = found.pop(None)
    assert not head["resources"].keys() & {"CPU", "GPU"}
    assert found.keys() == {"worker-1", "worker-2"}
    for node in found.values():
        assert (node["resources"]["CPU"], node["resources"]["GPU"]) == (5, 3)
        assert (node["labels"][SPOT], node["labels"]["zone"]) == ("spot", "a")


def test_six_gpus_are_no_two_groups_of_four(
    client: Client, tmp_path: Path, gsm8k_file: Callable[[int], Path]
) -> None:
    args = scripted(tmp_path / "run", gsm8k_file(20), "engine.actors=2", "gpus_per_engine=4")
    failed = client("submit", "generate", "--wait", *args, code=2)
    words = "needs 8 GPUs (2 x 4, each group on one node), the cluster has 6 (2 x 3)"
    assert f"engine.actors=2: {words}" in failed.stdout


def test_a_worker_that_is_told_to_leave_gets_no_work_and_nothing_is_lost(
    cluster: LocalCluster, client: Client, tmp_path: Path, gsm8k_file: Callable[[int], Path]
) -> None:
    folder = tmp_path / "run"
    args = scripted(folder, gsm8k_file(700), "engine.actors=2")
    client("submit", "generate", "--id", "drained", *args)
    goes_on = client.runs("drained")
    wait_for("traces", lambda: files(folder, "traces/*.parquet") >= 4, goes_on)
    victim, *_ = wait_for("actors", lambda: workers(cluster, "DebateActor"), goes_on)
    assert placed(cluster, victim)

    notice = threading.Thread(target=cluster.drain, args=(victim, NOTICE_S))
    notice.start()
    wait_for("notice", lambda: not placed(cluster, victim), goes_on)
    assert notice.is_alive() and victim in [node.name for node in cluster.state().alive]
    notice.join()
    assert sorted([HEAD, "worker-1", "worker-2"]) == sorted(
        [*(node.name for node in cluster.state().alive), victim]
    )
    wait_for("the end", lambda: not goes_on(), lambda: True)
    assert json.loads(client("status", "drained", "--json").stdout)["status"] == "SUCCEEDED"
    held = ids(folder, "traces")
    assert held == ids(folder, "requests/train.parquet") and len(set(held)) == len(held) > 300
