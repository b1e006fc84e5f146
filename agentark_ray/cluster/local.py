"""A cluster of several Ray nodes on this machine, to rehearse on: a head without work, and workers.

Every node is a `ray start --block` of its own with all its processes, behind the token; nothing is
shared with other Ray instances of the machine. Dashboard and job API listen on loopback only; Ray's
other ports listen where Ray makes them. What runs is in `nodes.json` of the cluster's folder, by
process id.
"""

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import psutil

from agentark_ray.cluster.node import NodeProcess, run_ray, start_node
from agentark_ray.cluster.processes import HOST, family, free_port, need_free, send
from agentark_ray.cluster.tokens import make_token
from agentark_ray.config import ConfigError

STOP_S = 5.0
HEAD_STORE_BYTES = 200_000_000
HEAD = "head"
NODE_LABEL = "agentark/node"  # Ray's label with the name of a worker
NOTICE_S = 30  # that a spot machine has


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSpec:
    """What a worker has, as far as Ray is told."""

    cpus: int = 4
    gpus: int = 0  # that are not there: for placement, not for work
    labels: tuple[str, ...] = ()  # KEY=VALUE
    store_bytes: int = 500_000_000  # of objects


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """A cluster that was started."""

    address: str  # of the GCS
    dashboard: str  # URL, also of the job API
    agent_port: int  # of the head's part of it, which the records of jobs name
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
        self._gcs = self.folder / "gcs"  # the head's state; outlives the head

    def state(self) -> State:
        """Raises ConfigError: no cluster runs."""
        found = self._read()
        if found is None or not found.alive:
            raise ConfigError(
                f"{self.folder}: no local cluster runs; agentark cluster local --nodes 3 starts one"
            )
        return found

    @contextmanager
    def _changing(self) -> Iterator[State]:
        """The state, which no other process changes meanwhile.

        Raises:
            ConfigError: no cluster runs.
        """
        self.state()
        with self._locked():
            yield self.state()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _read(self) -> State | None:
        self._check_owner()
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
        shutil.rmtree(self._gcs, ignore_errors=True)
        agent_port = free_port()
        started = self._start_head(port, dashboard_port, agent_port, env, head)
        self._write(
            State(
                address=f"{HOST}:{port}",
                dashboard=f"http://{HOST}:{dashboard_port}",
                agent_port=agent_port,
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

    def _start_head(
        self,
        port: int,
        dashboard_port: int,
        agent_port: int,
        env: Mapping[str, str] | None,
        more: Mapping[str, object] | None = None,
    ) -> NodeProcess:
        return start_node(
            self.folder,
            HEAD,
            {
                "head": None,
                "port": port,
                "num-cpus": 0,
                "num-gpus": 0,
                "dashboard-host": HOST,
                "dashboard-port": dashboard_port,
                "dashboard-agent-listen-port": agent_port,
                "ray-client-server-port": free_port(),
                "temp-dir": self.folder / "ray",
                "object-store-memory": HEAD_STORE_BYTES,
                **(more or {}),
            },
            {"RAY_gcs_storage": "rocksdb", "RAY_gcs_storage_path": str(self._gcs), **(env or {})},
        )

    def restart_head(self, env: Mapping[str, str] | None = None) -> None:
        """Kill the head, if it runs, and start another one on its ports with its GCS's disk.

        Raises:
            ConfigError: no cluster runs, or the head did not start.
        """
        with self._changing() as state:
            self._kill(state, HEAD)
            workers = tuple(node for node in state.nodes if node.name != HEAD)
            node = self._start_head_again(state, env)
            self._write(replace(state, nodes=(node, *workers)))

    def _start_head_again(self, state: State, env: Mapping[str, str] | None) -> NodeProcess:
        # With it, Ray takes the workers' raylets for a cluster that runs on the head's port.
        (self.folder / "ray" / "ray_current_cluster").unlink(missing_ok=True)
        ports = [int(url.rpartition(":")[2]) for url in (state.address, state.dashboard)]
        return self._start_head(ports[0], ports[1], state.agent_port, env)

    def _own_folder(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._check_owner()
        self.folder.chmod(0o700)

    def _check_owner(self) -> None:
        """The folder is where others may write, too: if it is there, it must be this user's."""
        own = os.getuid()
        if self.folder.exists() and (owner := self.folder.stat().st_uid) != own:
            raise ConfigError(f"{self.folder}: belongs to user {owner}, expected {own}")

    def add(self, spec: NodeSpec, env: Mapping[str, str] | None = None) -> NodeProcess:
        """Start one more worker, also while jobs run."""
        with self._changing() as state:
            node = self._start_worker(state, spec, env or {})
            self._write(replace(state, made=state.made + 1, nodes=(*state.nodes, node)))
            return node

    def _start_worker(self, state: State, spec: NodeSpec, env: Mapping[str, str]) -> NodeProcess:
        name = f"worker-{state.made + 1}"
        labels = ",".join([f"{NODE_LABEL}={name}", *spec.labels])
        return start_node(
            self.folder,
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

    def kill(self, name: str) -> None:
        """Kill a worker with all its processes at once, as a cloud takes a spot machine away.

        Raises:
            ConfigError: no such worker runs.
        """
        with self._changing() as state:
            _worker(state, name)
            self._kill(state, name)

    def drain(self, name: str, notice_s: int = NOTICE_S) -> None:
        """Tell Ray that a worker will be taken away in `notice_s` seconds, and then kill it.

        It is what a cloud's notice to a spot machine leads to where Ray's autoscaler hears of it.

        Raises:
            ConfigError: no such worker runs, or Ray does not agree.
        """
        state = self.state()
        process = _worker(state, name).process()
        listed = run_ray("list", "nodes", f"--address={state.dashboard}", "--format=json")
        found = [
            node["node_id"]
            for node in json.loads(listed)
            if node["state"] == "ALIVE" and node["labels"].get(NODE_LABEL) == name
        ]
        if not found:
            raise ConfigError(f"{name}: Ray does not list it as alive, so it cannot be told")
        run_ray(
            "drain-node",
            f"--address={state.address}",
            f"--node-id={found[0]}",
            "--reason=DRAIN_NODE_REASON_PREEMPTION",
            f"--reason-message={name} is taken away",
            f"--deadline-remaining-seconds={notice_s}",
        )
        psutil.wait_procs([process] if process else [], timeout=notice_s)
        with self._changing() as now:
            self._kill(now, name)

    def _kill(self, state: State, name: str) -> None:
        roots = [node.process() for node in state.alive if node.name == name]
        members = family([process for process in roots if process])
        for member in members:
            send(member, "kill")
        psutil.wait_procs(members, timeout=STOP_S)
        left = tuple(node for node in state.nodes if node.name != name)
        self._write(replace(state, nodes=left))

    def down(self) -> None:
        """End all nodes; nothing happens if none runs."""
        if self._read() is None:
            return
        with self._locked():
            if state := self._read():
                self._end(state)

    def _end(self, state: State) -> None:
        members = family([process for node in state.alive if (process := node.process())])
        for member in members:
            send(member, "terminate")
        _, left = psutil.wait_procs(members, timeout=STOP_S)
        for member in left:
            send(member, "kill")
        psutil.wait_procs(left, timeout=STOP_S)
        self._file.unlink()


def _worker(state: State, name: str) -> NodeProcess:
    """Raises ConfigError: no such worker runs."""
    workers = {node.name: node for node in state.alive if node.name != HEAD}
    if name not in workers:
        raise ConfigError(f"{name}: no such worker runs, there is {', '.join(workers) or 'none'}")
    return workers[name]
