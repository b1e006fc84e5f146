"""How a debate asks a deployment, and what it makes of one that does not answer."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import ActorUnavailableError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.llm import openai_api_models as wire
from vllm.entrypoints.generate.base.protocol import DeltaMessage
from vllm.entrypoints.openai.chat_completion.protocol import (
    ChatCompletionResponseStreamChoice,
    ChatCompletionStreamResponse,
)
from vllm.v1.engine.exceptions import EngineDeadError

from agentark_ray.config import parse_config
from agentark_ray.engine.http import EndpointError
from agentark_ray.engine.vllm import CPU_THREADS
from agentark_ray.serving import engines, team
from agentark_ray.serving.config import LimitsConfig, PoolConfig, PoolsConfig
from agentark_ray.serving.engines import (
    EngineOverloaded,
    EngineRefused,
    EngineUnavailable,
    HandleEngine,
    Team,
    engine_options,
    llm_config,
)
from agentark_ray.serving.events import Answered, HandedOver, Usage
from agentark_ray.serving.requests import Asked, Refused
from agentark_ray.serving.routing import PrefixRouter
from agentark_ray.serving.stream import with_head
from agentark_ray.serving.team import HybridServer, failure
from agentark_ray.types import Completion, ModelRef, Sampling, Speaker
from tests.unit.handles import Handle

LIMITS = LimitsConfig()
SAMPLING = Sampling(temperature=0.0, top_p=1.0, max_tokens=9)
LOST = ActorUnavailableError("gone", b"0" * 16)
OVERLOAD = BackPressureError(num_queued_requests=3, max_queued_requests=3)
UNDEPLOYED: Any = DeploymentUnavailableError.__new__(DeploymentUnavailableError)


def answer(text: str = "4") -> wire.ChatCompletionResponse:
    token = {"token": text, "logprob": -0.5, "top_logprobs": []}
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text},
        "logprobs": {"content": [token]},
        "finish_reason": "stop",
    }
    usage = {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}
    return wire.ChatCompletionResponse.model_validate(
        {"id": "1", "model": "m", "choices": [choice], "usage": usage}
    )


def ask(*outcomes: Any, retries: int = 2) -> tuple[Completion, Handle]:
    handle = Handle(*outcomes)
    engine = HandleEngine(handle, name="base", timeout_s=9, retries=retries)  # type: ignore[arg-type]
    messages: Any = [{"role": "user", "content": "2 + 2?"}]
    return asyncio.run(engine(0, messages, SAMPLING)), handle


def test_another_replica_is_asked_when_one_is_lost() -> None:
    found, handle = ask([LOST], [LOST], [answer()])
    assert (found.text, len(handle.asked)) == ("4", 3)
    with pytest.raises(EngineUnavailable, match="base: ActorUnavailableError"):
        ask([LOST], [LOST], [answer()], retries=1)


def test_a_dead_engine_is_asked_again_when_its_replica_has_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engines, "WATCH_S", 1.0)
    _, handle = ask([EngineDeadError()], [LOST], [answer()])
    first, second, third = handle.at_s
    assert second - first >= 1.0 > third - second


@pytest.mark.parametrize(
    ("error", "raised", "status"),
    [
        (OVERLOAD, EngineOverloaded, 429),
        (UNDEPLOYED, EngineUnavailable, 503),
        (LOST, EngineUnavailable, 503),
    ],
)
def test_what_a_debate_says_of_an_engine_that_does_not_answer(
    error: Exception, raised: type[Exception], status: int
) -> None:
    with pytest.raises(raised):
        ask([error], retries=0)
    refused = failure(debate_that_failed(raised.__name__))
    assert refused.status == status and refused.retry_after_s


def test_what_an_engine_does_not_take_is_the_users() -> None:
    """An endpoint's refusal is not: it may be the key that it was given."""
    refusal: Any = SimpleNamespace(error=SimpleNamespace(message="system role not supported"))
    with pytest.raises(EngineRefused, match="system role"):
        ask([refusal])
    assert failure(debate_that_failed("EngineRefused")).status == 400
    assert failure(debate_that_failed("RequestRefused")).status == 502


