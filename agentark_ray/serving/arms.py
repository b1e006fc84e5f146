"""One request, answered by one arm: a deployment of an engine, or of a team. No HTTP here."""

import asyncio
import json
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ray.exceptions import RayError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle
from ray.serve.llm import openai_api_models as wire

from agentark_ray.engine.dead import EngineDeadError
from agentark_ray.serving import events
from agentark_ray.serving.config import LimitsConfig
from agentark_ray.serving.engines import LOST, EngineUnavailable, wait_out
from agentark_ray.serving.events import Answered, HandedOver, Said, Usage
from agentark_ray.serving.requests import (
    ChatRequest,
    CompletionRequest,
    Refused,
    asked,
    instructed,
)
from agentark_ray.serving.stream import ERROR, text_of, usage_of
from agentark_ray.types import Sampling

RETRY_S = 1
OWN = {  # parts of a request that vLLM is not given, or not as they are
    *("agentark", "messages", "max_tokens", "max_completion_tokens", "user", "stream_options"),
}
LOGGER = logging.getLogger("ray.serve")
AnyRequest = ChatRequest | CompletionRequest


@dataclass(slots=True, kw_only=True)
class Reply:
    """What a request is given back: a body, or a stream of server-sent events.

    The figures are complete when the stream has ended; until then `usage` is what has been told of.
    """

    arm: str = "none"  # which answers
    started_s: float = field(default_factory=time.perf_counter)  # the request has come
    body: Mapping[str, Any] | None = None
    stream: AsyncIterator[str] | None = None
    cancel: Callable[[], Any] | None = None  # ends what makes the stream
    usage: Usage = field(default_factory=Usage)
    text: str = ""  # of the answer; of a single model's stream only with `collect`
    collect: bool = False
    done: asyncio.Event = field(default_factory=asyncio.Event)  # all has been sent
    path: str | None = None
    rounds: int = 0
    handed_over: bool = False
    first_s: float | None = None  # seconds to the first piece of text
    status: int = 200

    def begin(self, arm: str) -> None:
        """An arm tries to answer; what another attempt has used is not the user's to pay."""
        self.arm, self.usage, self.text = arm, Usage(), ""
        self.first_s, self.handed_over = None, False

    def give_up(self) -> None:
        """Nobody will read the stream, of which nothing has been read."""
        if self.stream is not None and self.cancel is not None:
            self.stream = None
            self.cancel()

    def note_first(self) -> None:
        """The first text is there."""
        if self.first_s is None:
            self.first_s = time.perf_counter() - self.started_s

    def take(self, event: events.Event) -> None:
        """Take over what a team says."""
        if isinstance(event, HandedOver):
            self.handed_over = True
            self.usage += event.usage
        elif isinstance(event, Said):
            self.usage += Usage(
                prompt_tokens=event.prompt_tokens,
                cached_tokens=event.cached_tokens,
                completion_tokens=event.output_tokens,
            )
        elif isinstance(event, Answered):
            self.note_first()
            self.usage, self.text, self.path = event.usage, event.text, event.path
            self.rounds = event.rounds


def as_refused(error: BaseException) -> Refused | None:
    """What an exception of a deployment is to the user; None if it is a bug of who asked it."""
    cause = error.cause if isinstance(error, RayTaskError) else error
    if isinstance(cause, Refused):
        return cause
    if isinstance(cause, BackPressureError):
        return Refused(429, "too many requests wait already", retry_after_s=RETRY_S)
    if isinstance(cause, (*LOST, DeploymentUnavailableError)):
        return Refused(503, "the replica that answered was lost; ask again", retry_after_s=RETRY_S)
    if isinstance(cause, EngineUnavailable):
        return Refused(503, "an engine is not available; ask again", retry_after_s=RETRY_S)
    if isinstance(cause, TimeoutError):
        return Refused(504, "no answer in time")
    if isinstance(error, RayError):
        LOGGER.error("a deployment raised what it should not", exc_info=error)
        return Refused(500, "internal error")
    return None


class Arm(ABC):
    """One way to answer. Subclasses say how."""

    def __init__(self, name: str, limits: LimitsConfig) -> None:
        self.name = name
        self._limits = limits

    async def answer(self, reply: Reply, request: AnyRequest, request_id: str) -> None:
        """Fill in the reply, as soon as something of it is there.

        A replica that is lost before that is replaced by another one, `limits.retries` times. The
        deadline is the request's, whoever has tried to answer it.

        Raises:
            Refused: with the HTTP status.
        """
        for attempt in range(1 + self._limits.retries):
            reply.begin(self.name)
            try:
                async with asyncio.timeout(self.left_s(reply)):
                    await self._begin(reply, request, request_id)
                return
            except LOST as error:
                LOGGER.warning("%s: %s: %s", request_id, self.name, type(error).__name__)
                if attempt == self._limits.retries:
                    raise as_refused(error) or error from None
                await wait_out(error)
            except Exception as error:
                refused = as_refused(error)
                if refused is None:
                    raise
                raise refused from None
        raise AssertionError("unreachable: the last attempt returns or raises")

    def left_s(self, reply: Reply) -> float:
        """Seconds until the request's deadline."""
        return self._limits.timeout_s - (time.perf_counter() - reply.started_s)

    @abstractmethod
    async def _begin(self, reply: Reply, request: AnyRequest, request_id: str) -> None:
        """Fill in the body, or the stream once its first piece is there."""

    async def _until_end(
        self, reply: Reply, pieces: Callable[[], AsyncIterator[str]], cancel: Callable[[], Any]
    ) -> AsyncIterator[str]:
        """A stream that always ends with [DONE], also after an error in the middle."""
        try:
            async with asyncio.timeout(self.left_s(reply)):
                async for piece in pieces():
                    yield piece
        except Exception as error:
            refused = as_refused(error)
            if refused is None:
                LOGGER.exception("%s: a stream broke", self.name)
            reply.status = refused.status if refused else 500
            said = refused.message if refused else "internal error"
            yield events.sse(events.error_body(reply.status, said))
        finally:
            cancel()
        yield events.DONE


