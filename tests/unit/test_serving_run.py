"""What is deployed, where, and beside what."""

import socket
from pathlib import Path
from typing import Any

import pytest
from ray.serve.config import HTTPOptions

from agentark_ray.section import ConfigError
from agentark_ray.serving import app
from agentark_ray.serving.run import check_place, deploy_schema, with_others
from tests.ray.serving import scripted_run, settings_for

OPEN = "host=0.0.0.0: others can reach it and there are no API keys"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.delenv("AGENTARK_API_KEYS", raising=False)
    return scripted_run(tmp_path / "run")


def args(run: Any, **values: Any) -> dict[str, Any]:
    (described,) = deploy_schema(settings_for(run, 8000))["applications"]
    return {**described["args"], **values}


def test_an_application_that_is_open_to_everybody_is_not_built(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=OPEN):
        app.build(args(run, host="0.0.0.0"))
    monkeypatch.setattr(app.ray, "is_initialized", lambda: True)
    monkeypatch.setattr(app, "listening", lambda: HTTPOptions(host="0.0.0.0"))
    with pytest.raises(ConfigError, match=OPEN):
        app.build(args(run))
    monkeypatch.setattr(app, "listening", lambda: HTTPOptions(host="127.0.0.1"))
    assert app.build(args(run))


def test_too_many_requests_for_the_ingress_are_told_to_come_again(run: Any) -> None:
    built: Any = app.build(args(run))
    said = built._bound_deployment.backpressure_config
    assert (said.status_code, said.retry_after_s) == (429, app.RETRY_S)


def test_a_serve_that_runs_is_not_moved(run: Any) -> None:
    settings = settings_for(run, 8000)
    check_place(settings, HTTPOptions(host="127.0.0.1", port=8000))
    for host, port in (("0.0.0.0", 8000), ("127.0.0.1", 8001)):
        with pytest.raises(ConfigError, match=f"listens at host={host}, port={port}"):
            check_place(settings, HTTPOptions(host=host, port=port))


def test_a_serve_that_runs_keeps_its_deadline(run: Any) -> None:
    place = HTTPOptions(host="127.0.0.1", port=8000, request_timeout_s=305)
    check_place(settings_for(run, 8000, limits={"timeout_s": 300}), place)
    with pytest.raises(ConfigError, match=r"limits\.timeout_s=600: .* request_timeout_s=305"):
        check_place(settings_for(run, 8000, limits={"timeout_s": 600}), place)


def test_a_port_is_not_shared_with_another_server(run: Any) -> None:
    """As Serve's proxy would, which sets SO_REUSEPORT."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        other.listen()
        with pytest.raises(ConfigError, match=f"port={port}: somebody listens there already"):
            check_place(settings_for(run, port), None)
        other.accept()[0].close()
        with socket.create_connection(("127.0.0.1", port)):
            other.accept()[0].close()  # the port then waits for late packets
    check_place(settings_for(run, port), None)


def test_other_applications_stay() -> None:
    def running(name: str, status: str = "RUNNING", port: int = 1) -> dict[str, Any]:
        return {"status": status, "deployed_app_config": {"name": name, "port": port}}

    details = {
        "applications": {
            "agentark": running("agentark"),
            "other": running("other"),
            "failed": running("failed", "DEPLOY_FAILED"),
            "ending": running("ending", "DELETING"),
            "by-hand": {"status": "RUNNING"},
        }
    }
    own = {"name": "agentark", "port": 2}
    found = with_others({"applications": [own]}, details)["applications"]
    assert sorted(found, key=lambda one: one["name"]) == [
        own,
        {"name": "failed", "port": 1},
        {"name": "other", "port": 1},
    ]
