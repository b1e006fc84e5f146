"""The guard before an application that says what it was given."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from starlette.testclient import TestClient

from agentark_ray.serving import guard
from agentark_ray.serving.guard import ANYBODY, Guard
from agentark_ray.serving.keys import ApiKey, hash_of

KEY = "ak-" + "k" * 40


def client(
    requests: int = 100, tokens: int = 100, keys: bool = True, replicas: int = 1
) -> TestClient:
    app = FastAPI()

    @app.post("/v1/chat/completions")
    async def echo(body: dict[str, Any], request: Request) -> dict[str, Any]:
        if hasattr(request.state, "budget"):
            request.state.budget.spend(body.get("tokens", 0))
        return {"user": request.state.user, "id": request.state.request_id}

    @app.get("/compare")
    async def compare() -> str:
        return "page"

    @app.post("/bug")
    async def bug() -> None:
        raise RuntimeError

    @app.post("/slow")
    async def slow(body: dict[str, Any]) -> StreamingResponse:
        async def pieces() -> AsyncIterator[str]:
            yield "a"
            await asyncio.sleep(0.5)
            yield "b"

        return StreamingResponse(pieces())

    key = ApiKey(
        name="alice",
        sha256=hash_of(KEY),
        requests_per_minute=requests,
        tokens_per_minute=tokens,
    )
    app.add_middleware(
        Guard, keys=[key] if keys else [], body_bytes=1000, replicas=lambda: replicas
    )
    return TestClient(app, headers={"authorization": f"Bearer {KEY}"})


def post(http: TestClient, headers: dict[str, str] | None = None, **body: Any) -> Any:
    return http.post("/v1/chat/completions", json=body, headers=headers)


def test_every_response_is_counted_by_its_status_and_who_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counted: list[Any] = []
    counter = SimpleNamespace(inc=lambda by, tags: counted.append((by, *tags.values())))
    monkeypatch.setattr(guard, "responses_counter", lambda: counter)
    http = client(requests=2)
    post(http)
    with pytest.raises(RuntimeError):
        http.post("/bug")
    post(http)
    post(http, headers={"authorization": "Bearer no"})
    post(http, text="x" * 2000)
    http.get("/compare")
    assert counted == [
        (1, "200", "alice"),
        (1, "500", "alice"),
        (1, "429", "alice"),
        (1, "401", ANYBODY),
        (1, "413", ANYBODY),
    ]


def test_the_owner_of_a_key_is_let_in() -> None:
    assert post(client()).json()["user"] == "alice"
    assert post(client(keys=False), {"authorization": ""}).json()["user"] == "anybody"


@pytest.mark.parametrize("said", ["", "Bearer", f"Bearer {KEY}x", f"Basic {KEY}", KEY, "Bearer é"])
def test_others_are_not(said: str) -> None:
    headers = {b"authorization": said.encode("latin-1")}
    found = client().post("/v1/chat/completions", json={}, headers=headers)  # type: ignore[arg-type]
    assert found.status_code == 401
    assert KEY not in found.text


def test_the_page_is_open_and_nothing_else_is() -> None:
    http = client()
    assert http.get("/compare", headers={"authorization": ""}).status_code == 200
    assert http.get("/openapi.json", headers={"authorization": ""}).status_code == 401


def test_tokens_that_were_used_are_waited_for() -> None:
    http = client(tokens=60)
    assert post(http, tokens=120).status_code == 200
    found = post(http)
    assert found.status_code == 429
    assert found.json()["error"]["type"] == "rate_limit_error"
    assert 55 <= int(found.headers["retry-after"]) <= 61


@pytest.mark.parametrize(("replicas", "let_in"), [(1, 6), (2, 3), (4, 1), (12, 1)])
def test_a_replica_gives_out_its_part_of_a_budget(replicas: int, let_in: int) -> None:
    http = client(requests=6, replicas=replicas)
    assert [post(http).status_code for _ in range(7)] == [200] * let_in + [429] * (7 - let_in)


@pytest.mark.parametrize("length", ["9" * 5000, "-1", "1e3", "٣"])
def test_a_length_that_is_none_is_refused(length: str) -> None:
    headers = {b"content-length": length.encode(), b"authorization": f"Bearer {KEY}".encode()}
    found = client().post("/v1/chat/completions", content=b"{}", headers=headers)  # type: ignore[arg-type]
    assert found.status_code in (400, 413)


def test_a_body_that_does_not_say_its_length_is_counted() -> None:
    http = client()
    http.headers["content-type"] = "application/json"
    parts = [b'{"tokens": 0, "x": "', b"x" * 600, b"x" * 600, b'"}']
    assert http.post("/v1/chat/completions", content=iter(parts)).status_code == 413
    small = http.post("/v1/chat/completions", content=iter([b'{"tokens"', b": 0}"]))
    assert small.status_code == 200


def test_a_body_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    http = client()
    http.headers["content-type"] = "application/json"

    async def slowly(seconds: float) -> AsyncIterator[bytes]:
        yield b'{"tokens"'
        await asyncio.sleep(seconds)
        yield b": 0}"

    async def status(seconds: float) -> int:
        transport = httpx.ASGITransport(http.app)
        async with httpx.AsyncClient(transport=transport, headers=http.headers) as asking:
            url = "http://testserver/v1/chat/completions"
            return (await asking.post(url, content=slowly(seconds))).status_code

    assert asyncio.run(status(0.0)) == 200
    monkeypatch.setattr(guard, "BODY_S", 0.2)
    assert asyncio.run(status(0.6)) == 408


def test_an_answer_may_take_longer_than_a_body(monkeypatch: pytest.MonkeyPatch) -> None:
    http = client()
    assert post(http).status_code == 200  # an application's first request is slow
    monkeypatch.setattr(guard, "BODY_S", 0.2)
    found = http.post("/slow", json={})
    assert found.status_code == 200 and found.text == "ab"


@pytest.mark.parametrize(
    ("said", "status"), [(["?0"], 200), (["?1"], 400), ([" ?1 "], 400), (["?0", "?1"], 400)]
)
def test_a_client_cannot_hide_that_it_leaves(said: list[str], status: int) -> None:
    headers = [("x-request-disconnect-disabled", one) for one in said]
    found = client().post("/v1/chat/completions", json={}, headers=headers)  # type: ignore[arg-type]
    assert found.status_code == status


@pytest.mark.parametrize("said", ["0", "-1", "86400"])
def test_a_client_cannot_set_the_proxys_deadline(said: str) -> None:
    assert post(client(), {"x-request-timeout-seconds": said}).status_code == 400


def test_every_response_has_the_security_headers() -> None:
    http = client()
    for found in (post(http), post(http, {"authorization": ""}), http.get("/compare")):
        assert found.headers["content-security-policy"].startswith("default-src 'none'")
        assert found.headers["x-content-type-options"] == "nosniff"


def test_a_request_id_of_the_proxy_is_kept_and_a_strange_one_is_not() -> None:
    http = client()
    assert post(http, {"x-request-id": "abc-1"}).json()["id"] == "chatcmpl-abc-1"
    made = post(http, {"x-request-id": "a b; rm"}).json()["id"]
    assert made.startswith("chatcmpl-") and " " not in made
