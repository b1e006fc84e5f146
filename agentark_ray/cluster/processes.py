"""Processes and ports of this machine."""

import socket
from collections.abc import Sequence
from typing import Literal

import psutil

from agentark_ray.config import ConfigError

SUBMITTED = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # what Ray's job API tells a driver that it starts
HOST = "127.0.0.1"


def family(roots: Sequence[psutil.Process]) -> list[psutil.Process]:
    """Processes and all that they started."""
    found = list(roots)
    for root in roots:
        try:
            found += root.children(recursive=True)
        except psutil.NoSuchProcess:
            continue
    return found


def send(process: psutil.Process, how: Literal["kill", "terminate"]) -> None:
    """A signal to a process that may have ended."""
    try:
        getattr(process, how)()
    except psutil.NoSuchProcess:
        return


def free_port() -> int:
    """A port of loopback that nobody uses now."""
    with socket.create_server((HOST, 0)) as server:
        return server.getsockname()[1]


def need_free(name: str, port: int) -> None:
    """Raises ConfigError, naming the option, if a port is taken."""
    try:
        socket.create_server((HOST, port)).close()
    except OSError as error:
        raise ConfigError(f"{name} {port}: {error.strerror}; choose another one") from None
