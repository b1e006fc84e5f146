"""What speaks HTTP: OpenAI's API in front of all arms.

The routes are made by Ray Serve LLM. Its own ingress is not used: it takes every field of vLLM's
requests from strangers (chat templates, seeds that can end an engine), is open to all origins, and
knows single models only.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from ray.serve.handle import DeploymentHandle
from ray.serve.llm.ingress import make_fastapi_ingress
from starlette.exceptions import HTTPException

from agentark_ray.prices import TokenPrices
from agentark_ray.serving.agreement import Shadow, agree, extracted
from agentark_ray.serving.arms import AnyRequest, Arm, ModelArm, Reply, TeamArm, as_refused
from agentark_ray.serving.config import AUTO, ServeConfig, rollout_of
from agentark_ray.serving.events import error_body
from agentark_ray.serving.guard import ANYBODY, SECURITY_HEADERS, Guard
from agentark_ray.serving.keys import ApiKey
from agentark_ray.serving.ledger import GONE, Ledger
from agentark_ray.serving.requests import (
    Answers,
    ChatRequest,
    CompletionRequest,
    ErrorBody,
    Refused,
    check_limits,
)
from agentark_ray.serving.rollout import choose, fallbacks, is_shadowed
from agentark_ray.serving.watch import RETRY_S, WATCH, running_ingresses
from agentark_ray.tasks.registry import TASKS
from agentark_ray.types import Sampling

RECENT_S = 5.0  # for the recorder to answer
UNFIT = (404, 422)  # what was asked is not for this arm, and may be for another one
LOGGER = logging.getLogger("ray.serve")
PAGE = Path(__file__).parent / "page"
ERRORS: dict[int | str, dict[str, Any]] = {  # what every route may answer, for the OpenAPI document
    status: {"model": ErrorBody, "description": HTTPStatus(status).phrase}
    for status in (400, 401, 404, 405, 408, 413, 422, 429, 500, 502, 503, 504)
}
PAGE_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript"}


class Ingress:
    """Answers by the model that is asked for; `agentark` by the arm of the rollout.

    Args:
        engines: `student` and `base`, those that are served, to their deployments.
        models: all names that are served.
        teams: `debate` and `hybrid` to theirs.
        recorder: the deployment that keeps records.
        settings: of the application.
        task: the run's, whose grader compares answers.
        student: the student's name, for the records.
        own: sampling of single models where a request says nothing.
        prices: of tokens, for the compare page.
    """

    def __init__(
        self,
        *,
        engines: Mapping[str, DeploymentHandle],
        models: Sequence[str],
        teams: Mapping[str, DeploymentHandle],
        recorder: DeploymentHandle,
        settings: ServeConfig,
        task: str,
        student: str,
        own: Sampling,
        prices: TokenPrices | None,
    ) -> None:
        limits, self._grader = settings.limits, TASKS[task].grader
        instruction = self._grader.instruction
        self._arms: dict[str, Arm] = {
            **{
                name: ModelArm(name, handle, instruction, limits, own)
                for name, handle in engines.items()
            },
            **{name: TeamArm(name, handle, limits) for name, handle in teams.items()},
        }
        self._cards = {name: _card(name) for name in models}
        self._settings = settings
        self._rollout = settings.divided
        self._prices = prices
        self._recorder = recorder
        self._ledger = Ledger(recorder, student, settings.log_prompts)
        self._shadow = Shadow(self._grader, self._ledger)
        WATCH.start(settings.pools)

    def reconfigure(self, user_config: Mapping[str, Any]) -> None:
        """Another rollout, while requests are answered; one that cannot be is not taken over.

        An error raised here would end this replica, and every one after it.
        """
        try:
            self._rollout = rollout_of(self._settings, user_config)
        except ValueError as error:
            LOGGER.error("the rollout stays as it is: %s: %s", user_config, error)
        LOGGER.info("rollout: %s", self._rollout)

    async def chat(self, body: ChatRequest, request: Request) -> Response:
        """One answer to a conversation."""
        return await self._respond(body, request)

    async def completions(self, body: CompletionRequest, request: Request) -> Response:
        """Text that continues a prompt, by a single model."""
        return await self._respond(body, request)

    async def models(self) -> dict[str, Any]:
        """What is served."""
        return {"object": "list", "data": list(self._cards.values())}

    async def model_data(self, model: str) -> dict[str, Any]:
        """One of it."""
        if model not in self._cards:
            raise self._unknown(model)
        return self._cards[model]

    async def health(self) -> dict[str, str]:
        """That requests are taken."""
        return {"status": "ok"}

    async def ready(self) -> dict[str, str]:
        """That every model can answer; one that is scaled to zero can."""
        if down := [model for model in self._settings.models if WATCH.is_down(model)]:
            raise Refused(
                503, f"without a running replica: {', '.join(down)}", retry_after_s=RETRY_S
            )
        return {"status": "ready"}

    async def recent(self) -> dict[str, Any]:
        """Figures of the latest requests, and the rollout."""
        return {
            "prices": self._prices and asdict(self._prices),  # US dollars a million tokens
            "rollout": self._rollout.model_dump(mode="json"),
            "requests": await self._latest(),
        }

    async def _latest(self) -> Any:
        try:
            async with asyncio.timeout(RECENT_S):
                return await self._recorder.recent.remote()
        except Exception as error:
            raise as_refused(error) or error from None

    async def agreement(self, body: Answers) -> dict[str, Any]:
        """Whether two texts give the same answer, as the task's grader reads them."""
        try:
            async with asyncio.timeout(self._settings.limits.timeout_s):
                answers = await extracted(self._grader, body.texts)
                return {"answers": answers, "agree": await agree(self._grader, answers)}
        except TimeoutError:
            raise Refused(504, "no answer in time") from None

    async def compare(self) -> Response:
        """The page that asks two arms at once."""
        return _page("compare.html")

    async def compare_file(self, kind: str) -> Response:
        """Its style and its script."""
        if kind not in ("css", "js"):
            raise HTTPException(404)
        return _page(f"compare.{kind}")

    def _unknown(self, model: str) -> Refused:
        return Refused(
            404,
            f"model {model[:100]!r} is not served here; there are {', '.join(self._cards)}",
            param="model",
            code="model_not_found",
        )

    async def _respond(self, body: AnyRequest, request: Request) -> Response:
        state, limits = request.state, self._settings.limits
        known = body.model in self._cards
        model = body.model if known else "unknown"
        self._ledger.started()
        reply = Reply(status=500)
        try:
            if not known:
                raise self._unknown(body.model)
            check_limits(body, messages=limits.messages, max_tokens=limits.max_tokens)
            await self._ask(reply, body, state)
            reply.status = 200
            reply.collect |= self._settings.log_prompts
        except Refused as refused:
            reply.status = refused.status
            raise
        except asyncio.CancelledError:
            reply.status = GONE
            reply.give_up()
            raise
        finally:
            if reply.stream is None:
                self._end(model, body, reply, state)
        headers = {"x-agentark-arm": reply.arm}
        if reply.stream is None:
            return JSONResponse(reply.body, headers=headers)
        stream = self._streamed(model, body, reply, state, reply.stream)
        return StreamingResponse(stream, media_type="text/event-stream", headers=headers)

    async def _streamed(
        self, model: str, body: AnyRequest, reply: Reply, state: Any, stream: AsyncIterator[str]
    ) -> AsyncIterator[str]:
        try:
            async for piece in stream:
                yield piece
        except BaseException:
            reply.status = GONE
            raise
        finally:
            self._end(model, body, reply, state)

    def _end(self, model: str, body: AnyRequest, reply: Reply, state: Any) -> None:
        self._ledger.ended(model, body, reply, state)
        reply.done.set()

    async def _ask(self, reply: Reply, body: AnyRequest, state: Any) -> None:
        if body.model != AUTO:
            await self._arms[body.model].answer(reply, body, state.request_id)
            return
        rollout = self._rollout  # one for the whole request
        user = body.user or (state.user if state.user != ANYBODY else state.request_id)
        arm = choose(rollout.weights, user)
        served = tuple(self._settings.models)
        tries = (arm, *fallbacks(rollout, arm, served))
        failed: Refused | None = None
        for number, name in enumerate(tries, 1):
            try:
                await self._try(name, len(tries) - number, reply, body, state.request_id)
            except Refused as refused:
                if refused.status < 500 and not (failed and refused.status in UNFIT):
                    raise
                failed = failed or refused
                continue
            if name != arm:
                self._ledger.metrics.fell_back(arm)
            if isinstance(body, ChatRequest) and is_shadowed(rollout, state.request_id, name):
                assert rollout.shadow is not None
                self._shadow.follow(body, reply, self._arms[rollout.shadow.arm])
            return
        assert failed is not None, "every arm has failed"
        raise failed

    async def _try(
        self, name: str, others: int, reply: Reply, body: AnyRequest, request_id: str
    ) -> None:
        """The last arm has all the time that is left, also while its replica starts."""
        arm = self._arms[name]
        if not others:
            await arm.answer(reply, body, request_id)
            return
        if WATCH.is_down(name):
            raise Refused(503, f"{name} has no running replica", retry_after_s=RETRY_S)
        patience_s = min(self._settings.limits.patience_s, arm.left_s(reply) / (1 + others))
        try:
            async with asyncio.timeout(patience_s):
                await WATCH.unless_gone(name, arm.answer(reply, body, request_id))
        except TimeoutError:
            reply.give_up()  # where it came at the last moment
            raise Refused(504, f"no answer of {name} within {patience_s:.3g} s") from None


