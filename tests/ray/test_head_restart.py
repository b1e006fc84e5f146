"""The head of a cluster is lost and comes back on its ports with the disk of its GCS."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from agentark_ray.cluster.local import HEAD, NodeSpec
from tests.ray.nodes import Client, driver, files, ids, local_cluster, scripted, tree, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
START = """
import os

@ray.remote(num_cpus=1)
class Kept:
    def pid(self):
        return os.getpid()

actor = Kept.options(name="kept", namespace="test", lifetime="detached").remote()
print(ray.get(actor.pid.remote()))
"""
ASK = """
actor = ray.get_actor("kept", namespace="test")
alive = sum(node["Alive"] for node in ray.nodes())
print(json.dumps([ray.get(actor.pid.remote(), timeout=60), alive]))
"""


def status(client: Client, job: str) -> str:
    return str(json.loads(client("status", job, "--json").stdout)["status"])


def test_workers_live_on_and_a_job_goes_on_when_it_is_submitted_again(
    tmp_path: Path, gsm8k_file: Callable[[int], Path]
) -> None:
    folder, token = tmp_path / "run", tmp_path / "auth_token"
    args = scripted(folder, gsm8k_file(200), "engine.actors=2")
    with local_cluster(token, [NodeSpec(cpus=3)] * 2) as cluster:
        before = cluster.state()
        client = Client(before.dashboard, token)
        actor = driver(cluster, START)
        client("submit", "generate", "--id", "first", *args)
        wait_for("traces", lambda: files(folder, "traces/*.parquet") >= 4, client.runs("first"))

        cluster.restart_head()
        after = cluster.state()
        assert (after.address, after.dashboard) == (before.address, before.dashboard)
        assert [node.name for node in after.alive] == [HEAD, "worker-1", "worker-2"]
        assert after.nodes[1:] == before.nodes[1:], "workers are those that ran before"
        assert driver(cluster, ASK) == [actor, 3]
        assert actor in [p.pid for node in after.nodes[1:] for p in tree(node)]

        kept = set(ids(folder, "traces"))
        assert "debates" in client("logs", "first").stdout  # asked of the new head
        wait_for("its end", lambda: status(client, "first") == "FAILED", lambda: True)
        client("submit", "generate", "--id", "second", "--wait", *args)
        held = ids(folder, "traces")
    assert held == ids(folder, "requests/train.parquet") and len(set(held)) == len(held) > 100
    assert kept and kept < set(held)
