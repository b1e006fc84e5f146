"""Ray's own autoscaler on this machine: a job brings nodes up, idleness takes them down.

As ray.cluster_utils.AutoscalingCluster does it, which cannot be used: it lacks a file in Ray's
wheel, and ends every Ray of the machine when it starts.
"""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID

from agentark_ray.cluster.local import HEAD, LocalCluster
from agentark_ray.cluster.processes import free_port
from agentark_ray.resources import VARIABLE
from tests.ray.helpers import children
from tests.ray.nodes import Client, files, local_cluster, scripted, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

MOST = 3  # workers
WORKER = {"CPU": 3, "GPU": 1}
IDLE_S = 12
# Lists, empty here, that the autoscaler wants to find.
NEEDED = (
    *("setup_commands", "head_setup_commands", "worker_setup_commands"),
    "cluster_synced_files",
)


@pytest.fixture
def token(tmp_path: Path) -> Path:
    return tmp_path / "auth_token"


@pytest.fixture
def cluster(tmp_path: Path, token: Path) -> Iterator[LocalCluster]:
    """A head whose autoscaler may start up to three workers with a GPU, as Ray is told."""
    port = free_port()
    provider = {
        "type": "external",  # of type "fake_multinode", whose defaults Ray's wheel lacks
        "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
        "head_node_id": FAKE_HEAD_NODE_ID,
        "gcs_address": f"127.0.0.1:{port}",
        "launch_multiple": True,
    }
    worker = {
        "resources": {**WORKER, "object_store_memory": 200_000_000},
        "node_config": {},
        "min_workers": 0,
        "max_workers": MOST,
    }
    values = {
        "cluster_name": "fake",
        "max_workers": MOST,
        "idle_timeout_minutes": IDLE_S / 60,
        "provider": provider,
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            "gpu": worker,
        },
        "head_node_type": "ray.head.default",
        **{key: [] for key in NEEDED},
    }
    config = tmp_path / "autoscaler.json"
    config.write_text(json.dumps(values))
    env = {
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "RAY_FAKE_CLUSTER": "1",
        "RAY_enable_autoscaler_v2": "1",
        "RAY_CLOUD_INSTANCE_ID": FAKE_HEAD_NODE_ID,
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID,
        VARIABLE: json.dumps([{"nodes": MOST, **WORKER}]),
    }
    head = {"autoscaling-config": config}
    with local_cluster(token, [], port=port, env=env, head=head) as cluster:
        yield cluster


def nodes_beside_head(cluster: LocalCluster) -> int:
    """The head has started them."""
    (head,) = (node for node in cluster.state().nodes if node.name == HEAD)
    return len(children("core/src/ray/raylet/raylet", head.pid)) - 1


def test_a_job_brings_nodes_up_and_idleness_takes_them_down(
    cluster: LocalCluster,
    token: Path,
    tmp_path: Path,
    gsm8k_file: Callable[[int], Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    client = Client(cluster.state().dashboard, token)
    assert nodes_beside_head(cluster) == 0

    def args(actors: int) -> list[str]:
        return scripted(
            tmp_path / "run", gsm8k_file(300), f"engine.actors={actors}", "gpus_per_engine=1"
        )

    refused = client("submit", "generate", "--wait", *args(4), code=2)
    assert "needs 4 GPUs, the cluster has 3 when it is as large as it may be" in refused.stdout
    assert nodes_beside_head(cluster) == 0

    asked = time.monotonic()
    client("submit", "generate", "--id", "grows", *args(2))
    goes_on = client.runs("grows")
    wait_for("two nodes", lambda: nodes_beside_head(cluster) == 2, goes_on)
    up_s = time.monotonic() - asked
    wait_for("traces", lambda: files(tmp_path / "run", "traces/*.parquet") > 1, goes_on)
    assert nodes_beside_head(cluster) == 2, "more than were asked for"
    ended = client("logs", "grows", "--follow")
    assert "SUCCEEDED" in ended.stderr
    idle = time.monotonic()
    while left := nodes_beside_head(cluster):
        assert time.monotonic() < idle + 180, f"{left} idle nodes are left"
        time.sleep(1)
    with capsys.disabled():
        down_s = time.monotonic() - idle
        print(f"\ntwo nodes {up_s:.0f} s after the job was submitted, none {down_s:.0f} s after")