def test_a_debate_that_is_lost_may_be_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(team.WATCH, "start", lambda pools: None)
    server = HybridServer(
        parse_config({}, [f"output={tmp_path}"], "test"),
        student="s",
        handles={"s": (Handle(*[[LOST]] * 3), "student")},  # type: ignore[dict-item]
        debate=Handle([LOST]),  # type: ignore[arg-type]
        threshold=-0.5,
        limits=LIMITS,
        pools=PoolsConfig(),
    )

    async def events() -> list[Any]:
        return [event async for event in server.answer(Asked(question="2 + 2?"))]

    with pytest.raises(engines.LOST):
        asyncio.run(events())


def debate_that_failed(error: str) -> Any:
    return SimpleNamespace(status="failed", error_type=error, error_message="")


class Endpoint:
    """Cannot be reached at first."""

    def __init__(self, failures: int) -> None:
        self.starts, self._failures = 0, failures

    async def start(self) -> None:
        self.starts += 1
        await asyncio.sleep(0)
        if self.starts <= self._failures:
            raise EndpointError("no answer")


def test_an_endpoint_that_did_not_start_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    endpoint = Endpoint(failures=1)
    monkeypatch.setattr(engines, "make_engine", lambda config, ref: endpoint)
    found = Team(parse_config({}, [f"output={tmp_path}"], "test"), {}, LIMITS)
    speakers = [Speaker(role="solver", model=None, persona="", sampling=SAMPLING)]

    async def work() -> None:
        both = [found.generate(speakers, "m") for _ in range(2)]
        failed = await asyncio.gather(*both, return_exceptions=True)
        assert [type(one) for one in failed] == [EngineUnavailable] * 2
        for _ in range(2):
            await found.generate(speakers, "m")

    asyncio.run(work())
    assert endpoint.starts == 2


def test_an_overloaded_student_does_not_hand_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(team.WATCH, "start", lambda pools: None)
    config = parse_config({}, [f"output={tmp_path}"], "test")

    def asked(error: Exception) -> Any:
        server = HybridServer(
            config,
            student="s",
            handles={"s": (Handle(*[[error]] * 3), "student")},  # type: ignore[dict-item]
            debate=Handle([]),  # type: ignore[arg-type]
            threshold=-0.5,
            limits=LIMITS,
            pools=PoolsConfig(),
        )

        async def events() -> list[Any]:
            return [event async for event in server.answer(Asked(question="2 + 2?"))]

        return asyncio.run(events())

    with pytest.raises(Refused) as refused:
        asked(OVERLOAD)
    assert (refused.value.status, refused.value.retry_after_s) == (429, team.RETRY_S)
    assert asked(LOST) == [HandedOver(confidence=None, threshold=-0.5)]


