"""A client of an OpenAI-compatible server that hears answers as they come (server-sent events).

Nothing is tried again: in a load test a refusal is a result. The key is in no message.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import aiohttp
from aiohttp.http_exceptions import LineTooLong

from agentark_ray.config import ConfigError
from agentark_ray.load.offer import Heard, RequestFailed
from agentark_ray.types import Message, Sampling

SAID_CHARS = 300  # of a server's answer, in a message
CONNECT_S = 10.0
LINE_BYTES = 2**20  # of an event, at most
DONE = b"[DONE]"


class Endpoint:
    """`model` as the server at `url` serves it; `url` ends where /chat/completions begins.

    Use it as an async context manager. Without `key` no authorization is sent.
    """

    def __init__(self, url: str, model: str, key: str | None, sampling: Sampling) -> None:
        self.url = url.rstrip("/")
        self.model = model
        self.without_usage = 0  # answers whose tokens had to be counted by their parts
        self._key = key
        self._body = {
            "model": model,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
        }

    async def __aenter__(self) -> "Endpoint":
        self._session = session(self._key)
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self._session.close()

    async def ask(self, messages: Sequence[Message], heard: Heard) -> None:
        """One chat completion.

        Raises:
            RequestFailed: `http STATUS`, `connection`, `cut off` (it ended early), `stream error`
                (the server said so in the middle), `malformed`, or `empty` (no token came).
        """
        try:
            async with self._session.post(
                f"{self.url}/chat/completions", json={**self._body, "messages": list(messages)}
            ) as response:
                if response.status != 200:
                    raise RequestFailed(f"http {response.status}", await self._said(response))
                if response.content_type == "text/event-stream":
                    await self._events(response, heard)
                else:
                    self._whole(json.loads(await response.read()), heard)
        except aiohttp.ClientPayloadError as error:
            raise RequestFailed("cut off", str(error)) from None
        except aiohttp.ClientError as error:
            raise RequestFailed("connection", str(error)) from None
        except (ValueError, LineTooLong) as error:
            raise RequestFailed("malformed", str(error)) from None
        if heard.first is None:
            raise RequestFailed("empty")

    async def _events(self, response: aiohttp.ClientResponse, heard: Heard) -> None:
        tokens = None
        async for line in response.content:
            if not line.startswith(b"data:"):
                continue
            data = line[5:].strip()
            if data == DONE:
                break
            event = _mapping(json.loads(data))
            if "error" in event:
                raise RequestFailed("stream error", self._clean(str(event["error"])))
            if _says_something(event):
                heard.part()
            tokens = _tokens(event) or tokens
        else:
            raise RequestFailed("cut off", "the stream ended before [DONE]")
        if tokens is None:
            self.without_usage += 1
        else:
            heard.tokens = tokens

    def _whole(self, answer: Any, heard: Heard) -> None:
        """An answer in one piece, by a server that does not stream."""
        tokens = _tokens(_mapping(answer))
        if "choices" not in answer or tokens is None:
            raise RequestFailed("malformed", "no chat completion with usage")
        if tokens:
            heard.whole(tokens)

    async def _said(self, response: aiohttp.ClientResponse) -> str:
        return self._clean((await response.content.read(8 * SAID_CHARS)).decode(errors="replace"))

    def _clean(self, said: str) -> str:
        return (said.replace(self._key, "***") if self._key else said)[:SAID_CHARS]


def session(key: str | None) -> aiohttp.ClientSession:
    """As many connections as requests, kept open; time is limited by the caller."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_S),
        headers={"Authorization": f"Bearer {key}"} if key else {},
        read_bufsize=LINE_BYTES,
    )


async def served_models(url: str, key: str | None) -> list[str]:
    """The names of the models that a server has.

    Raises:
        ConfigError: there is no such server, or it refuses the key.
    """
    address = f"{url.rstrip('/')}/models"
    try:
        async with session(key) as client, client.get(address) as response:
            if response.status != 200:
                said = (await response.text())[:SAID_CHARS]
                said = said.replace(key, "***") if key else said
                raise ConfigError(f"{address}: HTTP {response.status}: {said}")
            return [model["id"] for model in json.loads(await response.read())["data"]]
    except (aiohttp.ClientError, OSError) as error:
        raise ConfigError(f"{address}: {error or type(error).__name__}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{address}: not a list of models: {error!r}") from None


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise RequestFailed("malformed", f"expected an object, got {type(value).__name__}")
    return value


def _says_something(event: Mapping[str, Any]) -> bool:
    """Whether an event has a part of an answer, not just its role or figures."""
    deltas = (choice.get("delta") or {} for choice in event.get("choices") or ())
    return any(
        delta.get("content") or delta.get("reasoning_content") or delta.get("reasoning")
        for delta in deltas
    )


def _tokens(event: Mapping[str, Any]) -> int | None:
    usage = event.get("usage")
    return usage.get("completion_tokens") if isinstance(usage, dict) else None
