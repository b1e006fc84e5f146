"""What an ingress makes of its requests, over deployments that are not there."""

import asyncio
import json
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import FastAPI
from ray import serve
from ray.exceptions import ActorDiedError, RayTaskError
from ray.serve.llm import openai_api_models as wire
from starlette.testclient import TestClient

from agentark_ray.section import ConfigError
from agentark_ray.serving import ingress
from agentark_ray.serving.budget import Budget
from agentark_ray.serving.config import parse_serve_config, rollout_of, user_config
from agentark_ray.serving.events import DONE, Answered, Usage, sse
from agentark_ray.serving.ingress import Ingress
from agentark_ray.serving.metrics import ServingMetrics
from agentark_ray.serving.requests import Answers, ChatRequest, CompletionRequest, Refused
from agentark_ray.types import Sampling
from tests.unit.handles import FOREVER, Handle, said

SETTINGS = parse_serve_config({"run": "r", "models": ["student", "debate"]}, "test")
TURN = said(7)
ANSWER = Answered(text="4", answer="4", path="debate", usage=Usage(), finish_reason="stop")
BROKEN = RayTaskError("chat", "Traceback", KeyError("secret"), "", 1, "127.0.0.1")
USED = {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}


def chat_answer() -> wire.ChatCompletionResponse:
    choice = {"index": 0, "message": {"role": "assistant", "content": "4"}, "finish_reason": "stop"}
    return wire.ChatCompletionResponse.model_validate(
        {"id": "1", "model": "student", "choices": [choice], "usage": USED}
    )


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(ingress.WATCH, "start", lambda *_: None)
    monkeypatch.setattr(serve, "get_replica_context", lambda: SimpleNamespace(app_name="a"))

    def make(debate: Handle, settings: Any = SETTINGS, **engines: Any) -> Ingress:
        handles: dict[str, Any] = {"debate": debate}
        found = Ingress(
            engines=engines,
            models=("agentark", *engines, "debate"),
            teams=handles,
            recorder=Handle(),  # type: ignore[arg-type]
            settings=settings,
            task="gsm8k",
            student="rsft",
            own=Sampling(temperature=1.0, top_p=1.0, max_tokens=9),
            prices=None,
        )
        return found

    return make


