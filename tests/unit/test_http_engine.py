"""The HTTP engine against a real local server that misbehaves on purpose."""

import asyncio
import pickle
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from agentark_ray.engine.base import PromptTooLong, RequestRefused
from agentark_ray.engine.http import EndpointError, HttpEngine
from agentark_ray.types import Completion, FinishReason, Message, Sampling
from tests.endpoint import ASKED, KEY, SAMPLING, listening

VLLM_TOO_LONG = (
    "This model's maximum context length is 64 tokens. However, you requested 16 output tokens and"
    " your prompt contains at least 65 input tokens, for a total of at least 81 tokens."
)

Reply = tuple[int, Any] | float  # a status and a body, or seconds to wait before answering well


def completion(**changes: Any) -> dict[str, Any]:
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": "four"},
        "finish_reason": "stop",
        "logprobs": {
            "content": [{"token": t, "logprob": p, "top_logprobs": []} for t, p in LOGPROBS]
        },
    }
    usage = {
        "prompt_tokens": 9,
        "completion_tokens": 2,
        "total_tokens": 11,
        "prompt_tokens_details": {"cached_tokens": 4},
    }
    body = {"id": "c", "object": "chat.completion", "created": 1, "model": "m"}
    return body | {"choices": [choice], "usage": usage} | changes


LOGPROBS = [("fo", -0.5), ("ur", -1.5)]


def error(message: str, code: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "code": code}}


class Server:
    """Gives the `replies` in turn, then good ones; counts requests and how many overlap."""

    def __init__(self) -> None:
        self.replies: list[Reply] = []
        self.requests: list[dict[str, Any]] = []
        self.headers: list[str | None] = []
        self.at_once = self.most_at_once = 0
        self.url = ""

    async def models(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "m", "object": "model"}]})

    async def chat(self, request: web.Request) -> web.Response:
        self.requests.append(await request.json())
        self.headers.append(request.headers.get("Authorization"))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            return await self._reply(self.replies.pop(0) if self.replies else 0.0)
        finally:
            self.at_once -= 1

    async def _reply(self, reply: Reply) -> web.Response:
        if not isinstance(reply, tuple):
            await asyncio.sleep(reply)
            return web.json_response(completion())
        status, body = reply
        if isinstance(body, str):
            return web.Response(status=status, text=body, content_type="application/json")
        # As servers do under load: without it the client's first wait is 0.5 s.
        headers = {"retry-after-ms": "1"} if status in (429, 500) else {}
        return web.json_response(body, status=status, headers=headers)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    async with listening(server.models, server.chat) as server.url:
        yield server


Connect = Callable[..., Awaitable[HttpEngine]]


@pytest.fixture
def connect(server: Server, monkeypatch: pytest.MonkeyPatch) -> Connect:
    monkeypatch.setenv("TEST_KEY", KEY)

    async def make(**changes: Any) -> HttpEngine:
        values: dict[str, Any] = {
            "base_url": server.url,
            "model": "m",
            "api_key_env": "TEST_KEY",
            "timeout_s": 10.0,
            "max_retries": 3,
            "max_concurrency": 8,
            "logprobs": True,
        }
        engine = HttpEngine(**(values | changes))
        await engine.start()
        return engine

    return make


async def ask(engine: HttpEngine) -> Completion:
    return await engine(0, ASKED, SAMPLING)


async def test_a_completion_has_its_counts(server: Server, connect: Connect) -> None:
    got = await ask(await connect())
    assert (got.text, got.finish_reason) == ("four", FinishReason.STOP)
    assert (got.prompt_tokens, got.cached_tokens, got.output_tokens) == (9, 4, 2)
    assert got.mean_logprob == -1.0
    assert 0 < got.latency_s < 5
    (sent,) = server.requests
    assert sent == {
        "model": "m",
        "messages": ASKED,
        "temperature": 0.7,
        "top_p": 0.9,
        "max_tokens": 16,
        "logprobs": True,
    }
    assert server.headers == [f"Bearer {KEY}"]


async def test_without_logprobs_key_and_cache(server: Server, connect: Connect) -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}
    server.replies = [(200, completion(usage=usage))]
    got = await ask(await connect(logprobs=False, api_key_env=None))
    assert (got.mean_logprob, got.cached_tokens) == (0.0, 0)
    assert "logprobs" not in server.requests[0]
    assert server.headers == ["Bearer none"]


async def test_busy_twice_then_an_answer(server: Server, connect: Connect) -> None:
    server.replies = [(429, error("slow down")), (429, error("slow down"))]
    assert (await ask(await connect())).text == "four"
    assert len(server.requests) == 3


async def test_the_client_backs_off(server: Server, connect: Connect) -> None:
    server.replies = [(503, error("no replica")), (503, error("no replica"))]
    got = await ask(await connect())
    # 0.5 and 1 s, each less a jitter of up to a quarter
    assert 1.1 < got.latency_s < 3
    assert len(server.requests) == 3


async def test_a_broken_endpoint_is_named(server: Server, connect: Connect) -> None:
    server.replies = [(500, error("CUDA out of memory"))] * 4
    with pytest.raises(EndpointError, match=r"code: 500.*CUDA out of memory") as failed:
        await ask(await connect())
    assert server.url in str(failed.value)
    assert len(server.requests) == 4


