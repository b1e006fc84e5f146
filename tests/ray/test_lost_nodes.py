"""A stage that a lost node made fail is done again; one that fails otherwise is not."""

import re
import time
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
import ray
from ray.cluster_utils import Cluster
from ray.exceptions import ActorDiedError

from agentark_ray import lost_nodes
from agentark_ray.lost_nodes import NodesKeepDying, outlive_nodes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@ray.remote(num_cpus=1)
class Holder:
    """An actor that is not started again."""

    def node(self) -> str:
        return ray.get_runtime_context().get_node_id()

    def end(self) -> None:
        psutil.Process().kill()


@ray.remote(num_cpus=0)
def asks(holder: Any) -> None:
    """As Ray Data's listing of files asks the actor that reads footers; here until it is dead."""
    while True:
        ray.get(holder.node.remote())
        time.sleep(0.1)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head that takes no work."""
    cluster = Cluster(initialize_head=True, connect=True, head_node_args={"num_cpus": 0})
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def lose_node(cluster: Cluster) -> None:
    """Begin work on a new node and lose it.

    Raises:
        ray.exceptions.RayTaskError: of an ActorDiedError.
    """
    node = cluster.add_node(num_cpus=1)
    holder: Any = Holder.remote()
    ray.get(holder.node.remote())
    cluster.remove_node(node, allow_graceful=False)
    ray.get(asks.remote(holder))  # pyright: ignore


def test_a_stage_goes_on_after_a_lost_node(cluster: Cluster) -> None:
    told: list[str] = []

    def work() -> int:
        if len(told) < 2:
            lose_node(cluster)
        return 42

    assert outlive_nodes(work, told.append) == 42
    assert len(told) == 2
    assert all(
        re.match(r"  a node was lost \(Actor(Died|Unavailable)Error\)", line) for line in told
    )


def test_a_stage_that_loses_every_node_gives_up(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lost_nodes, "LOSSES", 1)
    told: list[str] = []
    with pytest.raises(NodesKeepDying, match=r"lost 2 nodes; last: Actor"):
        outlive_nodes(lambda: lose_node(cluster), told.append)
    assert len(told) == 1


def test_other_failures_are_not_repeated(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lost_nodes, "KNOWN_S", 1.0)
    cluster.add_node(num_cpus=1)
    calls: list[float] = []

    def dies() -> None:
        calls.append(time.monotonic())
        holder: Any = Holder.remote()
        holder.end.remote()
        ray.get(asks.remote(holder))  # pyright: ignore

    def fails() -> None:
        calls.append(time.monotonic())
        raise OSError("disk full")

    with pytest.raises(ActorDiedError):
        outlive_nodes(dies, calls.append)  # pyright: ignore
    with pytest.raises(OSError, match="disk full"):
        outlive_nodes(fails, calls.append)  # pyright: ignore
    assert len(calls) == 2
