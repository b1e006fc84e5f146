"""A lease on a run folder in an object store, where no operating system keeps a lock.

    lock.json   a token, host and pid of the process that holds the folder, and its beat

The holder writes a new beat every 10 s. Who finds a lease watches it for 30 s: at a new beat it is
refused, without one it takes the folder over. No clocks are compared. Of two that start at once,
the one whose token is there a moment later goes on. A holder whose token is gone was taken for
dead, after a long pause or an outage of its own, and is ended with LeaseLost.

It is no fence: from the end of such a pause to its next beat, for 10 s at most, that holder may
still write. pyarrow has no conditional writes, by which a store would refuse it.
"""

import itertools
import json
import os
import signal
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

from pyarrow import fs

from agentark_ray.config import ConfigError
from agentark_ray.location import make_folder

LEASE = "lock.json"
BEAT_S = 10.0
WATCH_S, POLL_S = 30.0, 1.0
SETTLE_S = 2.0  # longer than a small write takes


class LeaseLost(RuntimeError):
    """Another process took the folder over; this one must not write there any more."""


@contextmanager
def beating(beat: Callable[[], None], every_s: float) -> Iterator[None]:
    """Call `beat` in a thread while the body runs; what storage refuses is tried at the next."""
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(every_s):
            with suppress(Exception):
                beat()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextmanager
def held(filesystem: fs.FileSystem, folder: str, uri: str) -> Iterator[None]:
    """Hold a folder while the body runs. A loss interrupts the body if it is in the main thread.

    Raises:
        ConfigError: another process holds it, or it cannot be written.
        LeaseLost: another process took it over.
    """
    lease, lost = _Lease(filesystem, folder, uri), threading.Event()

    def beat() -> None:
        if lease.is_mine():
            lease.write()
        else:
            lost.set()
            interrupt()

    try:
        lease.take()
        with _interruptible() as interrupt, beating(beat, BEAT_S):
            yield
    except BaseException:
        if not lost.is_set():
            raise
    finally:
        lease.release()
    if lost.is_set():
        raise LeaseLost(f"{uri}: no beat of this process for {WATCH_S:g} s; another took it over")


@contextmanager
def _interruptible() -> Iterator[Callable[[], None]]:
    """A function for other threads that raises KeyboardInterrupt in the body, if that is in main's.

    Not by SIGINT, which processes that a shell started in the background ignore.
    """
    main = threading.main_thread().ident
    if main is None or threading.get_ident() != main:
        yield lambda: None
        return
    before = signal.signal(signal.SIGUSR1, signal.default_int_handler)
    try:
        yield lambda: signal.pthread_kill(main, signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before or signal.SIG_DFL)


class _Lease:
    """lock.json of a folder, and the token that this process has in it."""

    def __init__(self, filesystem: fs.FileSystem, folder: str, uri: str) -> None:
        self._filesystem, self._folder, self._uri = filesystem, folder, uri
        self._path = f"{folder}/{LEASE}"
        self._token, self._beats = uuid.uuid4().hex, itertools.count()

    def take(self) -> None:
        try:
            make_folder(self._filesystem, self._folder)
            self._watch()
            self.write()
            time.sleep(SETTLE_S)
            if not self.is_mine():
                self._refuse(self._read(), SETTLE_S)
        except OSError as error:
            raise ConfigError(f"output={self._uri}: cannot write the run folder: {error}") from None

    def _watch(self) -> None:
        """Return when nobody holds the folder, or who did gave no beat in all the time."""
        found = self._read()
        if found is None:
            return
        print(
            f"another process ({_who(found)}) held this folder; waiting to see whether it is alive,"
            f" {WATCH_S:g} s at most",
            file=sys.stderr,
            flush=True,
        )
        for _ in range(round(WATCH_S / POLL_S)):  # no deadline: a pause would reach it
            time.sleep(POLL_S)
            now = self._read()
            if now is None:
                return
            if now != found:
                self._refuse(now or found, POLL_S)

    def _refuse(self, found: bytes | None, age_s: float) -> NoReturn:
        raise ConfigError(
            f"output={self._uri}: another process ({_who(found)}) is running in this folder; its"
            f" last beat is at most {age_s:g} s old. If it is killed, the folder is free"
            f" {WATCH_S:g} s after its last beat"
        )

    def is_mine(self) -> bool:
        """Whether the lease that is there is this process's, or empty: a write that failed."""
        found = self._read()
        return found == b"" or self._token.encode() in (found or b"")

    def write(self) -> None:
        """A new beat; an object store shows it whole or not at all."""
        lease = {
            "token": self._token,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "beat": next(self._beats),
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        with self._filesystem.open_output_stream(self._path) as stream:
            stream.write(json.dumps(lease).encode())

    def _read(self) -> bytes | None:
        try:
            with self._filesystem.open_input_stream(self._path) as stream:
                return stream.read()
        except FileNotFoundError:
            return None

    def release(self) -> None:
        """Remove the lease if it is this process's."""
        with suppress(OSError):
            if self.is_mine():
                self._filesystem.delete_file(self._path)


def _who(lease: bytes | None) -> str:
    try:
        found = json.loads(lease or b"")
        return f"{found['host']} pid {found['pid']}"
    except (ValueError, KeyError, TypeError):
        return "unknown"
