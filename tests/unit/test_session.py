"""How a session starts, and that a failure to start is seen."""

import os
import socket
import subprocess

import psutil
import pytest
import ray

from agentark_ray.config import ConfigError
from agentark_ray.session import ATTEMPTS, TOO_SLOW, need_cluster, ray_session, stderr_held_back


def test_a_cluster_that_does_not_answer_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        need_cluster(f"127.0.0.1:{port}")
    with pytest.raises(ConfigError, match=rf"RAY_ADDRESS=127.0.0.1:{port}: no Ray cluster answers"):
        need_cluster(f"127.0.0.1:{port}")


@pytest.mark.parametrize("address", ["auto", "local", "ray://127.0.0.1:1", "nonsense"])
def test_other_addresses_are_left_to_ray(address: str) -> None:
    need_cluster(address)


def test_what_ray_says_is_shown_only_if_it_fails(capfd: pytest.CaptureFixture[str]) -> None:
    with stderr_held_back():
        os.write(2, b"notice")
    os.write(2, b" after")
    assert capfd.readouterr().err == " after"
    with pytest.raises(RuntimeError, match="no raylet"), stderr_held_back():
        os.write(2, b"the reason")
        raise RuntimeError("no raylet")
    os.write(2, b" after")
    assert capfd.readouterr().err == "the reason after"


@pytest.mark.parametrize(
    ("reason", "tries"),
    [(f"The current node {TOO_SLOW}.", ATTEMPTS), ("no space left on device", 1)],
)
def test_a_node_that_is_late_is_started_again(
    monkeypatch: pytest.MonkeyPatch, reason: str, tries: int
) -> None:
    nodes: list[subprocess.Popen[bytes]] = []

    def late(**options: object) -> None:
        assert not any(psutil.pid_exists(node.pid) for node in nodes)  # of the tries before
        nodes.append(subprocess.Popen(["sleep", "60"]))
        raise Exception(reason)

    monkeypatch.setattr(ray, "init", late)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with subprocess.Popen(["sleep", "60"]) as other:
        with pytest.raises(Exception, match=reason), ray_session():
            pytest.fail("no session")
        assert len(nodes) == tries
        assert psutil.Process(other.pid).status() != psutil.STATUS_ZOMBIE
        for process in (nodes[-1], other):
            process.kill()
            process.wait()
