"""Training goes to the nodes that have its labels, and says so where there are none."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster

from agentark_ray.cluster.local import NodeSpec
from agentark_ray.train.rollouts import where
from tests.ray.nodes import Client, local_cluster, scripted, wait_for, workers

KEY = "ray.io/market-type"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_training_is_placed_by_labels(tmp_path: Path, gsm8k_file: Callable[[int], Path]) -> None:
    token, folder = tmp_path / "token", tmp_path / "run"
    kinds = {"worker-1": "spot", "worker-2": "on-demand"}
    nodes = [NodeSpec(cpus=4, labels=(f"{KEY}={kind}",)) for kind in kinds.values()]
    settings = ("engine.actors=1", "train.batch_size=4", "train.micro_batch_size=2")
    with local_cluster(token, nodes) as cluster:
        client = Client(cluster.state().dashboard, token)
        args = scripted(folder, gsm8k_file(60), *settings, "distill.seq_len=256")
        client("submit", "generate", "--wait", *args)

        def distill(kind: str, strategy: str) -> list[str]:
            label = f"train.label_selector={{{KEY}: {kind}}}"
            return ["distill", str(folder), "--strategy", strategy, "train.workers=2", label]

        refused = client("submit", "--wait", *distill("reserved", "rsft"), code=2)
        words = (
            rf"train.workers=2 on nodes with .*{KEY}.*reserved.*: needs 2 CPUs, the cluster has 0"
        )
        assert re.search(words, refused.stdout), refused.stdout

        for (node, kind), strategy in zip(kinds.items(), ("rsft", "da"), strict=True):
            client("submit", "--id", kind, *distill(kind, strategy))
            goes_on = client.runs(kind)
            found = wait_for(kind, lambda: workers(cluster, "RayTrainWorker"), goes_on)
            assert found == [node]
            client("logs", kind, "--follow")


@ray.remote(num_cpus=1)
class Holder:
    """Stays where it is."""

    def node(self) -> str:
        return ray.get_runtime_context().get_node_id()


def test_actors_keep_off_the_nodes_with_all_labels() -> None:
    """Also those that start before anybody is there; a node without a label has another one."""
    labels = {KEY: "on-demand", "zone": "a"}
    others = [{KEY: "spot", "zone": "a"}, {KEY: "on-demand", "zone": "b"}, {}]
    cluster = Cluster(initialize_head=True, connect=True, head_node_args={"num_cpus": 0})
    try:
        for one in (labels, *others):
            cluster.add_node(num_cpus=2, labels=one)
        cluster.wait_for_nodes()
        kinds: Any = Holder
        apart = [kinds.options(**where(labels, apart=True)).remote() for _ in range(7)]
        found, waits = ray.wait([one.node.remote() for one in apart], num_returns=7, timeout=20)
        taken = {node["NodeID"] for node in ray.nodes() if labels.items() <= node["Labels"].items()}
        assert len(set(ray.get(found)) - taken) == 3 and (len(found), len(waits)) == (6, 1)
        beside = [kinds.options(**where(labels, apart=False)).remote() for _ in range(2)]
        assert set(ray.get([one.node.remote() for one in beside])) == taken
    finally:
        ray.shutdown()
        cluster.shutdown()
