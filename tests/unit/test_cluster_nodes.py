"""Heads that come back and workers that are told to leave, with a program in place of Ray's."""

import fcntl
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from agentark_ray.cluster import local
from agentark_ray.cluster.local import HEAD, LocalCluster, NodeSpec
from agentark_ray.cluster.processes import free_port
from agentark_ray.config import ConfigError

RAY = """#!/bin/sh
echo "$RAY_gcs_storage $RAY_gcs_storage_path $@" >> {log}
case "$1" in
  start) echo "Ray runtime started"; exec sleep 300 ;;
  list) cat {nodes} ;;
  drain-node) test -z "$REFUSED" || {{ echo "not accepted" >&2; exit 1; }} ;;
esac
"""
NODES = """[
  {"node_id": "01", "state": "DEAD", "labels": {"agentark/node": "worker-1"}},
  {"node_id": "02", "state": "ALIVE", "labels": {"agentark/node": "worker-1"}},
  {"node_id": "03", "state": "ALIVE", "labels": {}}
]"""


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the program was asked, a line each time."""
    program, nodes, log = (tmp_path / name for name in ("ray", "nodes", "log"))
    nodes.write_text(NODES)
    program.write_text(RAY.format(log=log, nodes=nodes))
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("RAY_AUTH_TOKEN", "token")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    return log


@pytest.fixture
def cluster(asked: Path, tmp_path: Path) -> Iterator[LocalCluster]:
    cluster = LocalCluster(tmp_path / "cluster")
    cluster.up([NodeSpec()] * 2, dashboard_port=free_port())
    yield cluster
    cluster.down()


def test_a_head_comes_back_on_its_ports_with_its_disk(cluster: LocalCluster, asked: Path) -> None:
    before = cluster.state()
    old = before.nodes[0].process()
    for name in ("gcs", "ray"):
        (cluster.folder / name).mkdir()
    told = cluster.folder / "ray" / "ray_current_cluster"
    told.write_text(before.address)  # with it, Ray says that a cluster runs there
    cluster.restart_head()
    after = cluster.state()
    assert not told.exists()
    assert (after.address, after.dashboard, after.made) == (before.address, before.dashboard, 2)
    assert [node.name for node in after.alive] == [HEAD, "worker-1", "worker-2"]
    assert after.nodes[1:] == before.nodes[1:] and after.nodes[0] != before.nodes[0]
    assert old is not None and not old.is_running()
    first, *_, last = asked.read_text().splitlines()
    for line in (first, last):
        words = line.split()
        assert words[:2] == ["rocksdb", str(cluster.folder / "gcs")]
        assert f"--port={before.address.rpartition(':')[2]}" in words
        assert f"--dashboard-port={before.dashboard.rpartition(':')[2]}" in words
    assert (cluster.folder / "gcs").is_dir()

    node = after.nodes[0].process()
    assert node is not None
    node.kill()
    node.wait()
    cluster.restart_head()  # one that is gone already
    assert len(cluster.state().alive) == 3


def test_a_head_that_comes_back_alone_is_known(cluster: LocalCluster) -> None:
    cluster.kill("worker-1")
    cluster.kill("worker-2")
    cluster.restart_head()
    assert [node.name for node in cluster.state().alive] == [HEAD]


def test_workers_that_are_added_at_once_have_names_of_their_own(cluster: LocalCluster) -> None:
    with ThreadPoolExecutor(3) as threads:
        added = list(threads.map(LocalCluster(cluster.folder).add, [NodeSpec()] * 3))
    names = {"worker-3", "worker-4", "worker-5"}
    assert {node.name for node in added} == names
    assert {node.name for node in cluster.state().alive} == {HEAD, "worker-1", "worker-2", *names}


def test_a_cluster_does_not_end_while_it_is_changed(cluster: LocalCluster) -> None:
    with ThreadPoolExecutor(1) as threads, (cluster.folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ending = threads.submit(LocalCluster(cluster.folder).down)
        with pytest.raises(TimeoutError):
            ending.result(timeout=1)
        assert len(cluster.state().alive) == 3
        fcntl.flock(lock, fcntl.LOCK_UN)
        ending.result(timeout=30)
    with pytest.raises(ConfigError, match="no local cluster runs"):
        cluster.state()


def test_a_worker_that_ray_does_not_list_cannot_be_told(
    cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "run_ray", lambda *words: "[]")
    with pytest.raises(ConfigError, match="worker-1: Ray does not list it as alive"):
        cluster.drain("worker-1")


def test_a_new_cluster_does_not_have_the_state_of_an_earlier_one(
    cluster: LocalCluster, asked: Path
) -> None:
    (cluster.folder / "gcs").mkdir()
    cluster.down()
    cluster.up([], dashboard_port=free_port())
    assert not (cluster.folder / "gcs").exists()


def test_ray_is_told_before_a_worker_is_taken_away(cluster: LocalCluster, asked: Path) -> None:
    cluster.drain("worker-1", notice_s=1)
    assert [node.name for node in cluster.state().alive] == [HEAD, "worker-2"]
    told = asked.read_text().splitlines()[-1]
    assert f"drain-node --address={cluster.state().address} --node-id=02" in told
    assert "--reason=DRAIN_NODE_REASON_PREEMPTION" in told
    assert "--deadline-remaining-seconds=1" in told


def test_a_worker_stays_when_ray_does_not_agree(
    cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REFUSED", "1")
    with pytest.raises(ConfigError, match="ray drain-node: not accepted"):
        cluster.drain("worker-1", notice_s=1)
    with pytest.raises(ConfigError, match="head: no such worker runs, there is worker-1, worker-2"):
        cluster.drain(HEAD)
    assert len(cluster.state().alive) == 3
