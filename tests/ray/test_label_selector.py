"""Training goes to the nodes that have its labels, and says so where there are none."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from agentark_ray.cluster.local import NodeSpec
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

        for (node, kind), strategy in zip(kinds.items(), ("rsft", "da"), strict=True):
            client("submit", "--id", kind, *distill(kind, strategy))
            goes_on = client.runs(kind)
            found = wait_for(kind, lambda: workers(cluster, "RayTrainWorker"), goes_on)
            assert found == [node]
            client("logs", kind, "--follow")
        refused = client("submit", "--wait", *distill("reserved", "rsft"), code=2)
        words = (
            rf"train.workers=2 on nodes with .*{KEY}.*reserved.*: needs 2 CPUs, the cluster has 0"
        )
        assert re.search(words, refused.stdout), refused.stdout
