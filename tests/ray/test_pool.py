"""A pool of actors that grows while questions wait."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agentark_ray import session
from agentark_ray.session import ray_session
from agentark_ray.traces.generate import verify_traces
from agentark_ray.traces.read import trace_dataset
from tests.ray.helpers import actors, assert_whole, config_for, hold

pytestmark = pytest.mark.timeout(240)
CPUS = 6  # Ray Data keeps half of them for reading and writing


@pytest.fixture
def roomy_cluster() -> Iterator[None]:
    with ray_session(cpus=CPUS):
        yield


@pytest.mark.slow
@pytest.mark.usefixtures("roomy_cluster")
def test_one_actor_becomes_two_under_load(
    tmp_path: Path, gsm8k_file: Callable[[int], Path]
) -> None:
    config = config_for(
        tmp_path, gsm8k_file(150), "engine.scripted_latency_s=0.8", "engine.max_actors=2"
    )
    seen: list[int] = []
    ended = threading.Event()

    def count() -> None:
        while not ended.wait(0.05):
            seen.append(len(actors()))

    watcher = threading.Thread(target=count)
    watcher.start()
    started = time.monotonic()
    try:
        folder, total = hold(config)
    finally:
        ended.set()
        watcher.join()
    print(f"{total} debates in {time.monotonic() - started:.1f} s")
    assert (min(seen), max(seen)) == (0, 2)
    assert 1 in seen[: seen.index(2)], "two from the start"
    ids = trace_dataset(folder, "traces").to_table(columns=["debate_id"])["debate_id"].to_pylist()
    assert verify_traces(folder, config, "traces", total)["rows"] == total
    assert len(set(ids)) == len(ids) == total


def test_an_engine_may_have_a_gpu(
    tmp_path: Path, gsm8k_file: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that Ray only believes in."""
    local = session._local_resources
    monkeypatch.setattr(session, "_local_resources", lambda cpus: {**local(cpus), "num_gpus": 1})
    config = config_for(tmp_path, gsm8k_file(150), "gpus_per_engine=1")
    with ray_session():
        _, total = hold(config)
        assert_whole(config, total)
