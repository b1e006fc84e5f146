"""Debate metrics at the Prometheus port of a real Ray node."""

import time
import urllib.request
from contextlib import suppress
from typing import Any

import pytest
import ray

from agentark_ray.prices import TokenPrices
from agentark_ray.traces.metrics import DebateMetrics

pytestmark = [pytest.mark.usefixtures("ray_cluster"), pytest.mark.timeout(300)]

PRICES = TokenPrices(output=250_000.0, prompt=125_000.0, cached=62_500.0)
ROW = {
    "arm": "debate",
    "status": "ok",
    "prompt_tokens": 30,
    "cached_tokens": 10,
    "output_tokens": 12,
    "wall_s": 0.3,
}


@ray.remote(num_cpus=0)
class Actor:
    def __init__(self) -> None:
        self._metrics = DebateMetrics(PRICES)

    def hold(self) -> None:
        for _ in range(4):
            self._metrics.started()
        self._metrics.finished(ROW)
        self._metrics.finished(ROW | {"arm": "single", "cached_tokens": 0})
        self._metrics.flush()
        self._metrics.finished(ROW | {"status": "failed", "wall_s": 3.0})
        self._metrics.flush()

    def flush(self) -> None:
        self._metrics.flush()


def scrape() -> dict[str, float]:
    """Samples of this project's metrics: name and its own labels -> sum over workers."""
    port = ray.nodes()[0]["MetricsExportPort"]
    text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5).read().decode()
    found: dict[str, float] = {}
    for line in text.splitlines():
        if line.startswith("ray_agentark_"):
            name, _, rest = line.partition("{")
            labels, _, value = rest.rpartition("} ")
            own = [
                x for x in labels.split(",") if x.split("=")[0] in ("arm", "kind", "status", "le")
            ]
            key = f"{name.removeprefix('ray_agentark_')}{{{','.join(sorted(own))}}}"
            found[key] = found.get(key, 0.0) + float(value)
    return found


def test_prometheus_sees_the_debates_of_all_actors() -> None:
    make: Any = Actor
    actors = [make.remote() for _ in range(2)]
    ray.get([actor.hold.remote() for actor in actors])
    expected = {
        'debates_total{arm="debate",status="ok"}': 2,
        'debates_total{arm="debate",status="failed"}': 2,
        'tokens_total{arm="debate",kind="prompt"}': 120,
        'tokens_total{arm="debate",kind="output"}': 48,
        'tokens_total{arm="debate",kind="cached"}': 40,
        'tokens_total{arm="single",kind="prompt"}': 60,
        'cost_dollars_total{arm="debate",kind="prompt"}': (120 - 40) / 8,
        'cost_dollars_total{arm="debate",kind="cached"}': 40 / 16,
        'cost_dollars_total{arm="single",kind="prompt"}': 60 / 8,
        'cost_dollars_total{arm="debate",kind="output"}': 48 / 4,
        "debates_in_flight{}": 2,
        'debate_seconds_count{arm="debate"}': 4,
        'debate_seconds_bucket{arm="debate",le="0.5"}': 2,
    }
    found: dict[str, float] = {}
    deadline = time.monotonic() + 60
    while not expected.items() <= found.items():
        assert time.monotonic() < deadline, found
        time.sleep(1)
        ray.get([actor.flush.remote() for actor in actors])  # adds nothing
        with suppress(OSError):
            found = scrape()
    assert not any("cached" in name and "single" in name for name in found)
