"""A real application with too much to do, another one beside it, and clients that leave."""

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from ray import serve

from agentark_ray.section import ConfigError
from agentark_ray.serving.run import check_place, deploy, deploy_schema, listening, wait_until_up
from tests.ray.serving import MESSAGES, application, settings_for, start
from tests.ray.test_metrics import scrape

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PORT = 8917
URL = f"http://127.0.0.1:{PORT}"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """One engine of the debate, which answers one agent a second; three may wait."""
    pools = {
        "base": {"max_ongoing": 1, "target_ongoing": 1, "max_queued": 3},
        "student": {},
        "debate": {},
    }
    folder, slow = tmp_path_factory.mktemp("serving"), "engine.scripted_latency_s=1"
    with application(folder, PORT, slow, pools=pools, rollout=None) as found:
        yield found


def post(
    served: dict[str, Any], model: str, timeout_s: float = 60, **values: Any
) -> httpx.Response:
    return httpx.post(
        f"{URL}/v1/chat/completions",
        json={"model": model, "messages": MESSAGES, **values},
        headers={"authorization": f"Bearer {served['key']}"},
        timeout=timeout_s,
    )


def test_too_many_debates_are_told_to_come_again(served: dict[str, Any]) -> None:
    assert post(served, "debate").status_code == 200
    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(lambda _: post(served, "debate"), range(12)))
    counts = Counter(one.status_code for one in found)
    assert counts[429] and set(counts) <= {200, 429}, counts
    for one in found:
        if one.status_code == 429:
            assert one.json()["error"]["type"] == "rate_limit_error"
            assert int(one.headers["retry-after"]) > 0


def test_a_client_that_leaves_is_counted_as_such(served: dict[str, Any]) -> None:
    with pytest.raises(httpx.ReadTimeout):
        post(served, "debate", timeout_s=1.5)
    deadline = time.monotonic() + 60
    while not scrape().get('serve_requests_total{arm="debate",status="499"}'):
        assert time.monotonic() < deadline, scrape()
        time.sleep(1)
    assert 'serve_requests_total{arm="debate",status="500"}' not in scrape()


def test_a_bad_request_to_a_real_ingress_is_no_server_error(served: dict[str, Any]) -> None:
    assert post(served, "student", stream_options={"include_usage": True}).status_code == 200
    for model in ("student", "debate"):
        body = f'{{"model": "{model}", "messages": [{{"role": "user", "content": "\\ud800"}}]}}'
        headers = {"authorization": f"Bearer {served['key']}", "content-type": "application/json"}
        found = httpx.post(f"{URL}/v1/chat/completions", content=body, headers=headers)
        assert found.status_code == 422, found.text


def test_applications_stay_beside_each_other(served: dict[str, Any]) -> None:
    other = settings_for(served["run"], PORT, name="other", models=["student"])
    schema = deploy_schema(other)
    schema["applications"][0]["route_prefix"] = "/other"
    deploy(schema)
    wait_until_up("other", lambda told: None)
    assert running() == {"agentark", "other"}
    start(served["settings"])
    assert running() == {"agentark", "other"}
    assert httpx.get(f"{URL}/health").json() == {"status": "ok"}
    assert httpx.get(f"{URL}/other/health").json() == {"status": "ok"}


def running() -> set[str]:
    """Applications that run."""
    found = serve.status().applications
    return {name for name, app in found.items() if app.status.value == "RUNNING"}


def test_serve_is_not_moved(served: dict[str, Any]) -> None:
    place = listening()
    assert place and (place.host, place.port) == ("127.0.0.1", PORT)
    with pytest.raises(ConfigError, match=f"port={PORT}"):
        check_place(settings_for(served["run"], PORT, host="0.0.0.0"), listening())