@pytest.mark.parametrize("threshold", [-1.0, -0.1])
def test_the_students_turn_is_in_the_trace(
    threshold: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alone, or before the debate's."""
    monkeypatch.setattr(team.WATCH, "start", lambda pools: None)
    turn = {"round": 0, "agent": 0, "role": "agent"}
    used = Usage(prompt_tokens=50, completion_tokens=12)
    debate = Answered(
        text="4", answer="4", path="debate", usage=used, finish_reason="stop", trace=[turn]
    )
    server = HybridServer(
        parse_config({}, [f"output={tmp_path}"], "test"),
        student="s",
        handles={"s": (Handle([answer("#### 4")]), "student")},  # type: ignore[dict-item]
        debate=Handle([debate]),  # type: ignore[arg-type]
        threshold=threshold,
        limits=LIMITS,
        pools=PoolsConfig(),
    )

    async def events() -> list[Any]:
        return [event async for event in server.answer(Asked(question="2 + 2?", trace=True))]

    *before, found = asyncio.run(events())
    handed = HandedOver(
        confidence=-0.5, threshold=-0.1, usage=Usage(prompt_tokens=3, completion_tokens=1)
    )
    assert before == ([handed] if threshold > -0.5 else [])
    student, *others = found.trace
    assert (student["role"], student["text"]) == ("student", "#### 4")
    assert student["mean_logprob"] == found.confidence == -0.5
    assert "2 + 2?" in student["messages"][-1]["content"] and student["finish_reason"] == "stop"
    assert others == ([turn] if threshold > -0.5 else [])
    assert found.usage.completion_tokens == (13 if threshold > -0.5 else 1)


def test_prompts_go_where_they_are_cached_if_there_is_a_choice(tmp_path: Path) -> None:
    config = parse_config({}, [f"output={tmp_path}"], "test")
    many = PoolConfig(max_replicas=3, target_ongoing=8)
    assert "request_router_config" not in engine_options(PoolConfig(), LIMITS)
    found = llm_config(config, ModelRef(name="tiny"), "base", many, LIMITS).deployment_config
    router = found["request_router_config"]
    assert router["request_router_class"] == f"{PrefixRouter.__module__}.PrefixRouter"
    assert router["request_router_kwargs"] == {"imbalance": 4}


def test_an_engine_is_set_as_in_the_run(tmp_path: Path) -> None:
    thinking = {"chat_template_kwargs": {"enable_thinking": True}}
    config = parse_config(
        {
            "output": str(tmp_path),
            "engine": {
                "chat_template_kwargs": {"enable_thinking": False},
                "models": {"org/big": thinking},
            },
            "debate": {"team": [{"model": "org/big"}]},
        },
        [],
        "test",
    )

    def args(name: str) -> Any:
        made = llm_config(config, ModelRef(name=name), "base", PoolConfig(), LIMITS)
        engine: Any = made.get_engine_config()
        return {**engine.frontend_kwargs, **engine.engine_kwargs}  # as Ray reads them

    for name, thinks in (("tiny", False), ("org/big", True)):
        assert args(name)["default_chat_template_kwargs"] == {"enable_thinking": thinks}
        assert args(name)["generation_config"] == "vllm"


def test_the_beginning_of_an_answer_is_told_with_its_first_text() -> None:
    def event(delta: dict[str, Any]) -> str:
        """As vLLM writes it."""
        choice = ChatCompletionResponseStreamChoice(index=0, delta=DeltaMessage(**delta))
        chunk = ChatCompletionStreamResponse(model="m", choices=[choice])
        return f"data: {chunk.model_dump_json(exclude_unset=True)}\n\n"

    async def told(*pieces: Any) -> list[list[Any]]:
        async def coming() -> AsyncIterator[Any]:
            for piece in pieces:
                yield piece

        return [batch async for batch in with_head(coming())]

    begins = event({"role": "assistant", "content": ""})
    first, then = event({"content": "4"}), event({"content": ""})
    assert asyncio.run(told(begins, first, then)) == [[begins, first], [then]]
    assert asyncio.run(told(first, then)) == [[first], [then]]  # a completion's
    assert asyncio.run(told(begins)) == [[begins]]
    error = object()
    assert asyncio.run(told(error)) == [[error]]


def test_no_speaker_says_more_than_the_operator_allows(tmp_path: Path) -> None:
    config = parse_config({}, [f"output={tmp_path}", "debate.max_tokens=512"], "test")
    for limit, said, expected in ((4096, None, 512), (128, None, 128), (4096, 700, 700)):
        protocol = team.served_protocol(config, "debate", limit)
        found = team.as_asked(protocol, Asked(question="2 + 2?", max_tokens=said))
        assert {speaker.sampling.max_tokens for speaker in found.speakers} == {expected}


def test_an_engine_without_a_gpu_leaves_a_core(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))

    def threads(*overrides: str) -> str:
        config = parse_config({}, [f"output={tmp_path}", *overrides], "test")
        found = llm_config(config, ModelRef(name="tiny"), "base", PoolConfig(), LIMITS)
        return (found.runtime_env or {})["env_vars"][CPU_THREADS]

    assert threads() == "7"
    assert threads("engine.cpu_threads=3") == "3"
