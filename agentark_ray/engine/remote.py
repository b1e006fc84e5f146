"""An engine in a Ray actor of its own, so that a team may need more GPUs than one node has.

The actor belongs to the process that started it and ends with that process, however that ends. The
GPUs of a team are held by a placement group that belongs to a debate actor by name: one that was
killed finds it again in its next life. `remove_groups` takes away what nobody will use again.
"""

import asyncio
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import ray
from ray.exceptions import RayActorError, RayTaskError
from ray.util.placement_group import (
    PlacementGroup,
    get_placement_group,
    placement_group,
    placement_group_table,
    remove_placement_group,
)
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from agentark_ray.engine.base import Engine, EngineDead
from agentark_ray.engine.resident import resident
from agentark_ray.types import Completion, Message, Sampling

# Calls an engine works on at once; its caller limits them. Ray's own default is 1,000.
CALLS = 100_000
# An engine keeps its own deadline; so much later its caller stops waiting for it.
GRACE_S = 10.0


class EngineActor:
    """The actor: an engine, made and started where its GPUs are."""

    def __init__(self, make: Callable[[], Engine]) -> None:
        self._engine = make()

    async def start(self) -> None:
        """Start the engine in this actor's event loop."""
        await self._engine.start()

    async def answer(
        self, agent: int, messages: Sequence[Message], sampling: Sampling
    ) -> Completion:
        """The engine's completion."""
        return await self._engine(agent, messages, sampling)

    async def forget(self) -> None:
        """Empty the engine's cache."""
        await self._engine.forget()

    def resident(self) -> tuple[int, str]:
        """What this process and those of the engine hold."""
        return resident()


class RemoteEngine:
    """The engine that `make` makes, in an actor in bundle `index` of `group`.

    Its errors are raised here as they were raised there. The death of its process or its node is
    EngineDead; no answer within `GRACE_S` after its deadline, `timeout_s`, is a TimeoutError.
    """

    def __init__(
        self,
        make: Callable[[], Engine],
        *,
        gpus: int,
        group: PlacementGroup,
        index: int,
        timeout_s: float,
    ) -> None:
        self._make = make
        self._options: dict[str, Any] = {
            "num_cpus": 0 if gpus else 1,
            "num_gpus": gpus,
            "max_concurrency": CALLS,
            "scheduling_strategy": PlacementGroupSchedulingStrategy(group, index),
        }
        self._deadline_s = timeout_s + GRACE_S

    async def start(self) -> None:
        """Start the actor and the engine in it."""
        self._actor: Any = ray.remote(EngineActor).options(**self._options).remote(self._make)
        await _result(self._actor.start.remote())

    async def forget(self) -> None:
        """Empty the engine's cache."""
        await _result(self._actor.forget.remote())

    async def resident(self) -> tuple[int, str]:
        """Bytes of the actor's processes, as engine/resident.py counts them."""
        return await _result(self._actor.resident.remote())

    def stop(self) -> None:
        """End the actor's process and those that the engine started in it."""
        ray.kill(self._actor)

    async def __call__(
        self, agent: int, messages: Sequence[Message], sampling: Sampling
    ) -> Completion:
        """The engine's completion."""
        async with asyncio.timeout(self._deadline_s):
            return await _result(self._actor.answer.remote(agent, messages, sampling))


async def _result(ref: Any) -> Any:
    try:
        return await ref
    except RayTaskError as error:
        raise error.cause from None
    except RayActorError as error:
        raise EngineDead(f"the actor of the engine is gone: {error}") from error
    except asyncio.CancelledError:
        ray.cancel(ref)  # or the engine would go on with an answer that nobody waits for
        raise


def hold_group(gpus: Sequence[int], owner: object) -> PlacementGroup:
    """A bundle for each engine, all at once; waits until the cluster has them.

    Removed when `owner` is. An actor that was restarted gets the group of its last life.
    """
    name = f"{_prefix()}{ray.get_runtime_context().get_actor_id()}"
    try:
        group = get_placement_group(name)
    except ValueError:  # there is none of this name
        bundles: list[dict[str, float]] = [{"GPU": n} if n else {"CPU": 1} for n in gpus]
        group = placement_group(bundles, strategy="PACK", name=name)
    weakref.finalize(owner, remove_placement_group, group)
    ray.get(group.ready())
    return group


def remove_groups() -> None:
    """Remove what is left of this job's groups: those of actors that were killed."""
    for entry in placement_group_table().values():
        if entry["name"].startswith(_prefix()) and entry["state"] != "REMOVED":
            remove_placement_group(get_placement_group(entry["name"]))


def _prefix() -> str:
    return f"agentark-engines-{ray.get_runtime_context().get_job_id()}-"
