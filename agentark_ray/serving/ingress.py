"""What speaks HTTP: OpenAI's API in front of all arms, on Ray Serve LLM's ingress."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from ray.serve.handle import DeploymentHandle
from ray.serve.llm.ingress import OpenAiIngress, make_fastapi_ingress
from starlette.exceptions import HTTPException

from agentark_ray.grading.base import GradingTimeout
from agentark_ray.monitoring import Kind, question_features
from agentark_ray.prices import TokenPrices
from agentark_ray.serving.arms import AnyRequest, Arm, ModelArm, Reply, TeamArm
from agentark_ray.serving.config import AUTO, RolloutConfig, ServeConfig
from agentark_ray.serving.events import error_body
from agentark_ray.serving.guard import ANYBODY, Guard
from agentark_ray.serving.keys import ApiKey
from agentark_ray.serving.metrics import ServingMetrics
from agentark_ray.serving.records import figures
from agentark_ray.serving.requests import (
    Answers,
    ChatRequest,
    CompletionRequest,
    Refused,
    check_limits,
)
from agentark_ray.serving.rollout import choose, fallbacks, is_shadowed
from agentark_ray.tasks.registry import TASKS

LOGGER = logging.getLogger("ray.serve")
PAGE = Path(__file__).parent / "page"
PAGE_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript"}
SHADOWS = 32  # at once
TELL_S = 1.0  # between news to the recorder
STUDENTS = ("student", "hybrid")  # whose requests say how the student does


class Ingress(OpenAiIngress):
    """Answers by the model that is asked for; `agentark` by the arm of the rollout.

    Args:
        engines: `student` and `base`, those that are served, to their deployments.
        models: all names that are served.
        teams: `debate` and `hybrid` to theirs.
        recorder: the deployment that keeps records.
        settings: of the application.
        task: the run's, whose grader compares answers.
        student: the student's name, for the records.
        max_tokens: output tokens where a request says nothing.
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
        max_tokens: int,
        prices: TokenPrices | None,
    ) -> None:
        cards: dict[str, Any] = {name: _card(name) for name in models}
        super().__init__(dict(engines), {name: cards[name] for name in engines})
        limits, self._grader = settings.limits, TASKS[task].grader
        instruction = self._grader.instruction
        self._arms: dict[str, Arm] = {
            name: ModelArm(name, handle, instruction, limits, max_tokens)
            for name, handle in engines.items()
        } | {name: TeamArm(name, handle, limits) for name, handle in teams.items()}
        self._cards = cards
        self._settings = settings
        self._rollout = settings.divided
        self._student = student
        self._prices = prices
        self._recorder = recorder
        self._metrics = ServingMetrics()
        self._ongoing = 0
        self._rows: list[dict[str, Any]] = []
        self._recent: list[dict[str, Any]] = []
        self._background: set[asyncio.Task[Any]] = set()
        self._shadows = 0

    def reconfigure(self, user_config: Mapping[str, Any]) -> None:
        """Another rollout, while requests are answered."""
        self._rollout = RolloutConfig.model_validate(user_config["rollout"])
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

    async def recent(self) -> dict[str, Any]:
        """Figures of the latest requests, and the rollout."""
        prices = self._prices and {"prompt": self._prices.prompt, "output": self._prices.output}
        return {
            "prices": prices,  # US dollars a million tokens
            "rollout": self._rollout.model_dump(mode="json"),
            "requests": await self._recorder.recent.remote(),
        }

    async def agreement(self, body: Answers) -> dict[str, Any]:
        """Whether two texts give the same answer, as the task's grader reads them."""
        answers = [self._grader.extract(text) for text in body.texts]
        return {"answers": answers, "agree": await self._agree(answers)}

    async def _agree(self, answers: Sequence[str | None]) -> bool:
        first, second = answers
        if first is None or second is None:
            return False
        try:
            return await asyncio.to_thread(self._grader.equal, first, second)
        except GradingTimeout:
            return False

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
        state = request.state
        limits = self._settings.limits
        self._ongoing += 1
        self._metrics.ongoing(self._ongoing)
        started = time.perf_counter()
        try:
            if body.model not in self._cards:
                raise self._unknown(body.model)
            check_limits(body, messages=limits.messages, max_tokens=limits.max_tokens)
            reply = await self._ask(body, state)
        except BaseException as error:
            status = error.status if isinstance(error, Refused) else 500
            self._ended(body, Reply(arm="none", started_s=started, status=status), state)
            raise
        headers = {"x-agentark-arm": reply.arm}
        if reply.stream is None:
            self._ended(body, reply, state)
            return JSONResponse(reply.body, headers=headers)
        stream = self._streamed(body, reply, state, reply.stream)
        return StreamingResponse(stream, media_type="text/event-stream", headers=headers)

    async def _ask(self, body: AnyRequest, state: Any) -> Reply:
        if body.model != AUTO:
            return await self._arms[body.model].answer(body, state.request_id)
        rollout = self._rollout  # one for the whole request
        user = body.user or (state.user if state.user != ANYBODY else state.request_id)
        arm = choose(rollout.weights, user)
        served = tuple(self._settings.models)
        for name in (arm, *fallbacks(rollout, arm, served)):
            try:
                reply = await self._arms[name].answer(body, state.request_id)
            except Refused as refused:
                if refused.status < 500:
                    raise
                self._metrics.fell_back(name)
                failed = refused
                continue
            if isinstance(body, ChatRequest) and is_shadowed(rollout, state.request_id, name):
                assert rollout.shadow is not None
                self._shadow(body, reply, self._arms[rollout.shadow.arm])
            return reply
        raise failed

    async def _streamed(
        self, body: AnyRequest, reply: Reply, state: Any, stream: AsyncIterator[str]
    ) -> AsyncIterator[str]:
        try:
            async for piece in stream:
                yield piece
        except BaseException:
            reply.status = 499  # the client has gone
            raise
        finally:
            self._ended(body, reply, state)

    def _ended(self, body: AnyRequest, reply: Reply, state: Any) -> None:
        """Count a request that is over, whatever became of it."""
        self._ongoing -= 1
        self._metrics.ongoing(self._ongoing)
        latency = time.perf_counter() - reply.started_s
        tokens = reply.usage
        if budget := getattr(state, "budget", None):
            budget.spend(tokens.prompt_tokens + tokens.completion_tokens)
        model = body.model if body.model in self._cards else "unknown"
        self._metrics.ended(
            model=model,
            arm=reply.arm,
            status=reply.status,
            latency_s=latency,
            first_s=reply.first_s,
            prompt_tokens=tokens.prompt_tokens,
            output_tokens=tokens.completion_tokens,
            rounds=reply.rounds,
            handed_over=reply.handed_over,
        )
        LOGGER.info(
            "request_id=%s user=%s model=%s arm=%s status=%s ms=%.0f prompt=%s output=%s",
            *(state.request_id, state.user, model, reply.arm, reply.status, 1000 * latency),
            *(tokens.prompt_tokens, tokens.completion_tokens),
        )
        if self._settings.log_prompts and isinstance(body, ChatRequest):
            LOGGER.info("request_id=%s asked=%r", state.request_id, body.messages[-1].text)
        if reply.status == 200:
            self._record(body, reply, latency)

    def _record(
        self, body: AnyRequest, reply: Reply, latency_s: float, agreement: bool | None = None
    ) -> None:
        tokens = reply.usage.completion_tokens
        self._recent.append(
            figures(
                arm=reply.arm,
                latency_s=latency_s,
                tokens=tokens,
                path=reply.path,
                agreement=agreement,
            )
        )
        if reply.arm in STUDENTS and isinstance(body, ChatRequest) and agreement is None:
            self._rows.append(
                {
                    "time": datetime.now(UTC),
                    "student": self._student,
                    "kind": Kind.LIVE.value,
                    "fallback": reply.handed_over,
                    "correct": None,
                    "latency_ms": 1000 * latency_s,
                    "output_tokens": tokens,
                    "features": question_features(body.messages[-1].text),
                }
            )
        if len(self._recent) == 1:
            self._in_background(self._tell())

    async def _tell(self) -> None:
        await asyncio.sleep(TELL_S)
        rows, recent = self._rows, self._recent
        self._rows, self._recent = [], []
        await self._recorder.add.remote(rows, recent)

    def _in_background(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def _shadow(self, body: ChatRequest, reply: Reply, arm: Arm) -> None:
        """Ask another arm, too, once the user has his answer; compare."""
        if self._shadows >= SHADOWS:
            self._metrics.shadowed("skipped")
            return
        self._shadows += 1
        self._in_background(self._compare(body, reply, arm))

    async def _compare(self, body: ChatRequest, reply: Reply, arm: Arm) -> None:
        try:
            quiet = body.model_copy(update={"stream": False, "stream_options": None})
            other = await arm.answer(quiet, f"shadow-{time.monotonic_ns()}")
            if not reply.text:  # a single model's stream is not read here
                self._metrics.shadowed("skipped")
                return
            agree = await self._agree([self._grader.extract(t) for t in (reply.text, other.text)])
            self._metrics.shadowed("agrees" if agree else "differs")
            latency = time.perf_counter() - other.started_s
            self._record(body, other, latency, agreement=agree)
        except Refused:
            self._metrics.shadowed("failed")
        finally:
            self._shadows -= 1


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
    "recent": lambda app: app.get("/v1/agentark/recent"),
    "agreement": lambda app: app.post("/v1/agentark/agreement"),
    "compare": lambda app: app.get("/compare", include_in_schema=False),
    "compare_file": lambda app: app.get("/compare.{kind}", include_in_schema=False),
}


def ingress_class(settings: ServeConfig, keys: Sequence[ApiKey]) -> type:
    """The class of the ingress deployment, with its FastAPI application."""
    app = FastAPI(title="agentark-ray", docs_url=None, redoc_url=None)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _bug)
    app.add_middleware(
        Guard,
        keys=list(keys),
        body_bytes=settings.limits.body_bytes,
        replicas=settings.pools.ingress.max_replicas,
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
    return _error(500, f"internal error (request {request_id})")
