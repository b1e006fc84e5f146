"""Run folders in a store are held by one process at a time, by a lease; the store is a folder."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agentark_ray import lease
from agentark_ray.config import ConfigError
from agentark_ray.lease import LeaseLost
from agentark_ray.run_folder import RunFolder

HOLDER = """
import sys, time
from agentark_ray import lease
from agentark_ray.run_folder import RunFolder

lease.BEAT_S, lease.SETTLE_S = 0.2, 0.0
with RunFolder(sys.argv[1]).locked():
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def short_periods(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "BEAT_S", 0.05)
    monkeypatch.setattr(lease, "WATCH_S", 1.0)
    monkeypatch.setattr(lease, "POLL_S", 0.25)
    monkeypatch.setattr(lease, "SETTLE_S", 0.1)


def store(path: Path) -> RunFolder:
    found = RunFolder(f"file://{path}/run")
    assert not found.is_local
    return found


def wait_until(path: Path, text: str) -> None:
    deadline = time.monotonic() + 60
    while text not in path.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextmanager
def holder(folder: RunFolder) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the folder."""
    command = [sys.executable, "-c", HOLDER, folder.uri]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_another_process_is_refused_while_the_first_lives(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = store(tmp_path)
    with holder(folder) as process:
        with pytest.raises(ConfigError) as error, folder.locked():
            pass
        assert process.poll() is None
    words = str(error.value)
    assert f"output={folder.uri}: another process" in words
    assert f"{lease.socket.gethostname()} pid {process.pid}" in words
    assert "at most 0.25 s old" in words and "free 1 s after its last beat" in words
    assert f"pid {process.pid}) held this folder; waiting to see" in capsys.readouterr().err


def test_a_killed_process_loses_the_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = store(tmp_path)
    with holder(folder) as process:
        process.kill()
        process.wait()
    began = time.monotonic()
    with folder.locked():
        assert time.monotonic() - began >= lease.WATCH_S
        assert json.loads((tmp_path / "run" / "lock.json").read_text())["pid"] != process.pid
    assert f"pid {process.pid}) held this folder" in capsys.readouterr().err
    assert not folder.exists("lock.json")


def test_ctrl_c_releases_another_process(tmp_path: Path) -> None:
    folder = store(tmp_path)
    with holder(folder) as process:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)
    assert not folder.exists("lock.json")


@pytest.mark.parametrize("end", [KeyboardInterrupt, ValueError])
def test_the_folder_is_free_however_the_work_ends(
    tmp_path: Path, end: type[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = store(tmp_path)
    with pytest.raises(end), folder.locked():
        assert folder.exists("lock.json")
        raise end
    with folder.locked():
        pass
    assert not folder.exists("lock.json")
    assert capsys.readouterr().err == ""


def test_a_lease_released_meanwhile_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    left = tmp_path / "run" / "lock.json"
    left.write_text("{}")
    timer = threading.Timer(0.1, left.unlink)
    timer.start()
    began = time.monotonic()
    with store(tmp_path).locked():
        assert time.monotonic() - began < lease.WATCH_S
    timer.join()


def test_of_two_that_start_at_once_one_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "SETTLE_S", 1.0)
    watch, both = lease._Lease._watch, threading.Barrier(2)
    held: list[int] = []
    refused: list[str] = []
    end = threading.Event()

    def watch_together(self: lease._Lease) -> None:
        watch(self)
        both.wait(timeout=60)

    def start() -> None:
        try:
            with store(tmp_path).locked():
                held.append(1)
                end.wait(timeout=60)
        except ConfigError as error:
            refused.append(str(error))
            end.set()

    monkeypatch.setattr(lease._Lease, "_watch", watch_together)
    threads = [threading.Thread(target=start) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(held), len(refused)) == (1, 1)
    assert "another process" in refused[0]


def test_who_lost_the_folder_is_stopped(tmp_path: Path) -> None:
    folder, taken = store(tmp_path), {"token": "another", "host": "h", "pid": 1}
    began, path = time.monotonic(), tmp_path / "run" / "lock.json"
    with pytest.raises(LeaseLost, match="another took it over"), folder.locked():
        timer = threading.Timer(0.2, lambda: folder.write_json(taken, "lock.json"))
        timer.start()
        time.sleep(60)
    assert time.monotonic() - began < 25
    assert json.loads(path.read_text()) == taken, "it is the other's to remove"
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL


def test_a_lease_that_was_taken_and_released_is_lost(tmp_path: Path) -> None:
    folder = store(tmp_path)
    with pytest.raises(LeaseLost), folder.locked():
        (tmp_path / "run" / "lock.json").unlink()
        time.sleep(60)


def test_another_thread_hears_of_the_loss_at_the_end(tmp_path: Path) -> None:
    folder, told = store(tmp_path), []

    def work() -> None:
        try:
            with folder.locked():
                (tmp_path / "run" / "lock.json").unlink()
                time.sleep(0.5)
                told.append("went on")
        except LeaseLost:
            told.append("lost")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert told == ["went on", "lost"]


def test_storage_that_fails_for_some_beats_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, path, fails = store(tmp_path), tmp_path / "run" / "lock.json", []

    def fail(self: lease._Lease) -> bytes:
        fails.append(1)
        raise OSError("the storage is gone")

    with folder.locked():
        with monkeypatch.context() as broken:
            broken.setattr(lease._Lease, "_read", fail)
            while len(fails) < 5:
                time.sleep(0.01)
        beat = json.loads(path.read_text())["beat"]
        wait_until(path, f'"beat": {beat + 3}')
        path.write_text("")  # as a write leaves it for which there was no room
        wait_until(path, '"beat": ')
    assert not path.exists()


def test_a_store_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("x")
    with (
        pytest.raises(ConfigError, match=r"output=file://.*cannot write"),
        store(tmp_path).locked(),
    ):
        pass
