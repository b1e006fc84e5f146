"""What users of a served application see of replicas and proxies that die, and of an update."""

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest

from agentark_ray.serving.config import ServeConfig
from tests.ray.serving import MESSAGES, application, client, pids, replica_pids, start

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PORT = 8913
RETRIES = 8  # of a request that is refused for now
LOAD_S = 25
AGAIN = {429, 503}  # in the form of OpenAI's API, with the seconds after which to ask again
NO_CONNECTION = "Connection error."  # as the client says it
# By the proxy, as text, in one of these forms: what spoke for us is no more.
LOST_INGRESS = "lost ingress"
PROXY_SAYS = ("500: The actor died", "500: Internal Server Error")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    pools = {"ingress": {"min_replicas": 2, "max_replicas": 2}}
    with application(tmp_path_factory.mktemp("serving"), PORT, pools=pools) as found:
        yield found


def attempt(asked: openai.OpenAI, model: str) -> Any:
    """200, one of AGAIN, or what the client was told instead."""
    try:
        asked.chat.completions.create(model=model, messages=MESSAGES)
        return 200
    except openai.APIStatusError as error:
        said: Any = error.body  # the error of OpenAI's form, or text
        clean = isinstance(said, dict) and said["message"] and said["type"]
        if error.status_code in AGAIN and clean and "retry-after" in error.response.headers:
            return error.status_code
        text = f"{error.status_code}: {error.response.text}"
        return LOST_INGRESS if text.startswith(PROXY_SAYS) else text[:300]
    except openai.APIConnectionError as error:
        return str(error)


def load(
    served: dict[str, Any], model: str, goes_on: Callable[[], bool], threads: int = 8
) -> list[Any]:
    """Outcomes of all attempts at requests without a stream, each asked until it is answered."""
    found = []

    def work() -> None:
        asked = client(PORT, served["key"], timeout=60)
        while goes_on():
            for number in range(1 + RETRIES):
                found.append(attempt(asked, model))
                if found[-1] == 200:
                    break
                time.sleep(min(8, 0.5 * 2**number))
            else:
                found.append("given up")

    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(work) for _ in range(threads)]:
            done.result()
    return found


def lasting(seconds: float) -> Callable[[], bool]:
    """True for so long."""
    until = time.monotonic() + seconds
    return lambda: time.monotonic() < until


def during_load(served: dict[str, Any], model: str, happens: Callable[[], None]) -> list[Any]:
    """What `load` found while something happened after 3 s, until it had, LOAD_S at least."""
    failed: list[BaseException] = []

    def wait_and_do() -> None:
        time.sleep(3)
        try:
            happens()
        except BaseException as error:
            failed.append(error)

    other = threading.Thread(target=wait_and_do, daemon=True)
    other.start()
    enough = lasting(LOAD_S)
    found = load(served, model, lambda: other.is_alive() or enough())
    assert not failed, failed
    return found


def kill(find: Callable[[], list[int]], count: int) -> float:
    """Kill the first of some processes; seconds until there are `count` again, of new ones."""
    victim = find()[0]
    os.kill(victim, signal.SIGKILL)
    killed = time.monotonic()
    while victim in (now := find()) or len(now) < count:
        assert time.monotonic() < killed + 90, f"{count} expected, there are {now}"
        time.sleep(0.2)
    return time.monotonic() - killed


@pytest.mark.parametrize(
    ("model", "victim", "seen"),
    [
        ("student", "EngineServer:student", AGAIN),
        ("debate", "EngineServer:base", AGAIN),
        ("debate", "debate", AGAIN),
        ("student", "ingress", {LOST_INGRESS}),
    ],
)
def test_a_killed_replica_costs_no_request(
    served: dict[str, Any],
    model: str,
    victim: str,
    seen: set[Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each is answered, at worst when it is asked again as the server says."""
    seconds: list[float] = []
    found = during_load(
        served, model, lambda: seconds.append(kill(lambda: replica_pids(victim), 2))
    )
    assert {200} <= set(found) <= {200} | seen, Counter(found)
    with capsys.disabled():
        print(f"\n{victim}: {Counter(found)}, back after {seconds[0]:.1f} s")


def test_a_killed_proxy_answers_again(
    served: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """The only way in: until there is a new one, connections are refused, which is retryable."""
    seconds: list[float] = []

    def kill_and_wait() -> None:
        killed = time.monotonic()
        kill(lambda: pids("ray::ProxyActor"), 1)
        while not healthy():
            assert time.monotonic() < killed + 90
            time.sleep(0.2)
        seconds.append(time.monotonic() - killed)

    found = during_load(served, "student", kill_and_wait)
    assert {200} <= set(found) <= {200, NO_CONNECTION}, Counter(found)
    assert set(load(served, "student", lasting(3))) == {200}
    with capsys.disabled():
        print(f"\nproxy: {Counter(found)}, answers after {seconds[0]:.1f} s")


def healthy() -> bool:
    """Whether the application can be reached."""
    try:
        return httpx.get(f"http://127.0.0.1:{PORT}/health", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def other_limits(served: dict[str, Any]) -> ServeConfig:
    limits = served["settings"].limits.model_copy(update={"timeout_s": 55.0})
    return served["settings"].model_copy(update={"limits": limits})


def other_student(served: dict[str, Any]) -> ServeConfig:
    """Of an engine of its own, for which replicas of the first have to go."""
    run = served["run"]
    run.write_json({**run.read_json("students", "rsft.json"), "name": "b"}, "students", "b.json")
    return served["settings"].model_copy(update={"student": "b"})


@pytest.mark.parametrize(
    ("changed", "model", "new"),
    [
        (other_limits, "debate", ("debate", "ingress")),
        (other_student, "student", ("EngineServer:student", "ingress")),
    ],
    ids=["limits", "student"],
)
def test_an_update_costs_no_request(
    served: dict[str, Any],
    changed: Callable[[dict[str, Any]], ServeConfig],
    model: str,
    new: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = {name: set(replica_pids(name)) for name in new}  # whose arguments change
    seconds: list[float] = []

    def update() -> None:
        started = time.monotonic()
        start(changed(served))
        seconds.append(time.monotonic() - started)

    found = during_load(served, model, update)
    assert set(found) == {200}, Counter(found)
    for name, pids_before in before.items():
        assert not pids_before & set(replica_pids(name)), name
    with capsys.disabled():
        print(f"\nupdate: {len(found)} requests, all replicas new after {seconds[0]:.1f} s")
