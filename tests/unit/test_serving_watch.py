"""Which models lack a replica, from what Serve's controller says."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from ray.serve.schema import DeploymentStatusOverview

from agentark_ray.config import parse_config
from agentark_ray.serving import team
from agentark_ray.serving.config import LimitsConfig, PoolsConfig
from agentark_ray.serving.events import HandedOver
from agentark_ray.serving.requests import Asked, Refused
from agentark_ray.serving.watch import Watch, lacks
from tests.unit.handles import FOREVER, Handle

POOLS = PoolsConfig.model_validate({"debate": {"min_replicas": 0}})


def overview(status: str = "HEALTHY", **states: int) -> DeploymentStatusOverview:
    made: Any = DeploymentStatusOverview
    return made(status=status, status_trigger="", replica_states=states, message="")


def found(**changes: DeploymentStatusOverview) -> dict[str, DeploymentStatusOverview]:
    names = ("EngineServer:student", "EngineServer:base", "EngineServer:base-1", "debate", "hybrid")
    there = {name: overview(RUNNING=1) for name in names}
    return there | {name.replace("_", ":"): state for name, state in changes.items()}


def down(deployments: dict[str, DeploymentStatusOverview], *states: str) -> list[str]:
    models = ("student", "base", "debate", "hybrid")
    return [one for one in models if lacks(one, deployments, POOLS, states or ("RUNNING",))]


def test_a_model_needs_all_its_deployments() -> None:
    gone = overview("UNHEALTHY", STARTING=1)
    assert down({}) == down(found()) == []
    assert down(found(EngineServer_student=gone)) == ["student"]
    assert down(found(EngineServer_base=gone)) == ["base", "debate", "hybrid"]
    others = found() | {"EngineServer:base-1": gone}
    assert down(others) == ["base", "debate", "hybrid"]


def test_scaled_to_zero_is_not_down_and_failed_is() -> None:
    assert down(found(debate=overview())) == []
    assert down(found(debate=overview("UPSCALING", STARTING=1))) == []
    assert down(found(debate=overview("UNHEALTHY", STARTING=1))) == ["debate", "hybrid"]
    assert down(found(hybrid=overview("UPDATING", STARTING=1))) == ["hybrid"]


def test_a_replica_that_stops_finishes_what_it_holds() -> None:
    stopping = found(EngineServer_student=overview("UPDATING", STOPPING=1))
    assert down(stopping) == ["student"]
    assert down(stopping, "RUNNING", "STOPPING") == []


def test_what_waits_for_a_model_that_is_gone_is_given_up() -> None:
    cancelled: list[bool] = []

    async def work(seconds: float) -> str:
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise
        return "done"

    async def ask() -> None:
        watch = Watch()
        assert await watch.unless_gone("student", work(0)) == "done"
        asyncio.get_running_loop().call_later(0.1, setattr, watch, "_found", GONE)
        with pytest.raises(Refused, match="student has no running replica"):
            await watch.unless_gone("student", work(60))

    asyncio.run(ask())
    assert cancelled == [True]


def test_a_hybrid_without_a_student_is_answered_by_the_debate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = Watch()
    watch._found = GONE
    monkeypatch.setattr(watch, "start", lambda pools: None)
    monkeypatch.setattr(team, "WATCH", watch)
    waits = Handle([FOREVER])
    server = team.HybridServer(
        parse_config({}, [f"output={tmp_path}"], "test"),
        student="s",
        handles={"s": (waits, "student")},  # type: ignore[dict-item]
        debate=Handle([]),  # type: ignore[arg-type]
        threshold=-0.5,
        limits=LimitsConfig(timeout_s=9),
        pools=POOLS,
    )

    async def events() -> list[Any]:
        return [event async for event in server.answer(Asked(question="2 + 2?"))]

    assert asyncio.run(events()) == [HandedOver(confidence=None, threshold=-0.5)]


@pytest.mark.parametrize("limits", [{"patience_s": 0.2}, {"timeout_s": 4.0}])
def test_a_student_that_hangs_leaves_the_debate_time(
    limits: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(team.WATCH, "start", lambda pools: None)
    hangs = Handle([FOREVER])
    server = team.HybridServer(
        parse_config({}, [f"output={tmp_path}"], "test"),
        student="s",
        handles={"s": (hangs, "student")},  # type: ignore[dict-item]
        debate=Handle([]),  # type: ignore[arg-type]
        threshold=-0.5,
        limits=LimitsConfig(**limits),
        pools=POOLS,
    )

    async def events() -> list[Any]:
        started = time.perf_counter()
        found = [event async for event in server.answer(Asked(question="2 + 2?"))]
        assert time.perf_counter() - started < 3.5
        return found

    assert asyncio.run(events()) == [HandedOver(confidence=None, threshold=-0.5)]
    assert hangs.cancelled == 1


GONE = {"EngineServer:student": overview("UNHEALTHY", STARTING=1)}
