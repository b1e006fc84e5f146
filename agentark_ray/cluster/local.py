"""A cluster of several Ray nodes on this machine, to rehearse on: a head without work, and workers.

Every node is a `ray start --block` of its own with all its processes, behind the token; nothing is
shared with other Ray instances of the machine. Dashboard and job API listen on loopback only; Ray's
other ports listen where Ray makes them. What runs is in `nodes.json` of the cluster's folder, by
process id.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import psutil

from agentark_ray.cluster.processes import HOST, family, free_port, need_free, send
from agentark_ray.cluster.tokens import make_token
from agentark_ray.config import ConfigError

START_S = 120.0
ATTEMPTS = 3  # Ray gives a node 30 s to come up, which is too little on a busy machine
STOP_S = 5.0
STARTED = "Ray runtime started"  # what `ray start` writes when its node is up
HEAD_STORE_BYTES = 200_000_000
HEAD = "head"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSpec:
    """What a worker has, as far as Ray is told."""

    cpus: int = 4
    gpus: int = 0  # that are not there: for placement, not for work
    labels: tuple[str, ...] = ()  # KEY=VALUE
    store_bytes: int = 500_000_000  # of objects


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


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """A cluster that was started."""

    address: str  # of the GCS
    dashboard: str  # URL, also of the job API
    made: int  # workers so far, for names
    nodes: tuple[NodeProcess, ...]

    @property
    def alive(self) -> list[NodeProcess]:
        """Nodes that still run."""
        return [node for node in self.nodes if node.process()]


def default_folder() -> Path:
    """Of this user's cluster; short, as a socket of Ray below it has 107 characters at most."""
    return Path(tempfile.gettempdir()) / f"agentark-cluster-{os.getuid()}"


class LocalCluster:
    """The cluster of a folder."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or default_folder()
        self._file = self.folder / "nodes.json"

    def state(self) -> State:
        """Raises ConfigError: no cluster runs."""
        found = self._read()
        if found is None or not found.alive:
            raise ConfigError(
                f"{self.folder}: no local cluster runs; agentark cluster local --nodes 3 starts one"
            )
        return found

    def _read(self) -> State | None:
        if not self._file.is_file():
            return None
        values = json.loads(self._file.read_text(encoding="utf-8"))
        nodes = tuple(NodeProcess(**node) for node in values.pop("nodes"))
        return State(nodes=nodes, **values)

    def _write(self, state: State) -> None:
        pending = self._file.with_suffix(".tmp")
        pending.write_text(json.dumps(asdict(state), indent=2), encoding="utf-8")
        pending.rename(self._file)

    def up(
        self,
        workers: Sequence[NodeSpec],
        *,
        dashboard_port: int,
        port: int | None = None,
        env: Mapping[str, str] | None = None,
        head: Mapping[str, object] | None = None,
    ) -> State:
        """Start a head and workers.

        `env` is for all nodes, beside this process's; `head` are further options of `ray start` for
        the head. Without `port` the GCS takes a free one.

        Raises:
            ConfigError: one runs already, a port is taken, or a node did not start.
        """
        before = self._read()
        if before and before.alive:
            raise ConfigError(
                f"{self.folder}: a local cluster runs at {before.dashboard}; --down ends it"
            )
        port = port or free_port()
        for name, taken in (("--port", port), ("--dashboard-port", dashboard_port)):
            need_free(name, taken)
        make_token()
        self._own_folder()
        started = self._start(
            HEAD,
            {
                "head": None,
                "port": port,
                "num-cpus": 0,
                "num-gpus": 0,
                "dashboard-host": HOST,
                "dashboard-port": dashboard_port,
                "ray-client-server-port": free_port(),
                "temp-dir": self.folder / "ray",
                "object-store-memory": HEAD_STORE_BYTES,
                **(head or {}),
            },
            env,
        )
        self._write(
            State(
                address=f"{HOST}:{port}",
                dashboard=f"http://{HOST}:{dashboard_port}",
                made=0,
                nodes=(started,),
            )
        )
        try:
            for spec in workers:
                self.add(spec, env)
        except BaseException:
            self.down()
            raise
        return self.state()

    def _own_folder(self) -> None:
        """The folder is in a place where others may write: it must be this user's alone."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.folder.stat().st_uid != os.getuid():
            raise ConfigError(f"{self.folder}: belongs to another user")
        self.folder.chmod(0o700)

    def add(self, spec: NodeSpec, env: Mapping[str, str] | None = None) -> NodeProcess:
        """Start one more worker, also while jobs run."""
        state = self.state()
        name = f"worker-{state.made + 1}"
        labels = ",".join([f"agentark/node={name}", *spec.labels])
        node = self._start(
            name,
            {
                "address": state.address,
                "num-cpus": spec.cpus,
                "num-gpus": spec.gpus,
                "labels": labels,
                # In a shared folder a node that comes takes away the job's files of all others.
                "temp-dir": self.folder / f"ray-{state.made + 1}",
                "object-store-memory": spec.store_bytes,
            },
            env,
        )
        self._write(replace(state, made=state.made + 1, nodes=(*state.nodes, node)))
        return node

    def kill(self, name: str) -> None:
        """Kill a worker with all its processes at once, as a cloud takes a spot machine away.

        Raises:
            ConfigError: no such worker runs.
        """
        state = self.state()
        workers = {node.name: node for node in state.alive if node.name != HEAD}
        if name not in workers:
            raise ConfigError(
                f"{name}: no such worker runs, there is {', '.join(workers) or 'none'}"
            )
        process = workers[name].process()
        for member in family([process] if process else []):
            send(member, "kill")
        left = tuple(node for node in state.nodes if node.name != name)
        self._write(replace(state, nodes=left))

    def down(self) -> None:
        """End all nodes; nothing happens if none runs."""
        state = self._read()
        if state is None:
            return
        members = family([process for node in state.alive if (process := node.process())])
        for member in members:
            send(member, "terminate")
        _, left = psutil.wait_procs(members, timeout=STOP_S)
        for member in left:
            send(member, "kill")
        psutil.wait_procs(left, timeout=STOP_S)
        self._file.unlink()

    def _start(
        self, name: str, options: Mapping[str, object], env: Mapping[str, str] | None
    ) -> NodeProcess:
        log = self.folder / f"{name}.log"
        command = [str(Path(sys.executable).parent / "ray"), "start", "--block"]
        for key, value in {**_node_options(), **options}.items():
            command.append(f"--{key}" if value is None else f"--{key}={value}")
        for _ in range(ATTEMPTS):
            if node := self._attempt(name, command, log, env or {}):
                return node
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise ConfigError(f"{name}: did not start, see {log}:\n{tail}")

    def _attempt(
        self, name: str, command: Sequence[str], log: Path, env: Mapping[str, str]
    ) -> NodeProcess | None:
        """Start a node; None if it ended, or was not up in time and has been ended."""
        with log.open("w") as out:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=_environment(env),
                cwd=self.folder,
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
    kept = {k: v for k, v in os.environ.items() if k not in ("RAY_ADDRESS", "RAY_JOB_CONFIG_JSON")}
    path = os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", os.defpath)])
    return {**kept, "PATH": path, "RAY_AUTH_MODE": "token", "PYTHONUNBUFFERED": "1", **more}
