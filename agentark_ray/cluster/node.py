"""One Ray node on this machine: `ray start --block`, with all its processes, behind the token."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from agentark_ray.cluster.processes import HOST, SUBMITTED, family, free_port, send
from agentark_ray.config import ConfigError

START_S = 120.0
ATTEMPTS = 3  # Ray gives a node 30 s to come up, which is too little on a busy machine
STARTED = "Ray runtime started"  # what `ray start` writes when its node is up
WAIT_FOR_HEAD, WAIT_FOR_HEAD_S = "RAY_gcs_rpc_server_reconnect_timeout_s", "300"  # Ray's own: 60


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeProcess:
    """A node that was started."""

    name: str
    pid: int
    started: float  # as psutil says; with it a process id is that of one process

    def process(self) -> psutil.Process | None:
        """The node's process, if it still runs."""
        try:
            found = psutil.Process(self.pid)
            same = found.create_time() == self.started
            return found if same and found.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None


def start_node(
    folder: Path, name: str, options: Mapping[str, object], env: Mapping[str, str]
) -> NodeProcess:
    """Start a node and wait until it is up; its log is `folder`/`name`.log.

    `options` are those of `ray start`, None for one without a value; `env` adds to this process's.

    Raises:
        ConfigError: it did not start.
    """
    log = folder / f"{name}.log"
    command = [_ray_command(), "start", "--block"]
    for key, value in {**_node_options(), **options}.items():
        command.append(f"--{key}" if value is None else f"--{key}={value}")
    for _ in range(ATTEMPTS):
        if node := _attempt(name, command, log, env):
            return node
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
    raise ConfigError(f"{name}: did not start, see {log}:\n{tail}")


def _attempt(
    name: str, command: Sequence[str], log: Path, env: Mapping[str, str]
) -> NodeProcess | None:
    """Start a node; None if it ended, or was not up in time and has been ended."""
    with log.open("w") as out:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=_environment(env),
            cwd=log.parent,
            start_new_session=True,
        )
    root = psutil.Process(process.pid)
    up = False
    try:
        up = _comes_up(process, log)
    finally:
        if not up:  # also at Ctrl-C, which a node in a session of its own does not get
            for member in family([root]):
                send(member, "kill")
            process.wait()
    return NodeProcess(name=name, pid=process.pid, started=root.create_time()) if up else None


def _comes_up(process: subprocess.Popen[bytes], log: Path) -> bool:
    """Wait for a node; False if it ended or was not up in time."""
    deadline = time.monotonic() + START_S
    while STARTED not in log.read_text(errors="replace"):
        if process.poll() is not None or time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def _ray_command() -> str:
    return str(Path(sys.executable).parent / "ray")


def run_ray(*args: str) -> str:
    """What a command of Ray prints; Ray reads the token's environment once in a process.

    Raises:
        ConfigError: it failed.
    """
    done = subprocess.run(
        [_ray_command(), *args], env=_environment({}), capture_output=True, text=True
    )
    if done.returncode:
        raise ConfigError(f"ray {args[0]}: {done.stderr.strip()[-1000:]}")
    return done.stdout


def _node_options() -> dict[str, object]:
    """Of every node. Ray's ports are the same on every machine, but these nodes share one."""
    return {
        "node-ip-address": HOST,
        "disable-usage-stats": None,
        "min-worker-port": 0,
        "max-worker-port": 0,
        "dashboard-agent-listen-port": free_port(),
    }


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    """Of a node: this process's, without what would lead it to another cluster."""
    kept = {k: v for k, v in os.environ.items() if k not in ("RAY_ADDRESS", SUBMITTED)}
    path = os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", os.defpath)])
    own = {"RAY_AUTH_MODE": "token", "PYTHONUNBUFFERED": "1", WAIT_FOR_HEAD: WAIT_FOR_HEAD_S}
    return {**kept, "PATH": path, **own, **more}
