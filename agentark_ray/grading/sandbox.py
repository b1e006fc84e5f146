"""Comparing mathematical expressions in other processes, each comparison with its own deadline.

`Sandbox.equal` may be called from any thread, also in a process that was forked. Every call has a
worker of its own for its time; a worker that is late or dies costs its caller the deadline and
nobody else anything. See `zygote` for the other side.
"""

import atexit
import contextlib
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from pathlib import Path
from typing import Any

from agentark_ray.grading.base import GradingTimeout

DEADLINE_S = 5.0
GRACE_S = 2.0  # past the deadline, for a worker that the kernel does not end
START_S = 120.0  # a cold import on a busy machine
MAX_WORKERS = 16  # at once; calls beyond wait
MAX_IDLE = 4  # workers kept for later
MAX_LENGTH = 10_000  # characters of an answer that is compared
MAX_HOPELESS = 4096  # answers remembered that cannot be compared in time


class _Gone(Exception):
    """The worker hung up: it was killed, or the zygote was."""


class _Worker:
    """One process that compares, and our end of the socket to it."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lines = connection.makefile("rb")
        self._connection.settimeout(START_S)
        self._pid = int(self._receive()["pid"])

    def compare(self, a: str, b: str, deadline_s: float) -> dict[str, Any]:
        """The worker's last message; its `stage` tells how many answers were parsed.

        Raises:
            _Gone: with the stage as its argument.
        """
        stage = 0
        self._connection.settimeout(deadline_s + GRACE_S)
        request = json.dumps({"a": a, "b": b, "deadline_s": deadline_s}).encode() + b"\n"
        try:
            self._connection.sendall(request)
            while "stage" in (message := self._receive()):
                stage = message["stage"]
        except TimeoutError:
            # Alive past its alarm, so the process id is still its own.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
            self.close()
            raise _Gone(stage) from None
        except (OSError, _Gone):
            self.close()
            raise _Gone(stage) from None
        return {**message, "stage": stage}

    def close(self) -> None:
        """Hang up, which ends a worker that waits."""
        with contextlib.suppress(OSError):
            self._lines.close()
            self._connection.close()

    def _receive(self) -> dict[str, Any]:
        line = self._lines.readline()
        if not line.endswith(b"\n"):
            raise _Gone(0)
        return json.loads(line)


class _Zygote:
    """The process that forks workers."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join([root, *(entry for entry in sys.path if entry)])
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "agentark_ray.grading.zygote", str(theirs.fileno())],
                env={**os.environ, "PYTHONPATH": path},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        self._control = ours

    def fork(self) -> _Worker:
        """A new worker.

        Raises:
            OSError or _Gone: the zygote is gone.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self._control, [b"w"], [theirs.fileno()])
        return _Worker(ours)

    def close(self) -> None:
        """End it and its workers."""
        self._control.close()
        self._process.kill()
        self._process.wait()


class Sandbox:
    """Workers and the zygote they come from, started when first needed."""

    def __init__(self, deadline_s: float = DEADLINE_S) -> None:
        self.deadline_s = deadline_s
        self._reset()
        # A forked child must neither wait for locks that nobody holds there nor share sockets.
        os.register_at_fork(after_in_child=self._reset)
        atexit.register(self.close)

    def _reset(self) -> None:
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._starting = threading.Lock()
        self._slots = threading.BoundedSemaphore(MAX_WORKERS)
        self._idle: list[_Worker] = []
        self._zygote: _Zygote | None = None
        self._hopeless: OrderedDict[bytes, str] = OrderedDict()

    def equal(self, a: str, b: str) -> bool:
        """Whether two LaTeX expressions are equal.

        Raises:
            GradingTimeout: it takes longer than the deadline, or more memory than a worker has.
            RuntimeError: workers cannot be started.
        """
        if max(len(a), len(b)) > MAX_LENGTH:
            raise GradingTimeout(f"an answer has more than {MAX_LENGTH} characters")
        keys = (_key(a), _key(b), _key(*sorted((a, b))))
        with self._lock:
            reason = next((self._hopeless[key] for key in keys if key in self._hopeless), None)
        if reason is not None:
            raise GradingTimeout(reason)
        with self._slots:
            return self._compare(a, b, keys)

    def _compare(self, a: str, b: str, keys: tuple[bytes, bytes, bytes]) -> bool:
        reason, stage = "", 0
        for fresh in (False, True):  # a worker that was killed from outside is replaced once
            worker = self._take(fresh)
            started = time.monotonic()
            try:
                message = worker.compare(a, b, self.deadline_s)
            except _Gone as gone:
                stage = gone.args[0]
                if time.monotonic() - started >= 0.95 * self.deadline_s:
                    reason = f"comparing takes longer than {self.deadline_s} s"
                    break
                reason = "the comparing process died"
                continue
            self._give_back(worker, message["last"])
            if "equal" in message:
                return message["equal"]
            reason, stage = f"comparing ran out of resources: {message['error']}", message["stage"]
            break
        with self._lock:
            self._hopeless[keys[stage]] = reason
            while len(self._hopeless) > MAX_HOPELESS:
                self._hopeless.popitem(last=False)
        raise GradingTimeout(reason)

    def _take(self, fresh: bool) -> _Worker:
        with self._lock:
            if self._idle and not fresh:
                return self._idle.pop()
        with self._starting:
            error: Exception | None = None
            for _ in range(2):
                try:
                    if self._zygote is None:
                        self._zygote = _Zygote()
                    return self._zygote.fork()
                except (OSError, _Gone) as gone:
                    error = gone
                    if self._zygote is not None:
                        self._zygote.close()
                    self._zygote = None
        raise RuntimeError(
            "the process that compares mathematical answers does not start; its error is above "
            "(python -m agentark_ray.grading.zygote)"
        ) from error

    def _give_back(self, worker: _Worker, last: bool) -> None:
        with self._lock:
            if not last and len(self._idle) < MAX_IDLE:
                self._idle.append(worker)
                return
        worker.close()

    def close(self) -> None:
        """End all processes; the next call starts new ones."""
        if self._owner != os.getpid():
            return
        with self._lock:
            idle, self._idle = self._idle, []
        for worker in idle:
            worker.close()
        with self._starting:
            if self._zygote is not None:
                self._zygote.close()
                self._zygote = None


def _key(*texts: str) -> bytes:
    return hashlib.blake2b("\0".join(texts).encode(errors="surrogatepass"), digest_size=16).digest()
