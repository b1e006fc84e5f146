"""A served application whose replicas come and go: by load, and because there is no room."""

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import ray

from tests.ray.serving import MESSAGES, application, replica_pids

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PORT = 8915
URL = f"http://127.0.0.1:{PORT}"
STUDENT = "EngineServer:student"
NOTICED_S = 25  # Serve looks after replicas every 5 s, the ingress asks Serve every 5 s


def until(what: Any, seconds: float) -> Any:
    """What is true at last."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, f"not in {seconds} s"
        time.sleep(0.2)
    return found


@contextmanager
def no_room() -> Iterator[None]:
    """Whatever CPU is free or becomes free is taken."""

    @ray.remote
    class Taker:
        def ready(self) -> None: ...

    make: Any = Taker
    free = int(ray.available_resources().get("CPU", 0))
    takers = [make.options(num_cpus=free).remote()] if free else []
    ray.get([taker.ready.remote() for taker in takers])
    takers.append(make.options(num_cpus=1).remote())  # waits for the next one
    time.sleep(1)
    try:
        yield
    finally:
        for taker in takers:
            ray.kill(taker)


def arm_of(served: dict[str, Any], **values: Any) -> tuple[str, float]:
    """Who answered `agentark`, and after how many seconds."""
    started = time.monotonic()
    found = served["client"].chat.completions.with_raw_response.create(
        model="agentark", messages=MESSAGES, timeout=60, **values
    )
    if values.get("stream"):
        assert list(found.parse())
    return found.headers["x-agentark-arm"], time.monotonic() - started


def ready() -> httpx.Response:
    return httpx.get(f"{URL}/ready", timeout=5)


def test_an_arm_without_a_replica_is_replaced(
    tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also for requests that wait for it already."""
    one = {"min_replicas": 1, "max_replicas": 1}
    pools = {"student": one, "ingress": one}
    with application(tmp_path_factory.mktemp("serving"), PORT, pools=pools) as served:
        until(lambda: ready().status_code == 200, 30)
        assert arm_of(served)[0] == "student"
        with no_room(), ThreadPoolExecutor(4) as pool:
            (victim,) = replica_pids(STUDENT)
            os.kill(victim, signal.SIGKILL)
            waiting = [pool.submit(arm_of, served, stream=number % 2 == 1) for number in range(4)]
            seconds = [asked.result()[1] for asked in waiting]
            assert {asked.result()[0] for asked in waiting} == {"debate"}
            assert max(seconds) < NOTICED_S
            now = [arm_of(served) for _ in range(3)]
            assert {arm for arm, _ in now} == {"debate"}
            assert max(took for _, took in now) < 3
            said = ready()
            assert said.status_code == 503 and said.headers["retry-after"]
            assert said.json()["error"]["message"].endswith("replica: student, hybrid")
            assert httpx.get(f"{URL}/health").status_code == 200
        until(lambda: ready().status_code == 200, 60)
        assert arm_of(served)[0] == "student"
    with capsys.disabled():
        print(f"\nthe debate answered after {max(seconds):.1f} s, then {now[0][1]:.1f} s")
