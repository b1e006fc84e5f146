"""`agentark cluster local` without Ray: a program in place of `ray start`."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from agentark_ray.cluster import node
from agentark_ray.cluster.local import LocalCluster, NodeSpec
from agentark_ray.cluster.processes import free_port
from agentark_ray.config import ConfigError


def ended(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_node_that_starts_while_one_gives_up_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C, which a node in a session of its own does not get."""
    pids = tmp_path / "pids"
    program = tmp_path / "ray"
    program.write_text(
        f"#!/bin/sh\nsleep 300 &\necho $$ $! > {pids}.tmp\nmv {pids}.tmp {pids}\nwait"
    )
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("RAY_AUTH_TOKEN", "token")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")

    def interrupt(seconds: float) -> None:
        if pids.exists():
            raise KeyboardInterrupt

    monkeypatch.setattr(node.time, "sleep", interrupt)
    cluster = LocalCluster(tmp_path / "cluster")
    with pytest.raises(KeyboardInterrupt):
        cluster.up([], dashboard_port=free_port())
    monkeypatch.undo()
    started = [int(pid) for pid in pids.read_text().split()]
    assert len(started) == 2
    deadline = time.monotonic() + 10
    while not all(map(ended, started)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert all(map(ended, started))


@pytest.mark.parametrize(
    "ask",
    [
        LocalCluster.state,
        LocalCluster.down,
        lambda cluster: cluster.up([], dashboard_port=free_port()),
        lambda cluster: cluster.add(NodeSpec()),
    ],
    ids=["state", "down", "up", "add"],
)
def test_the_folder_of_another_user_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ask: Callable[[LocalCluster], object]
) -> None:
    (tmp_path / "nodes.json").write_text("what another user says")
    own = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: own + 1)
    with pytest.raises(ConfigError) as error:
        ask(LocalCluster(tmp_path))
    assert str(error.value) == f"{tmp_path}: belongs to user {own}, expected {own + 1}"
