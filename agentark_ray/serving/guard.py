"""What stands before every request: size, key, budget, and headers. ASGI middleware."""

import asyncio
import json
import math
import re
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from fastapi import HTTPException
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agentark_ray.serving.budget import Budget
from agentark_ray.serving.events import ID_PREFIX, error_body
from agentark_ray.serving.keys import ApiKey, find
from agentark_ray.serving.metrics import responses_counter

OPEN = ("/health", "/ready", "/compare", "/compare.css", "/compare.js")  # without a key
ANYBODY = "anybody"  # the name of a user without a key, where no keys are asked for
SECURITY_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self';"
    " connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}

BODY_S = 30.0  # for a body to come
MAX_DIGITS = 15  # of a length
# What Serve's proxy would obey: not to see when a client leaves, and another deadline, or none.
PROXYS = ("x-request-disconnect-disabled", "x-request-timeout-seconds")
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Guard:
    """Refuses what is too large, has no key or asks too often, as OpenAI-style errors.

    It puts `request_id`, `user` (the key's name) and `budget` into the request's state, and
    security headers into every response.

    Args:
        app: what is guarded.
        keys: who may ask; none means everybody.
        body_bytes: of a request at most.
        replicas: says how many of the ingress run; a key's budget is for all.
    """

    def __init__(
        self,
        app: ASGIApp,
        keys: Sequence[ApiKey],
        body_bytes: int,
        replicas: Callable[[], int],
    ) -> None:
        self._app = app
        self._keys = tuple(keys)
        self._body_bytes = body_bytes
        self._replicas = replicas
        self._budgets: dict[str, Budget] = {}
        self._responses = responses_counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        scope.setdefault("state", {})["request_id"] = request_id(headers.get("x-request-id", ""))

        answered = False

        async def respond(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                answered = True
                self._count(scope, message["status"])
                found = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    found[name] = value
            await send(message)

        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await _refuse(respond, *refusal)
            return
        try:
            await self._app(scope, self._bounded(receive), respond)
        except Exception:  # a bug, of which the response is made outside
            if not answered:
                self._count(scope, 500)
            raise

    def _count(self, scope: Scope, status: int) -> None:
        if scope["path"] not in OPEN:
            user = scope["state"].get("user", ANYBODY)
            self._responses.inc(1, {"status": str(status), "user": user})

    def _refusal(self, scope: Scope, headers: Headers) -> tuple[Any, ...] | None:
        """(status, message, seconds to wait) if the request is not let in."""
        length = headers.get("content-length", "0")
        if not length.isdecimal():
            return 400, f"content-length: expected a number, got {length[:20]!r}"
        if len(length) > MAX_DIGITS or int(length) > self._body_bytes:
            return 413, self._too_large()
        for name in PROXYS:
            if set(headers.getlist(name)) - {"?0"}:
                return 400, f"{name}: this server does not take it"
        scope["state"]["user"] = ANYBODY
        if not self._keys or scope["path"] in OPEN:
            return None
        kind, _, key = headers.get("authorization", "").partition(" ")
        owner = find(self._keys, key.strip()) if kind.lower() == "bearer" else None
        if owner is None:
            return 401, "expected an API key of this server: authorization: Bearer KEY"
        scope["state"]["user"] = owner.name
        if scope["method"] != "POST":
            return None
        budget = self._budget(owner)
        wait = budget.enter(time.monotonic(), self._replicas())
        if wait:
            return (
                429,
                f"the key {owner.name!r} may send {owner.requests_per_minute} requests and use"
                f" {owner.tokens_per_minute} tokens a minute",
                math.ceil(wait),
            )
        scope["state"]["budget"] = budget
        return None

    def _budget(self, owner: ApiKey) -> Budget:
        if owner.name not in self._budgets:
            self._budgets[owner.name] = Budget(
                owner.requests_per_minute, owner.tokens_per_minute, time.monotonic()
            )
        return self._budgets[owner.name]

    def _bounded(self, receive: Receive) -> Receive:
        """`receive`, for bodies that do not say how long they are, or do not come."""
        read, whole, until = 0, False, time.monotonic() + BODY_S

        async def bounded() -> Message:
            nonlocal read, whole
            try:
                async with asyncio.timeout(None if whole else until - time.monotonic()):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, f"the body was not there after {BODY_S:g} s") from None
            if message["type"] == "http.request":
                whole = not message.get("more_body", False)
                read += len(message.get("body", b""))
                if read > self._body_bytes:
                    raise HTTPException(413, self._too_large())  # FastAPI lets it through
            return message

        return bounded

    def _too_large(self) -> str:
        return f"the request is larger than the {self._body_bytes:,} bytes that this server takes"


def request_id(given: str) -> str:
    """Of the `x-request-id` that Serve's proxy passes on or makes; strangers may send anything."""
    return ID_PREFIX + (given if _ID.fullmatch(given) else uuid.uuid4().hex)


async def _refuse(send: Send, status: int, message: str, retry_after_s: int | None = None) -> None:
    body = json.dumps(error_body(status, message)).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if retry_after_s is not None:
        headers.append((b"retry-after", b"%d" % retry_after_s))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