class ModelArm(Arm):
    """A single model, by Ray Serve LLM.

    Args:
        name: of the model.
        handle: to its deployment.
        instruction: ends the first question of a conversation.
        limits: deadline and retries.
        own: sampling where the request says nothing.
    """

    def __init__(
        self,
        name: str,
        handle: DeploymentHandle,
        instruction: str,
        limits: LimitsConfig,
        own: Sampling,
    ) -> None:
        super().__init__(name, limits)
        self._handle = handle.options(stream=True)
        self._instruction = instruction
        self._own = own

    async def _begin(self, reply: Reply, request: AnyRequest, request_id: str) -> None:
        sent = self._sent(request, request_id)
        method = self._handle.chat if isinstance(request, ChatRequest) else self._handle.completions
        response: Any = method.remote(sent, None)
        try:
            first = await anext(response)
        except asyncio.CancelledError:
            response.cancel()
            raise
        found: Any = first[0] if isinstance(first, list) else first
        error = getattr(found, "error", None)
        if error is not None:
            raise Refused(_status(error.code), error.message, param=getattr(error, "param", None))
        if request.stream and found.startswith(ERROR):  # what was asked is not the reason
            raise EngineDeadError
        reply.path = self.name
        reply.note_first()
        if request.stream:

            def pieces() -> AsyncIterator[str]:
                return _forward(
                    reply, first, response, request.usage_wanted, self._limits.stream_tokens
                )

            reply.cancel = response.cancel
            reply.stream = self._until_end(reply, pieces, response.cancel)
            return
        body = found.model_dump(exclude_none=True)
        reply.usage = usage_of(body["usage"])
        choice = body["choices"][0]
        reply.text = choice["message"]["content"] if "message" in choice else choice["text"]
        reply.body = {**body, "id": request_id, "agentark": {"path": self.name}}

    def _sent(self, request: AnyRequest, request_id: str) -> Any:
        """The request as vLLM knows it."""
        values: dict[str, Any] = {"temperature": self._own.temperature, "top_p": self._own.top_p}
        values |= request.model_dump(exclude=OWN, exclude_none=True)
        values |= {"model": self.name, "request_id": request_id.removeprefix(events.ID_PREFIX)}
        if request.stream:
            values["stream_options"] = {"include_usage": True}
        limit = request.limit or self._own.max_tokens
        if isinstance(request, ChatRequest):
            values["messages"] = instructed(request.messages, self._instruction)
            return wire.ChatCompletionRequest(**values, max_completion_tokens=limit)
        return wire.CompletionRequest(**values, max_tokens=limit)


async def _forward(
    reply: Reply, first: Any, response: Any, usage_wanted: bool, stream_tokens: int
) -> AsyncIterator[str]:
    """The engine's events; the token counts that every stream ends with only if wanted.

    A client that leaves before them has used `stream_tokens` for every piece, at most.
    """
    batch, ended = first, False
    while True:
        told: list[str] = []
        for piece in batch if isinstance(batch, list) else [batch]:
            if piece == events.DONE:
                ended = True
                break
            if '"usage":{' in piece and '"choices":[]' in piece:
                reply.usage = usage_of(json.loads(piece.removeprefix("data: "))["usage"])
                if not usage_wanted:
                    continue
            elif piece.startswith(ERROR):
                reply.status = 500
            else:
                reply.usage += Usage(completion_tokens=stream_tokens)
                if reply.collect:
                    reply.text += text_of(piece)
            told.append(piece)
        if told:
            yield "".join(told)
        if ended:
            return
        try:
            batch = await anext(response)
        except StopAsyncIteration:
            return


class TeamArm(Arm):
    """A debate, or a student with a debate behind it.

    Args:
        name: of the model.
        handle: to a deployment of DebateServer or HybridServer.
        limits: deadline and retries.
    """

    def __init__(self, name: str, handle: DeploymentHandle, limits: LimitsConfig) -> None:
        super().__init__(name, limits)
        self._answer = handle.options(stream=True).answer

    async def _begin(self, reply: Reply, request: AnyRequest, request_id: str) -> None:
        if not isinstance(request, ChatRequest):
            raise Refused(404, f"model {request.model!r} answers chats only", param="model")
        response: Any = self._answer.remote(asked(request))
        try:
            if request.stream:
                first = await anext(response)

                def pieces() -> AsyncIterator[str]:
                    return _told(self.name, reply, first, response, request, request_id)

                reply.cancel = response.cancel
                reply.stream = self._until_end(reply, pieces, response.cancel)
                return
            async for event in response:
                reply.take(event)
                if isinstance(event, Answered):
                    reply.body = events.body(event, request_id=request_id, model=self.name)
        except BaseException:
            response.cancel()
            raise


async def _told(
    model: str, reply: Reply, first: Any, response: Any, request: ChatRequest, request_id: str
) -> AsyncIterator[str]:
    event = first
    while True:
        reply.take(event)
        for piece in events.chunks(
            event, request_id=request_id, model=model, with_usage=request.usage_wanted
        ):
            yield piece
        try:
            event = await anext(response)
        except StopAsyncIteration:
            return


def _status(code: Any) -> int:
    return code if isinstance(code, int) and 400 <= code < 600 else 500