def test_a_client_that_leaves_pays_for_what_was_said(
    made: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle = Handle([TURN, TURN, FOREVER])
    found = made(handle)
    ended: list[Any] = []
    monkeypatch.setattr(found._ledger.metrics, "ended", lambda **said: ended.append(said))
    budget = Budget(100, 100, 0.0)
    state = SimpleNamespace(request_id="chatcmpl-1", user="alice", budget=budget)
    messages = [{"role": "user", "content": "2 + 2?"}]
    body = ChatRequest.model_validate({"model": "debate", "messages": messages})

    async def leave() -> None:
        asking = asyncio.create_task(found.chat(body, SimpleNamespace(state=state)))
        await asyncio.wait_for(handle.waiting.wait(), 30)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

    asyncio.run(leave())
    assert [(one["status"], one["arm"]) for one in ended] == [(499, "debate")]
    assert handle.cancelled == 1
    assert budget._tokens.left == 46  # two turns: 40 tokens of prompts, 14 of answers


def ask(found: Ingress, key: str = "alice", **values: Any) -> Any:
    messages = [{"role": "user", "content": "2 + 2?"}]
    body = ChatRequest.model_validate({"model": "agentark", "messages": messages, **values})
    state = SimpleNamespace(request_id="chatcmpl-1", user=key, budget=None)
    return found.chat(body, SimpleNamespace(state=state))  # type: ignore[arg-type]


def divided(limits: dict[str, float] | None = None, **weights: float) -> Any:
    values = {"rollout": {"weights": weights}, "limits": limits or {}}
    return parse_serve_config({"run": "r", "models": ["student", "debate"], **values}, "test")


async def read(response: Any) -> list[str]:
    return [piece async for piece in response.body_iterator]


@pytest.fixture
def fell_back(made: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The arms that were replaced."""
    counted: list[str] = []
    monkeypatch.setattr(ServingMetrics, "fell_back", lambda self, arm: counted.append(arm))
    return counted


def test_an_arm_whose_replica_raises_is_replaced(made: Any, fell_back: list[str]) -> None:
    found = made(Handle([ANSWER]), divided(student=1.0), student=Handle([BROKEN]))
    assert asyncio.run(ask(found)).headers["x-agentark-arm"] == "debate"
    assert fell_back == ["student"]


@pytest.mark.parametrize(("error", "status"), [(BROKEN, 500), (ActorDiedError(), 503)])
def test_a_request_that_nobody_answers_has_not_fallen_back(
    made: Any, fell_back: list[str], error: Exception, status: int
) -> None:
    student, debate = (Handle(*[[error]] * 3) for _ in range(2))
    with pytest.raises(Refused) as refused:
        asyncio.run(ask(made(debate, divided(student=1.0), student=student)))
    assert refused.value.status == status and "secret" not in refused.value.message
    assert fell_back == [] and student.asked and debate.asked


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("limits", [{"patience_s": 0.3}, {"timeout_s": 3.0}])
def test_an_arm_that_hangs_is_replaced_while_there_is_time(
    made: Any, fell_back: list[str], limits: dict[str, float], stream: bool
) -> None:
    hangs = Handle([FOREVER])
    found = made(Handle([TURN, ANSWER]), divided(limits, student=1.0), student=hangs)
    assert asyncio.run(ask(found, stream=stream)).headers["x-agentark-arm"] == "debate"
    assert hangs.cancelled == 1 and fell_back == ["student"]


def test_a_stream_that_has_begun_is_not_replaced(made: Any, fell_back: list[str]) -> None:
    student = Handle()
    limits = {"patience_s": 0.5, "timeout_s": 1.5}
    found = made(Handle([TURN, FOREVER]), divided(limits, debate=1.0), student=student)

    async def pieces() -> list[str]:
        return await read(await ask(found, stream=True))

    started = time.perf_counter()
    turn, error, done = asyncio.run(pieces())
    assert time.perf_counter() - started > 1.4
    assert "agentark" in turn and "no answer in time" in error and done == DONE
    assert student.asked == [] and fell_back == []


@pytest.mark.parametrize(
    ("user", "key", "asked"),
    [("u", "alice", "u"), (None, "alice", "alice"), (None, "anybody", "chatcmpl-1")],
)
def test_who_stays_with_an_arm_is_the_user_else_the_key(
    made: Any, monkeypatch: pytest.MonkeyPatch, user: str | None, key: str, asked: str
) -> None:
    found = made(Handle([ANSWER]))
    sticky: list[str] = []
    monkeypatch.setattr(ingress, "choose", lambda weights, by: sticky.append(by) or "debate")
    asyncio.run(ask(found, key, user=user))
    assert sticky == [asked]


def test_users_are_divided_by_the_weights(made: Any) -> None:
    student, debate = (Handle(*[[item]] * 300) for item in (chat_answer(), ANSWER))
    found = made(debate, divided(student=0.3, debate=0.7), student=student)

    async def everybody() -> None:
        for number in range(300):
            await ask(found, user=f"user-{number}")

    asyncio.run(everybody())
    assert len(student.asked) == pytest.approx(90, abs=24)
    assert len(student.asked) + len(debate.asked) == 300


def complete(found: Ingress, **values: Any) -> Any:
    body = CompletionRequest.model_validate({"model": "student", "prompt": "2 + 2 =", **values})
    state = SimpleNamespace(request_id="chatcmpl-1", user="alice", budget=None)
    return found.completions(body, SimpleNamespace(state=state))  # type: ignore[arg-type]


def test_a_prompt_is_continued(made: Any) -> None:
    choice = {"index": 0, "text": " 4", "finish_reason": "stop"}
    said = {"id": "1", "model": "student", "choices": [choice], "usage": USED}
    student = Handle([wire.CompletionResponse.model_validate(said)])
    body = json.loads(asyncio.run(complete(made(Handle(), student=student))).body)
    assert (body["object"], body["id"]) == ("text_completion", "chatcmpl-1")
    assert body["choices"][0]["text"] == " 4" and body["usage"]["total_tokens"] == 4
    ((sent, _),) = student.asked
    assert (sent.prompt, sent.max_tokens, sent.stream) == ("2 + 2 =", 9, False)


def test_a_prompt_is_continued_in_a_stream(made: Any) -> None:
    pieces = [sse({"choices": [{"index": 0, "text": text}]}) for text in (" 4", ".")]
    usage = sse({"choices": [], "usage": USED})
    found = made(Handle(), student=Handle([[pieces[0]], [pieces[1], usage], [DONE]]))
    spent: list[Any] = []
    found._ledger.ended = lambda model, body, reply, state: spent.append(reply.usage)

    async def streamed() -> list[str]:
        return await read(await complete(found, stream=True))

    assert asyncio.run(streamed()) == [*pieces, DONE]
    assert spent == [Usage(prompt_tokens=3, completion_tokens=1)]


def test_a_fallback_that_cannot_take_a_request_is_not_the_answer(made: Any) -> None:
    """The user is told what may be tried again, not that it can never be."""
    lost = Handle(*[[ActorDiedError()]] * 9)
    found = made(Handle(), divided(student=1.0), student=lost)
    with pytest.raises(Refused) as refused:
        asyncio.run(ask(found, stop=["\n"]))
    assert refused.value.status == 503 and refused.value.retry_after_s
    with pytest.raises(Refused) as refused:
        asyncio.run(ask(found, stop=["\n"], model="debate"))
    assert refused.value.status == 422


def test_who_leaves_just_as_the_first_word_comes_frees_the_engine(
    made: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle = Handle([TURN, FOREVER])
    found = made(handle)
    begun = found._arms["debate"].answer

    async def answer(*args: Any) -> None:
        await begun(*args)
        raise asyncio.CancelledError

    monkeypatch.setattr(found._arms["debate"], "answer", answer)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(ask(found, model="debate", stream=True))
    assert handle.cancelled == 1 and found._ledger._ongoing == 0


def test_a_lost_recorder_is_no_bug(made: Any) -> None:
    found = made(Handle())

    def remote() -> Any:
        raise ActorDiedError

    found._recorder = SimpleNamespace(recent=SimpleNamespace(remote=remote))  # type: ignore[assignment]
    with pytest.raises(Refused) as refused:
        asyncio.run(found.recent())
    assert refused.value.status == 503


def test_another_rollout_must_be_to_arms_that_are_served(made: Any) -> None:
    found = made(Handle())
    found.reconfigure({"rollout": {"weights": {"student": 0.5, "debate": 0.5}}})
    wanted = found._rollout
    assert wanted.weights == {"student": 0.5, "debate": 0.5}
    for bad in ({"weights": {"hybrid": 1.0}}, {"weights": {"debate": 0.5}}, {"shadow": None}):
        with pytest.raises(ConfigError):
            rollout_of(SETTINGS, {"rollout": bad})
        found.reconfigure({"rollout": bad})
        assert found._rollout == wanted
    for flat in ({}, {"rolout": {"weights": {"debate": 1.0}}}, {"weights": {"debate": 1.0}}):
        with pytest.raises(ConfigError, match=r"user_config: got the keys \[.*expected rollout"):
            rollout_of(SETTINGS, flat)
        found.reconfigure(flat)
        assert found._rollout == wanted
    assert rollout_of(SETTINGS, user_config(SETTINGS)) == SETTINGS.divided


def test_a_bug_is_answered_with_the_security_headers() -> None:
    app = FastAPI()
    app.add_exception_handler(Exception, ingress._bug)

    @app.get("/")
    async def broken() -> None:
        raise KeyError("secret")

    found = TestClient(app, raise_server_exceptions=False).get("/")
    assert found.status_code == 500 and "secret" not in found.text
    assert found.headers["x-content-type-options"] == "nosniff"


def test_a_deadline_is_told_as_openai_does() -> None:
    app = FastAPI()
    app.add_exception_handler(Refused, ingress._refused)

    @app.get("/")
    async def late() -> None:
        raise Refused(504, "no answer in time")

    found = TestClient(app).get("/")
    assert found.status_code == 504
    said = {"message": "no answer in time", "type": "server_error", "param": None, "code": None}
    assert found.json() == {"error": said}


def test_a_comparison_has_a_deadline(made: Any) -> None:
    found = made(Handle(), divided({"timeout_s": 0.1}, debate=1.0))
    found._grader = SimpleNamespace(extract=lambda text: time.sleep(0.2))
    with pytest.raises(Refused) as refused:
        asyncio.run(found.agreement(Answers(texts=["4", "4"])))
    assert refused.value.status == 504


def test_answers_are_looked_for_beside_the_requests(made: Any) -> None:
    """A long text takes seconds, in which others are answered."""
    found = made(Handle())
    threads: list[str] = []

    def extract(text: str) -> str:
        threads.append(threading.current_thread().name)
        return text

    found._grader = SimpleNamespace(extract=extract, equal=lambda *both: both[0] == both[1])
    said = asyncio.run(found.agreement(Answers(texts=["4", "4"])))
    assert said == {"answers": ["4", "4"], "agree": True}
    assert threading.current_thread().name not in threads
