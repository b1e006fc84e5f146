"""A served application whose replicas come and go: by load, and because there is no room."""

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import ray

from tests.ray.serving import MESSAGES, application, replica_pids, start

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
            hybrid = served["client"].chat.completions.create(
                model="hybrid", messages=MESSAGES, timeout=20
            )
            assert hybrid.agentark["path"] == "debate"
            said = ready()
            assert said.status_code == 503 and said.headers["retry-after"]
            assert said.json()["error"]["message"].endswith("replica: student")
            assert httpx.get(f"{URL}/health").status_code == 200
        until(lambda: ready().status_code == 200, 60)
        assert arm_of(served)[0] == "student"
    with capsys.disabled():
        print(f"\nthe debate answered after {max(seconds):.1f} s, then {now[0][1]:.1f} s")


def test_pools_grow_with_load_and_go_to_zero(
    tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    """The debate has no replicas until it is asked, the student a second one while it is busy."""
    none = {"min_replicas": 0, "max_replicas": 1, "idle_s": 5}
    pools = {
        "base": none,
        "debate": none,
        "student": {"max_replicas": 2, "target_ongoing": 1, "max_ongoing": 8, "idle_s": 600},
    }
    ensemble = ("EngineServer:base", "debate")

    def there() -> list[int]:
        return [len(replica_pids(name)) for name in ensemble]

    with application(tmp_path_factory.mktemp("serving"), PORT, pools=pools, rollout=None) as served:
        assert there() == [0, 0]
        until(lambda: ready().status_code == 200, 30)
        started = time.monotonic()
        asked: dict[str, Any] = {"messages": MESSAGES, "timeout": 120}
        answer = served["client"].chat.completions.create(model="debate", **asked)
        woken_s = time.monotonic() - started
        assert answer.agentark["path"] == "debate"
        assert there() == [1, 1]

        def busy(until_s: float) -> None:
            while time.monotonic() < until_s and len(replica_pids(STUDENT)) < 2:
                served["client"].chat.completions.create(model="student", **asked)

        assert len(replica_pids(STUDENT)) == 1
        started = time.monotonic()
        with ThreadPoolExecutor(4) as pool:
            for done in [pool.submit(busy, started + 120) for _ in range(4)]:
                done.result()
        grown_s = time.monotonic() - started
        assert len(replica_pids(STUDENT)) == 2
        until(lambda: there() == [0, 0], 120)
        assert ready().status_code == 200
    with capsys.disabled():
        print(f"\nfrom zero in {woken_s:.1f} s, a second student after {grown_s:.1f} s of load")


def stream(served: dict[str, Any], began: threading.Event) -> tuple[list[str], float]:
    """The events of a debate, and when the last one came."""
    body = {"model": "debate", "messages": MESSAGES, "stream": True}
    headers = {"authorization": f"Bearer {served['key']}"}
    url, events = f"{URL}/v1/chat/completions", list[str]()
    with httpx.stream("POST", url, json=body, headers=headers, timeout=60) as said:
        for line in said.iter_lines():
            began.set()
            events += [line.removeprefix("data: ")] if line else []
    return events, time.monotonic()


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """An application whose debates take 12 rounds of 8 s."""
    values = ("engine.scripted_latency_s=8", "debate.rounds=12", "debate.stop=fixed")
    with application(tmp_path_factory.mktemp("slow"), PORT, *values) as served:
        yield served


def completions() -> float:
    """What the debating model has been asked, as Serve counts it every 10 s."""
    port = ray.nodes()[0]["MetricsExportPort"]
    lines = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=5).text.splitlines()
    return sum(
        float(line.rpartition(" ")[2])
        for line in lines
        if line.startswith("ray_serve_deployment_request_counter_total")
        and 'deployment="EngineServer:base"' in line
    )


def test_a_client_that_leaves_ends_its_debate(slow: dict[str, Any]) -> None:
    headers = {"authorization": f"Bearer {slow['key']}"}
    body = {"model": "debate", "messages": MESSAGES, "stream": True}
    url = f"{URL}/v1/chat/completions"
    with httpx.stream("POST", url, json=body, headers=headers, timeout=60) as said:
        assert next(said.iter_lines()).startswith("data: ")  # of the first round
    time.sleep(25)
    asked = completions()
    assert 3 <= asked <= 9
    time.sleep(12)
    assert completions() == asked


def test_an_update_cuts_no_stream(slow: dict[str, Any]) -> None:
    """Streams that began before it end as they would have, while new replicas answer already."""
    before = set(replica_pids("debate"))
    began = [threading.Event() for _ in range(4)]
    with ThreadPoolExecutor(5) as pool:
        streams = [pool.submit(stream, slow, event) for event in began]
        assert all(event.wait(60) for event in began)
        limits = slow["settings"].limits.model_copy(update={"messages": 4})
        update = pool.submit(start, slow["settings"].model_copy(update={"limits": limits}))
        until(lambda: set(replica_pids("debate")) - before, 60)
        replaced = time.monotonic()
        found = [one.result() for one in streams]
        update.result()
    for events, ended in found:
        assert ended > replaced, "the streams were too short"
        assert events[-1] == "[DONE]"
        told = [json.loads(event) for event in events[:-1]]
        assert not any("error" in event for event in told)
        assert told[-1]["agentark"]["event"] == "answer"