def _card(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "agentark-ray"}


def _page(name: str) -> Response:
    kind = PAGE_TYPES[name.rpartition(".")[2]]
    return Response((PAGE / name).read_bytes(), media_type=f"{kind}; charset=utf-8")


ENDPOINTS = {
    "models": lambda app: app.get("/v1/models"),
    "model_data": lambda app: app.get("/v1/models/{model:path}"),
    "chat": lambda app: app.post("/v1/chat/completions"),
    "completions": lambda app: app.post("/v1/completions"),
    "health": lambda app: app.get("/health"),
    "ready": lambda app: app.get("/ready"),
    "recent": lambda app: app.get("/v1/agentark/recent"),
    "agreement": lambda app: app.post("/v1/agentark/agreement"),
    "compare": lambda app: app.get("/compare", include_in_schema=False),
    "compare_file": lambda app: app.get("/compare.{kind}", include_in_schema=False),
}


def ingress_class(settings: ServeConfig, keys: Sequence[ApiKey]) -> type:
    """The class of the ingress deployment, with its FastAPI application."""
    app = FastAPI(title="agentark-ray", docs_url=None, redoc_url=None, responses=ERRORS)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _bug)
    app.add_middleware(
        Guard,
        keys=list(keys),
        body_bytes=settings.limits.body_bytes,
        replicas=running_ingresses,
    )
    return make_fastapi_ingress(Ingress, endpoint_map=ENDPOINTS, app=app)


def _error(
    status: int, message: str, headers: Mapping[str, str] | None = None, **said: str | None
) -> JSONResponse:
    return JSONResponse(error_body(status, message, **said), status, dict(headers or {}))


async def _refused(request: Request, error: Any) -> JSONResponse:
    wait = error.retry_after_s
    headers = {} if wait is None else {"retry-after": str(wait)}
    return _error(error.status, error.message, headers, param=error.param, code=error.code)


async def _invalid(request: Request, error: Any) -> JSONResponse:
    """What was wrong, without repeating what was sent."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if part != "body")
    said = str(first["msg"]).removeprefix("Value error, ")
    return _error(422, f"{where}: {said}" if where else said, param=where or None)


async def _http_error(request: Request, error: Any) -> JSONResponse:
    return _error(error.status_code, str(error.detail), error.headers)


async def _bug(request: Request, error: Any) -> JSONResponse:
    request_id = getattr(request.state, "request_id", "")
    LOGGER.error("request_id=%s", request_id, exc_info=error)
    return _error(500, f"internal error (request {request_id})", SECURITY_HEADERS)
