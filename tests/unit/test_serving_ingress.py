"""What an ingress makes of its requests, over deployments that are not there."""

import asyncio
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import FastAPI
from ray import serve
from ray.exceptions import ActorDiedError
from starlette.testclient import TestClient

from agentark_ray.section import ConfigError
from agentark_ray.serving import ingress
from agentark_ray.serving.budget import Budget
from agentark_ray.serving.config import parse_serve_config, user_config
from agentark_ray.serving.events import Said
from agentark_ray.serving.ingress import Ingress, rollout_of
from agentark_ray.serving.requests import Answers, ChatRequest, Refused
from tests.unit.handles import FOREVER, Handle

SETTINGS = parse_serve_config({"run": "r", "models": ["student", "debate"]}, "test")
TURN = Said(round=0, agent=0, role="solver", answer="4", output_tokens=7, latency_ms=1)


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
            max_tokens=9,
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
    assert budget._tokens.left == 85  # 14 tokens of two turns, and the prompt


def ask(found: Ingress, **values: Any) -> Any:
    messages = [{"role": "user", "content": "2 + 2?"}]
    body = ChatRequest.model_validate({"model": "agentark", "messages": messages, **values})
    state = SimpleNamespace(request_id="chatcmpl-1", user="alice", budget=None)
    return found.chat(body, SimpleNamespace(state=state))  # type: ignore[arg-type]


def test_a_fallback_that_cannot_take_a_request_is_not_the_answer(made: Any) -> None:
    """The user is told what may be tried again, not that it can never be."""
    settings = parse_serve_config(
        {"run": "r", "models": ["student", "debate"], "rollout": {"weights": {"student": 1.0}}},
        "test",
    )
    lost = Handle(*[[ActorDiedError()]] * 9)
    found = made(Handle(), settings, student=lost)
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
