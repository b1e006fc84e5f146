"""Comparisons in other processes: deadlines, deaths, threads, forks."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from agentark_ray.grading import sandbox as module
from agentark_ray.grading.base import GradingTimeout
from agentark_ray.grading.math import MATH, SANDBOX
from agentark_ray.grading.sandbox import GRACE_S, Sandbox
from agentark_ray.types import Verdict

DEADLINE_S = 5.0  # also a busy machine compares in it
SHORT_S = 1.0  # where a bomb must be cut
# Each runs for longer than any deadline, in another part of the parser or of SymPy.
BOMBS = (
    "9^{9^{9^{9}}}",
    "10^{10^{10}}",
    "(10^9)!",
    "\\binom{10^9}{5 \\cdot 10^8}",
    "\\sum_{k=1}^{1000000000} \\frac{1}{k^{k}}",
    "{" * 500 + "1" + "}" * 500,
    "\\frac{1}{" * 30 + "2" + "}" * 30,
    "(" * 50 + "1" + ")" * 50,
)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    made = Sandbox(DEADLINE_S)
    for n in range(20):  # on a busy machine the first comparison may be slow
        with suppress(GradingTimeout):
            assert made.equal(f"r + {n}", f"{n} + r")
            break
    else:
        pytest.fail("no comparison ends in time")
    yield made
    made.close()


def children(pid: int) -> list[int]:
    """Processes whose parent is `pid`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(path.parent.name))
    return found


def test_it_compares(sandbox: Sandbox) -> None:
    assert sandbox.equal("\\sqrt{8}", "2\\sqrt{2}")
    assert not sandbox.equal("\\sqrt{8}", "3\\sqrt{2}")


def test_bombs_cost_their_deadline_and_only_once(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "deadline_s", SHORT_S)

    def seconds(bomb: str) -> float:
        started = time.monotonic()
        with pytest.raises(GradingTimeout):
            sandbox.equal(bomb, "x + 5")
        return time.monotonic() - started

    with ThreadPoolExecutor(len(BOMBS)) as pool:
        first = list(pool.map(seconds, BOMBS))
    assert max(first) < SHORT_S + GRACE_S + 5, first  # on two cores eight start at once
    assert max(seconds(bomb) for bomb in BOMBS) < 0.5 * SHORT_S


def test_the_kernel_ends_a_worker_at_its_deadline(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the client loses patience, and so also where the client is gone."""
    assert sandbox.equal("u + 1", "1 + u")
    monkeypatch.setattr(sandbox, "deadline_s", SHORT_S)
    started = time.monotonic()
    with pytest.raises(GradingTimeout, match="longer"):
        sandbox.equal("10^{9^{9^{9}}}", "u + 5")
    assert time.monotonic() - started < SHORT_S + 0.9 * GRACE_S


def test_only_what_was_slow_is_remembered(sandbox: Sandbox) -> None:
    with pytest.raises(GradingTimeout):
        sandbox.equal("x + 7", "8^{9^{9^{9}}}")
    assert sandbox.equal("x + 7", "7 + x")


def test_others_go_on_while_bombs_burn(sandbox: Sandbox) -> None:
    """Comparisons beside burning bombs end well before the bombs do."""
    bombs = [f"{base}^{{9^{{9^{{9}}}}}}" for base in (11, 12, 13)]
    burnt: list[float] = []

    def burn(bomb: str) -> None:
        with pytest.raises(GradingTimeout):
            sandbox.equal(bomb, "x + 6")
        burnt.append(time.monotonic())

    threads = [threading.Thread(target=burn, args=(bomb,)) for bomb in bombs]
    for thread in threads:
        thread.start()
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda n: sandbox.equal(f"{n}x + 1", f"1 + {n}x"), range(3, 9)))
    for thread in threads:
        thread.join()
    assert found == [True] * 6
    assert len(burnt) == len(bombs)


def test_a_killed_worker_is_replaced(sandbox: Sandbox) -> None:
    assert sandbox.equal("y + 1", "1 + y")
    assert sandbox._zygote is not None
    workers = children(sandbox._zygote._process.pid)
    assert workers
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    assert sandbox.equal("y + 2", "2 + y")


def test_a_killed_zygote_is_replaced(sandbox: Sandbox) -> None:
    assert sandbox.equal("z + 1", "1 + z")
    assert sandbox._zygote is not None
    os.kill(sandbox._zygote._process.pid, signal.SIGKILL)
    sandbox._zygote._process.wait()
    assert sandbox.equal("z + 2", "2 + z")


def test_a_worker_that_dies_of_an_answer_is_no_silent_wrong(sandbox: Sandbox) -> None:
    """Killed again and again while it compares: nothing is known, which is not incorrect."""
    assert sandbox.equal("v + 1", "1 + v")
    stop = threading.Event()

    def kill() -> None:
        while not stop.is_set():
            zygote = sandbox._zygote
            for pid in children(zygote._process.pid) if zygote is not None else ():
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            time.sleep(0.02)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        with pytest.raises((GradingTimeout, RuntimeError)):
            sandbox.equal("14^{9^{9^{9}}}", "v")
    finally:
        stop.set()
        killer.join()
    assert sandbox.equal("v + 3", "3 + v")


def test_too_long_answers_are_refused_at_once(sandbox: Sandbox) -> None:
    with pytest.raises(GradingTimeout, match="characters"):
        sandbox.equal("x" * (module.MAX_LENGTH + 1), "x")


def test_memory_that_runs_out_unseen_is_noticed() -> None:
    code = """
        import resource
        from agentark_ray.grading.zygote import memory_ran_out
        resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
        before = memory_ran_out()
        blocks = []
        try:
            while True:
                blocks.append(bytearray(16 << 20))
        except MemoryError:
            del blocks
        print(before, memory_ran_out())
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["False", "True"], done.stderr


def test_it_works_after_a_fork(sandbox: Sandbox) -> None:
    assert sandbox.equal("w + 1", "1 + w")
    pid = os.fork()
    if pid == 0:
        try:
            ok = sandbox._zygote is None and not sandbox._idle  # nothing of the parent's is used
            ok = ok and sandbox.equal("w + 2", "2 + w") and not sandbox.equal("w + 2", "3 + w")
        except BaseException:
            ok = False
        os._exit(0 if ok else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert sandbox.equal("w + 4", "4 + w")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_all_processes_end_with_their_parent() -> None:
    code = """
        import os, time
        from agentark_ray.grading.sandbox import Sandbox
        made = Sandbox()
        assert made.equal("x + 1", "1 + x")
        print(made._zygote._process.pid, flush=True)
        time.sleep(600)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        zygote = int(parent.stdout.readline())
        pids = [zygote, *children(zygote)]
        assert len(pids) > 1
        parent.kill()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and any(Path(f"/proc/{pid}").exists() for pid in pids):
        time.sleep(0.1)
    assert [pid for pid in pids if Path(f"/proc/{pid}").exists()] == []


def test_verdicts_of_bombs_are_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SANDBOX, "deadline_s", SHORT_S)
    assert MATH.verdict("15^{9^{9^{9}}}", "7") == Verdict.TIMEOUT
    assert MATH.verdict("15^{9^{9^{9}}}", "15^{9^{9^{9}}}") == Verdict.CORRECT
