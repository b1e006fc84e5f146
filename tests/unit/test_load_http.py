"""Answers heard as they come, from a server whose words and pauses are known."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from time import monotonic
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from agentark_ray.config import ConfigError
from agentark_ray.load.figures import Targets
from agentark_ray.load.http import Endpoint, served_models, session
from agentark_ray.load.offer import Heard, Plan, RequestFailed, offer_load
from tests.endpoint import ASKED, KEY, SAMPLING, listening


class Server:
    """Streams `events` with a pause between them; refuses what has not the key."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.pause_s = 0.0
        self.done = True
        self.reply: web.Response | None = None
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.all_here: asyncio.Barrier | None = None  # before any is answered
        self.models: Any = {"data": [{"id": "student"}, {"id": "debate"}]}
        self.url = ""

    async def list_models(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            given = request.headers.get("Authorization")
            return web.json_response({"error": f"{given} is not {KEY}"}, status=401)
        return web.json_response(self.models)

    async def chat(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(await request.json())
        self.keys.append(request.headers.get("Authorization"))
        if self.all_here is not None:
            await self.all_here.wait()
        if self.reply is not None:
            return self.reply
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        for event in self.events:
            text = event if isinstance(event, str) else f" {json.dumps(event)}"
            await response.write(f": a comment\n\ndata:{text}\n\n".encode())
            await asyncio.sleep(self.pause_s)
        if self.done:
            await response.write(b"data: [DONE]\n\n")
        return response


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    async with listening(server.list_models, server.chat) as server.url:
        yield server


def delta(**says: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": says}], "usage": None}


USAGE = {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 4}}
ROLE = delta(role="assistant", content="")


async def ask(server: Server, endpoint: Endpoint | None = None) -> Heard:
    heard = Heard()
    async with endpoint or Endpoint(f"{server.url}/", "student", KEY, SAMPLING) as to:
        await to.ask(ASKED, heard)
    return heard


async def test_a_stream_is_heard_token_by_token(server: Server) -> None:
    server.events = [ROLE, delta(content="fo"), delta(content="ur"), USAGE]
    server.pause_s = 0.1
    began = monotonic()
    heard = await ask(server)
    assert heard.tokens == 4  # by usage, in two parts
    assert heard.first is not None and heard.first - began >= 0.1  # not at the role
    assert heard.inter_token_s is not None and heard.inter_token_s >= 0.05 / 3
    (sent,) = server.requests
    assert sent == {
        "model": "student",
        "messages": ASKED,
        "temperature": 0.7,
        "top_p": 0.9,
        "max_tokens": 16,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


async def test_parts_are_counted_where_there_is_no_usage(server: Server) -> None:
    server.events = [ROLE, delta(reasoning_content="Hm."), delta(content="four")]
    endpoint = Endpoint(server.url, "student", KEY, SAMPLING)
    assert (await ask(server, endpoint)).tokens == 2
    assert endpoint.without_usage == 1


async def test_what_says_nothing_is_no_token(server: Server) -> None:
    server.events = [
        *(ROLE, {"choices": [{"index": 0}]}, {"usage": None}, {"choices": [], "usage": [4]}),
        *(delta(reasoning="Hm."), '{"choices":[{"delta":{"content":"4"}}]}'),  # no space
    ]
    endpoint = Endpoint(server.url, "student", KEY, SAMPLING)
    assert (await ask(server, endpoint)).tokens == 2
    assert (await ask(server, endpoint)).tokens == 2
    assert endpoint.without_usage == 2


async def test_usage_that_comes_before_the_end_is_kept(server: Server) -> None:
    server.events = [USAGE, delta(content="four"), {**USAGE, "usage": None}]
    endpoint = Endpoint(server.url, "student", KEY, SAMPLING)
    assert (await ask(server, endpoint)).tokens == 4
    assert endpoint.without_usage == 0


async def test_a_long_event_is_read(server: Server) -> None:
    server.events = [delta(content="x" * 900_000)]
    assert (await ask(server)).tokens == 1


async def test_requests_do_not_wait_for_a_connection(server: Server) -> None:
    """More than the 100 connections that a session of aiohttp has by default."""
    server.events, server.all_here = [delta(content="four")], asyncio.Barrier(120)
    async with Endpoint(server.url, "student", KEY, SAMPLING) as endpoint, asyncio.timeout(30):
        await asyncio.gather(*(endpoint.ask(ASKED, Heard()) for _ in range(120)))
    assert len(server.requests) == 120


async def test_only_the_caller_limits_the_time_of_an_answer() -> None:
    async with session(None) as client:
        assert client.timeout == aiohttp.ClientTimeout(total=None, connect=10.0)


async def test_without_a_key_none_is_sent(server: Server) -> None:
    server.events = [delta(content="four")]
    await ask(server, Endpoint(server.url, "student", None, SAMPLING))
    await ask(server)
    assert server.keys == [None, f"Bearer {KEY}"]


async def test_a_server_that_does_not_stream(server: Server) -> None:
    server.reply = web.json_response({"choices": [{}], "usage": {"completion_tokens": 7}})
    heard = await ask(server)
    assert (heard.tokens, heard.inter_token_s) == (7, None)
    assert heard.first == heard.last is not None
    server.reply = web.json_response({"choices": [{}], "usage": {"completion_tokens": 0}})
    with pytest.raises(RequestFailed, match=r"^empty$"):
        await ask(server)


@pytest.mark.parametrize(
    ("events", "done", "kind"),
    [
        ([ROLE, USAGE], True, "empty"),
        ([delta(content="fo")], False, "cut off"),
        ([delta(content="fo"), {"error": {"message": "engine died"}}], True, "stream error"),
        (["{"], True, "malformed"),
        (["[1]"], True, "malformed"),
        (['{"choices": "%s"}' % ("x" * 3_000_000)], True, "malformed"),
    ],
)
async def test_streams_that_go_wrong(
    server: Server, events: list[Any], done: bool, kind: str
) -> None:
    server.events, server.done = events, done
    with pytest.raises(RequestFailed) as failed:
        await ask(server)
    assert failed.value.kind == kind


@pytest.mark.parametrize(
    ("status", "text", "kind"),
    [
        (429, f"busy, {KEY}", "http 429"),
        (500, "", "http 500"),
        (200, "<html>", "malformed"),
        (200, "{}", "malformed"),
        (200, "[]", "malformed"),
    ],
)
async def test_answers_that_are_none(server: Server, status: int, text: str, kind: str) -> None:
    server.reply = web.Response(status=status, text=text, content_type="application/json")
    with pytest.raises(RequestFailed) as failed:
        await ask(server)
    assert failed.value.kind == kind
    assert KEY not in str(failed.value)


async def test_what_a_server_says_is_cut_and_without_the_key(server: Server) -> None:
    server.reply = web.Response(status=500, body=f"{KEY} \xff{'x' * 9_000}".encode("latin-1"))
    with pytest.raises(RequestFailed, match=r"^http 500: \*\*\* \ufffdxxx") as failed:
        await ask(server)
    assert len(str(failed.value)) == len("http 500: ") + 300
    server.reply, server.events = None, [{"error": f"no {KEY}, {'x' * 9_000}"}]
    with pytest.raises(RequestFailed, match=r"^stream error: no \*\*\*, xxx") as failed:
        await ask(server)
    assert len(str(failed.value)) == len("stream error: ") + 300


async def test_a_connection_that_breaks_is_cut_off(server: Server) -> None:
    async def broken(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        response.content_length = 1_000
        await response.prepare(request)
        await response.write(b"data: {}\n\n")
        assert request.transport is not None
        request.transport.close()
        return response

    async with listening(server.list_models, broken) as url:
        with pytest.raises(RequestFailed) as failed:
            await ask(server, Endpoint(url, "student", KEY, SAMPLING))
    assert failed.value.kind == "cut off"


async def test_nobody_listens(server: Server) -> None:
    with pytest.raises(RequestFailed) as failed:
        await ask(server, Endpoint("http://127.0.0.1:1/v1", "student", KEY, SAMPLING))
    assert failed.value.kind == "connection"


async def test_a_whole_load_over_http(server: Server) -> None:
    server.events = [ROLE, delta(content="fo"), delta(content="ur"), USAGE]
    server.pause_s = 0.03
    async with Endpoint(server.url, "student", KEY, SAMPLING) as endpoint:
        plan = Plan(rates=(20.0,), seconds=1.0, targets=Targets(ttft_ms=9_000.0))
        (found,) = await offer_load(endpoint.ask, itertools.repeat(ASKED), plan)
    assert found["answered"] == len(server.requests) == found["requests"] > 5
    assert found["good_share"] == 1.0
    assert found["ttft_ms"]["p50"] >= 30
    assert found["e2e_ms"]["p50"] >= 90


async def test_models_of_a_server(server: Server) -> None:
    assert await served_models(f"{server.url}/", KEY) == ["student", "debate"]
    with pytest.raises(ConfigError, match=r"HTTP 401: .*Bearer \*\*\* is not"):
        await served_models(server.url, "a-wrong-one")
    with pytest.raises(ConfigError, match=r"HTTP 401: .*None is not"):
        await served_models(server.url, None)
    with pytest.raises(ConfigError, match=r"127.0.0.1:1/v1/models: "):
        await served_models("http://127.0.0.1:1/v1", None)
    server.models = {"models": []}
    with pytest.raises(ConfigError, match="not a list of models"):
        await served_models(server.url, KEY)
