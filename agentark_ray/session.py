"""Ray for one command: a local instance on a laptop, or the cluster RAY_ADDRESS names."""

import logging
import os
import signal
import socket
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import MappingProxyType
from typing import Any

import psutil

from agentark_ray.cluster.processes import send
from agentark_ray.config import ConfigError
from agentark_ray.resources import VARIABLE, Labels, LacksRoom, Node, coming_nodes, lacking, room

OBJECT_STORE_BYTES = 1_000_000_000  # of a local instance
CONNECT_S = 10.0
ATTEMPTS, TOO_SLOW = 3, "timed out during startup"
TASK_RETRIES = 30  # a lost node uses up one a second until it is known to be lost


@contextmanager
def ray_session(cpus: int = 4) -> Iterator[None]:
    """Ray is up inside. Its notices are quieted; worker logs are in Ray's session folder.

    A local instance has at least `cpus` logical CPUs, also on a machine with fewer: with four a
    small machine can debate, filter and write at once.
    """
    _set_environment()
    import ray
    from ray.util.annotations import RayDeprecationWarning

    # max_task_retries of Ray Data actors can only be set by an argument that 2.64 will rename.
    warnings.filterwarnings("ignore", category=RayDeprecationWarning)
    address = os.environ.get("RAY_ADDRESS")
    if address:
        need_cluster(address)
    local: dict[str, Any] = {} if address else _local_resources(cpus)
    with stderr_held_back():
        _start(log_to_driver=False, logging_level=logging.ERROR, **local)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _interrupt)  # after ray.init, which sets its own
    _quiet_terminal()
    _protect_token()
    try:
        with redirect_stdout(sys.stderr):  # Ray prints warnings of its nodes; stdout is for results
            yield
    finally:
        ray.shutdown()


def _start(**options: Any) -> None:
    """ray.init, tried again where a busy machine did not bring up a node in Ray's 30 s."""
    import ray

    own = psutil.Process()
    for left in reversed(range(ATTEMPTS)):
        before = own.children(recursive=True)
        try:
            ray.init(**options)
            return
        except Exception as error:  # Ray raises no narrower one
            if not left or TOO_SLOW not in str(error):
                raise
            started = [child for child in own.children(recursive=True) if child not in before]
            for process in started:  # Ray leaves them until this process ends
                send(process, "kill")
            psutil.wait_procs(started, timeout=CONNECT_S)


def _quiet_terminal() -> None:
    """Ray's libraries log to files of Ray's session only; exceptions are ours to show."""
    import ray.data  # makes its handlers

    # Or a job ends with the news that a function failed, without what it said.
    ray.data.DataContext.get_current().raise_original_map_exception = True
    for name in ("ray.data", "ray.train", "ray.serve"):
        logger = logging.getLogger(name)
        files = [h for h in logger.handlers if not isinstance(h, logging.StreamHandler)]
        logger.handlers = files or [logging.NullHandler()]
        logger.propagate = False


def need_cluster(address: str) -> None:
    """Raises ConfigError if nothing answers at HOST:PORT; Ray would wait for minutes, in silence.

    Other forms of an address (auto, local, ray://HOST:PORT) are left to Ray.
    """
    host, separator, port = address.rpartition(":")
    if "://" in address or not separator or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(f"RAY_ADDRESS={address}: no Ray cluster answers there: {error}") from None


@contextmanager
def stderr_held_back() -> Iterator[None]:
    """Ray's C++ core writes a notice about its log level; what it wrote is shown if it fails."""
    saved = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(saved, held.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def _interrupt(signum: int, frame: Any) -> None:
    """A job that is told to stop ends like one that was interrupted from the keyboard."""
    raise KeyboardInterrupt


def need_resources(
    what: str,
    bundles: Sequence[Node],
    labels: Labels = MappingProxyType({}),
) -> None:
    """Check that the cluster can hold `bundles`, as it is or as far as it may grow.

    Ray would wait for ever.

    Args:
        what: the config keys that ask for it.
        bundles: Ray resource -> how much of it on one node, for each thing that is to be placed.
        labels: of the nodes that count.

    Raises:
        LacksRoom: it cannot.
    """
    nodes, coming = _nodes(lambda has: labels.items() <= has.items())
    if words := lacking(bundles, nodes, coming):
        where = f" on nodes with {dict(labels)}" if labels else ""
        none = f"; {VARIABLE} has no nodes with these labels"
        hint = none if labels and not coming and os.environ.get(VARIABLE) else ""
        raise LacksRoom(f"{what}{where}: {words}{hint}")


def room_elsewhere(form: Node, labels: Labels) -> int:
    """How many bundles of a form nodes may hold that lack one of `labels`; 0 without labels."""
    return max(room(nodes, form) for nodes in _nodes(lambda has: not labels.items() <= has.items()))


def _nodes(wanted: Callable[[Labels], bool]) -> list[list[Node]]:
    """Nodes whose labels are wanted: those that run, and all that an autoscaler may start."""
    import ray

    running = [(node["Resources"], node["Labels"]) for node in ray.nodes() if node["Alive"]]
    coming = coming_nodes(os.environ)
    return [[node for node, has in nodes if wanted(has)] for nodes in (running, coming)]


def remote(function: Callable[..., Any], *args: Any) -> Any:
    """Run something that reads all questions in a task of the cluster, not on the driver."""
    import ray

    return ray.get(ray.remote(num_cpus=0, max_retries=TASK_RETRIES)(function).remote(*args))


def beside_driver(actor: Any) -> Any:
    """An actor class that starts on the driver's node: losing another must not end the job."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return actor.options(scheduling_strategy=here)


def _protect_token() -> None:
    """Ray writes its token readable for everybody on the machine; make it the owner's alone."""
    token = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    if token.is_file() and token.stat().st_uid == os.getuid():
        token.chmod(0o600)


def _local_resources(cpus: int) -> dict[str, Any]:
    return {
        "address": "local",  # not a cluster that somebody started on this machine
        "num_cpus": max(cpus, os.cpu_count() or 1),
        "object_store_memory": OBJECT_STORE_BYTES,
        "include_dashboard": False,
    }


def _set_environment() -> None:
    """Environment that Ray reads when it starts; values the user has set win."""
    for name, value in {
        "RAY_BACKEND_LOG_LEVEL": "fatal",
        "RAY_gcs_server_port_wait_time_s": "120",  # of a busy machine; 30 s by default
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.1",  # report() waits for it: 2 s by default
        "RAY_DATA_PARQUET_FOOTER_NUM_ACTORS": "1",  # a process each, at every read: 32 by default
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
        "TOKENIZERS_PARALLELISM": "false",
    }.items():
        os.environ.setdefault(name, value)
    for name in ("ray._private.authentication", "ray"):
        logging.getLogger(name).setLevel(logging.ERROR)
