"""Teams whose engines are Ray actors of their own, on a cluster of two nodes with two GPUs each.

The GPUs are numbers that Ray counts; the scripted engine needs none. Processes are real, and killed
by pid.
"""

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
from ray.cluster_utils import Cluster
from ray.util.placement_group import PlacementGroup, placement_group_table

from agentark_ray.config import Config, ConfigError
from agentark_ray.engine import remote
from agentark_ray.engine.base import EngineDead, PromptTooLong, RequestRefused
from agentark_ray.engine.make import Engines
from agentark_ray.engine.remote import RemoteEngine, hold_group, remove_groups
from agentark_ray.engine.scripted import ScriptedEngine
from agentark_ray.session import ray_session
from agentark_ray.types import Completion, Message, ModelRef, Sampling
from tests.ray.helpers import assert_whole, children, config_for, hold, wait_until, when_running

pytestmark = pytest.mark.timeout(240)

TWO_MODELS = ("model=a/A", "debate.team=[{}, {model: b/B}]", "gpus_per_engine=2")
SAMPLING = Sampling(temperature=0.0, top_p=1.0, max_tokens=8)
CPUS_A_NODE, GPUS_A_NODE = 4, 2


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head that takes no work and two workers; this process is its driver."""
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
    )
    for _ in range(2):
        cluster.add_node(num_cpus=CPUS_A_NODE, num_gpus=GPUS_A_NODE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ADDRESS", str(cluster.address))
        with ray_session():
            yield cluster
    cluster.shutdown()


def processes(cluster: Cluster, name: str) -> list[list[psutil.Process]]:
    """Processes of actors of the class `name`, by node."""
    raylets = [node.all_processes["raylet"][0].process.pid for node in cluster.worker_nodes]
    return [children(name, raylet) for raylet in raylets]


def groups() -> list[str]:
    """States of the placement groups that were not removed."""
    states = [entry["state"] for entry in placement_group_table().values()]
    return [state for state in states if state != "REMOVED"]


def assert_nothing_left(cluster: Cluster) -> None:
    """No group, no actor, no GPU or CPU that is still taken."""
    assert groups() == []
    wait_until(lambda: ray.available_resources().get("GPU") == 2 * GPUS_A_NODE)
    wait_until(lambda: ray.available_resources().get("CPU") == 2 * CPUS_A_NODE)
    for name in ("EngineActor", "DebateActor"):
        wait_until(lambda name=name: not any(processes(cluster, name)))


@pytest.mark.slow
@pytest.mark.parametrize("killed", ["EngineActor", "DebateActor"])
def test_a_team_over_two_nodes_survives_the_death_of_a_member(
    tmp_path: Path, gsm8k_file: Callable[[int], Path], cluster: Cluster, killed: str
) -> None:
    """The pool would like a second team, for which there is no room: it must do without."""
    config = config_for(
        tmp_path,
        gsm8k_file(150),
        *TWO_MODELS,
        "engine.scripted_latency_s=0.2",
        *(["engine.max_actors=2"] if killed == "EngineActor" else []),
    )
    engines: list[int] = []

    def kill() -> None:
        engines.extend(map(len, processes(cluster, "EngineActor")))
        next(filter(None, processes(cluster, killed)))[0].kill()

    with when_running(config, kill):
        _, total = hold(config)
    assert engines == [1, 1]
    assert_whole(config, total)
    assert_nothing_left(cluster)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (
            ["engine.actors=2"],
            "engine.actors=2: needs 8 GPUs (4 x 2, each group on one node), the cluster has 4",
        ),
        (
            ["engine.models={a/A: {gpus: 1}, b/B: {gpus: 3}}"],
            "needs 4 GPUs (1 x 3 + 1 x 1, each group on one node), the cluster has 4 (2 x 2)",
        ),
        (
            ["gpus_per_engine=0", "engine.actors=3"],
            "engine.actors=3: needs 11 CPUs, the cluster has 8",
        ),
    ],
)
def test_a_cluster_that_is_too_small_is_refused(
    tmp_path: Path,
    gsm8k_file: Callable[[int], Path],
    cluster: Cluster,
    overrides: Sequence[str],
    expected: str,
) -> None:
    config = config_for(tmp_path, gsm8k_file(20), *TWO_MODELS, *overrides)
    with pytest.raises(ConfigError) as error:
        hold(config)
    assert expected in str(error.value)
    assert_nothing_left(cluster)


class Fickle(ScriptedEngine):
    """Does what the prompt says."""

    def __init__(self, cancelled: Path) -> None:
        super().__init__(seed=0, latency_s=0.0, accuracy=1.0, max_model_len=64)
        self._cancelled = cancelled

    async def __call__(
        self, agent: int, messages: Sequence[Message], sampling: Sampling
    ) -> Completion:
        match messages[0]["content"]:
            case "refuse":
                raise RequestRefused("no")
            case "late":
                raise TimeoutError("too late")
            case "break":
                raise KeyError("broken")
            case "give up":
                raise EngineDead("gone")
            case "die":
                os._exit(1)
            case "wait":
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    self._cancelled.touch()
                    raise
        return await super().__call__(agent, messages, sampling)


class Owner:
    """What a group belongs to."""


@pytest.fixture
def group(cluster: Cluster) -> Iterator[PlacementGroup]:
    owner = Owner()
    yield hold_group([1], owner)
    del owner
    assert_nothing_left(cluster)


def ask(text: str) -> list[Message]:
    return [{"role": "user", "content": text}]


async def test_answers_and_errors_of_a_remote_engine_are_those_of_the_engine(
    tmp_path: Path, group: PlacementGroup
) -> None:
    make = partial(Fickle, tmp_path / "cancelled")
    engine = RemoteEngine(make, gpus=1, group=group, index=0, timeout_s=30.0)
    await engine.start()
    both = (engine, make())
    answer, expected = [await one(1, ask("1 + 1 = ?"), SAMPLING) for one in both]
    assert replace(answer, latency_s=expected.latency_s) == expected
    for text in ("refuse", "late", "break", "give up", "long " * 99):
        found, wanted = [
            await asyncio.gather(one(0, ask(text), SAMPLING), return_exceptions=True)
            for one in both
        ]
        assert isinstance(wanted[0], Exception)
        assert type(found[0]) is type(wanted[0])
        assert str(found[0]) == str(wanted[0])
    (error,) = found
    assert isinstance(error, PromptTooLong)
    assert (error.limit, (error.needed or 0) > 64) == (64, True)


async def test_an_engine_whose_process_died_is_dead(tmp_path: Path, group: PlacementGroup) -> None:
    make = partial(Fickle, tmp_path / "cancelled")
    engine = RemoteEngine(make, gpus=1, group=group, index=0, timeout_s=30.0)
    await engine.start()
    waiting = asyncio.create_task(engine(0, ask("wait"), SAMPLING))
    with pytest.raises(EngineDead, match="the actor of the engine is gone"):
        await engine(0, ask("die"), SAMPLING)
    for call in (waiting, engine(0, ask("1 + 1 = ?"), SAMPLING)):
        with pytest.raises(EngineDead):
            await call


async def test_an_answer_that_nobody_waits_for_is_cancelled(
    tmp_path: Path, group: PlacementGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "GRACE_S", 1.0)
    cancelled = tmp_path / "cancelled"
    engine = RemoteEngine(partial(Fickle, cancelled), gpus=1, group=group, index=0, timeout_s=2.0)
    await engine.start()
    with pytest.raises(TimeoutError):
        await engine(0, ask("wait"), SAMPLING)
    wait_until(cancelled.exists)
    engine.stop()
    with pytest.raises(EngineDead):
        await engine(0, ask("1 + 1 = ?"), SAMPLING)


class Team:
    """An actor with a team of engines, as a debate actor is one."""

    def __init__(self, config: Config) -> None:
        self._engines = Engines(config, [ModelRef(name="a/A"), ModelRef(name="b/B")])

    async def ready(self) -> None:
        await self._engines.ready()


@pytest.fixture
def team(tmp_path: Path, gsm8k_file: Callable[[int], Path], cluster: Cluster) -> Iterator[Any]:
    """A list with the only handle of a Team; nothing of it is left afterwards."""
    actor: Any = ray.remote(Team)
    config = config_for(tmp_path, gsm8k_file(20), *TWO_MODELS)
    handles = [actor.options(num_cpus=0).remote(config)]
    ray.get(handles[0].ready.remote())
    assert groups() == ["CREATED"]
    assert list(map(len, processes(cluster, "EngineActor"))) == [1, 1]
    yield handles
    assert_nothing_left(cluster)


def test_a_team_ends_with_its_actor(team: list[Any]) -> None:
    team.clear()
    wait_until(lambda: not groups())


def test_the_group_of_an_actor_that_was_killed_is_removed(
    team: list[Any], cluster: Cluster
) -> None:
    ray.kill(team[0])
    wait_until(lambda: not any(processes(cluster, "EngineActor")))
    assert groups() == ["CREATED"]
    remove_groups()