async def test_an_endpoint_that_hangs(server: Server, connect: Connect) -> None:
    server.replies = [30.0, 30.0]
    with pytest.raises(TimeoutError, match=r"no answer in 1 s, the last of 2 attempts"):
        await ask(await connect(timeout_s=1.0, max_retries=1))
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, error(VLLM_TOO_LONG)),
        (400, error("Please reduce your prompt.", "context_length_exceeded")),
        (400, error("the request exceeds the available context size. try increasing it")),
        (413, error("`inputs` tokens + `max_new_tokens` must be <= 64: context length")),
    ],
)
async def test_a_prompt_that_is_too_long(
    server: Server, connect: Connect, status: int, body: Any
) -> None:
    server.replies = [(status, body)]
    with pytest.raises(PromptTooLong) as failed:
        await ask(await connect())
    assert body["error"]["message"] in str(failed.value)
    assert len(server.requests) == 1
    again = pickle.loads(pickle.dumps(failed.value))
    assert (str(again), again.needed) == (str(failed.value), None)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
async def test_a_refusal_is_not_retried_and_tells_no_key(
    server: Server, connect: Connect, status: int
) -> None:
    server.replies = [(status, error(f"no way, {KEY}"))]
    with pytest.raises(RequestRefused, match=rf"code: {status} .*no way, \*\*\*") as failed:
        await ask(await connect())
    assert len(server.requests) == 1
    assert KEY not in "".join(traceback.format_exception(failed.value))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('{"id": "c", "choices": [{', "delimiter|Expecting|JSON"),
        ('"a string"', "not a chat completion"),
        (completion(choices=[]), "not a chat completion"),
        (completion(usage=None), "not a chat completion with usage"),
    ],
)
async def test_a_malformed_answer(server: Server, connect: Connect, body: Any, said: str) -> None:
    server.replies = [(200, body)]
    with pytest.raises(EndpointError, match=said) as failed:
        await ask(await connect())
    assert server.url in str(failed.value)


async def test_a_filtered_answer_and_missing_logprobs(server: Server, connect: Connect) -> None:
    choice = completion()["choices"][0]
    server.replies = [
        (200, completion(choices=[choice | {"finish_reason": "content_filter"}])),
        (200, completion(choices=[choice | {"logprobs": None}])),
        (200, completion(choices=[choice | {"finish_reason": "length"}])),
    ]
    engine = await connect()
    with pytest.raises(RequestRefused, match="content_filter"):
        await ask(engine)
    with pytest.raises(EndpointError, match="without the log-probabilities"):
        await ask(engine)
    assert (await ask(engine)).finish_reason == FinishReason.LENGTH


async def test_no_more_requests_at_once_than_allowed(server: Server, connect: Connect) -> None:
    server.replies = [0.05] * 12
    engine = await connect(max_concurrency=3)
    await asyncio.gather(*(ask(engine) for _ in range(12)))
    assert (server.most_at_once, len(server.requests)) == (3, 12)


async def test_start_tells_what_is_wrong(
    server: Server, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(EndpointError, match=r"does not serve 'other'; it serves m$"):
        await connect(model="other")
    with pytest.raises(EndpointError, match=r":1/v1: /models failed: .*onnect"):
        await connect(base_url="http://127.0.0.1:1/v1", max_retries=0)
    with pytest.raises(EndpointError, match="404"):
        await connect(base_url=server.url.removesuffix("/v1") + "/wrong")
    monkeypatch.delenv("TEST_KEY")
    with pytest.raises(EndpointError, match=r"TEST_KEY.*not set"):
        await connect()


CHOOSE = Sampling(temperature=0.0, top_p=1.0, max_tokens=16, choices=("true", "false"))


def answered(content: str) -> Reply:
    body = completion()
    body["choices"][0]["message"]["content"] = content
    return 200, body


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ('{"answer": "false"}', "false"),
        ('{ "answer": true }', "true"),
        ("true", "true"),
        ("It is true.", "It is true."),  # an endpoint that does not know the format
        ('{"answer": "maybe"}', '{"answer": "maybe"}'),
        ('["true"]', '["true"]'),
        ("[" * 100_000, "[" * 100_000),
    ],
)
async def test_a_choice_is_asked_for_and_read(
    server: Server, connect: Connect, content: str, text: str
) -> None:
    engine = await connect()
    server.replies = [answered(content)]
    assert (await engine(0, ASKED, CHOOSE)).text == text
    (request,) = server.requests
    schema = request["response_format"]["json_schema"]
    assert schema["strict"] is True
    assert schema["schema"]["properties"]["answer"]["enum"] == ["true", "false"]
    await engine(0, ASKED, SAMPLING)
    assert "response_format" not in server.requests[1]


async def test_a_final_assistant_message_is_continued(server: Server, connect: Connect) -> None:
    engine = await connect()
    begun: Message = {"role": "assistant", "content": "1 + 1 ="}
    await engine(0, [*ASKED, begun], SAMPLING)
    await engine(0, ASKED, SAMPLING)
    wish = ("continue_final_message", "add_generation_prompt")
    assert [server.requests[0].get(name) for name in wish] == [True, False]
    assert [server.requests[1].get(name) for name in wish] == [None, None]
