"""Sampling from the model in training: Ray actors with the debate's engine, shared by all workers.

An actor that dies is started again by Ray, which repeats what it was asked; it then fetches the
newest weights itself. Every call names the version of the weights that it wants, and an actor with
others refuses.
"""

import asyncio
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import ray
from ray.exceptions import RayActorError, RayTaskError

from agentark_ray.config import Config
from agentark_ray.engine.base import EngineDead
from agentark_ray.engine.make import make_rollout_engine
from agentark_ray.engine.remote import CALLS
from agentark_ray.lost_nodes import ActorGone
from agentark_ray.session import beside_driver
from agentark_ray.types import Rollout, Sampling

Prompts = Sequence[Sequence[int]]  # token ids
WEIGHTS = "model.safetensors"


class StaleWeights(RuntimeError):
    """An engine has other weights than it was asked to sample with."""


class SamplerGone(ActorGone):
    """An actor that samples died more often than it is started again."""


class Sampler(Protocol):
    """What samples for an objective. One instance a training worker."""

    def request(self, prompts: Prompts, version: int) -> Any:
        """Begin to sample a group for each prompt, with the weights of `version`."""
        ...

    def result(self, request: Any) -> list[list[Rollout]]:
        """Wait for a request: the groups, in the order of its prompts."""
        ...

    def sync(self, engine: Any, version: int) -> None:
        """Give the sampler the weights of a DeepSpeed engine. Every worker must call this."""
        ...


class WeightStore:
    """An actor that knows the newest weights, so that an actor that starts again finds them."""

    def __init__(self) -> None:
        self._newest: tuple[int, list[Any]] | None = None

    def put(self, version: int, refs: list[Any]) -> None:
        """Replace what was there; `refs` is a list of one reference to a safetensors file."""
        self._newest = (version, refs)

    def get(self) -> tuple[int, list[Any]] | None:
        """(version, references), or None before the first."""
        return self._newest


class RolloutActor:
    """The actor: an engine, started when it is first needed, also after a death."""

    def __init__(self, config: Config, model: str, store: Any) -> None:
        self._engine = make_rollout_engine(config, model)
        self._store = store
        self._starting: asyncio.Future[Any] | None = None
        self._loading = asyncio.Lock()

    async def start(self) -> int:
        """Start the engine, once; all callers wait for the same start. The process's id."""
        if self._starting is None:
            self._starting = asyncio.ensure_future(self._engine.start())
        await asyncio.shield(self._starting)
        return os.getpid()

    async def sample(
        self, prompts: Prompts, sampling: Sampling, group: int, version: int
    ) -> list[list[Rollout]]:
        """`group` samples of each prompt with the weights of `version`.

        Raises:
            StaleWeights: the engine has others, and those in the store are others too.
        """
        await self.start()
        if self._engine.version is None:
            await self.load()  # this actor was started again
        if self._engine.version != version:
            raise StaleWeights(
                f"asked for samples with weights of version {version}, the engine has version"
                f" {self._engine.version}"
            )
        try:
            return await self._engine.sample(prompts, sampling, group)
        except EngineDead:
            os._exit(1)  # Ray starts the actor again and repeats the call

    async def load(self) -> int | None:
        """Take the newest weights in the store; their version."""
        await self.start()
        async with self._loading:
            newest = await self._store.get.remote()
            if newest is not None and newest[0] != self._engine.version:
                await self._load(newest[0], await newest[1][0])
        return self._engine.version

    async def _load(self, version: int, weights: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            await asyncio.to_thread(Path(folder, WEIGHTS).write_bytes, weights)
            await self._engine.load(folder, version)

    async def transfer(self, method: str, *args: Any) -> None:
        """A method of the engine for direct transfers of weights (engine/rollout.py)."""
        await self.start()
        await getattr(self._engine, method)(*args)


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutPool:
    """Handles of the actors and what they are asked for. Pickled to every worker."""

    actors: Sequence[Any]
    store: Any
    sampling: Sampling
    group: int

    def request(self, prompts: Prompts, version: int) -> list[Any]:
        """One call to each actor that gets prompts; they get them in turn."""
        shares = [prompts[i :: len(self.actors)] for i in range(len(self.actors))]
        return [
            actor.sample.remote(share, self.sampling, self.group, version)
            for actor, share in zip(self.actors, shares, strict=True)
            if share
        ]

    def result(self, request: list[Any]) -> list[list[Rollout]]:
        """The groups in the order of their prompts.

        Raises:
            StaleWeights, SamplerGone.
        """
        shares = get(request)
        count = sum(map(len, shares))
        return [shares[i % len(shares)][i // len(shares)] for i in range(count)]


def get(refs: Sequence[Any]) -> list[Any]:
    """The results of calls to actors, with their own errors.

    Raises:
        SamplerGone: an actor died more often than it is started again.
    """
    try:
        return ray.get(list(refs))
    except RayActorError as error:
        raise SamplerGone(f"an actor that samples is gone for good: {error}") from error
    except RayTaskError as error:
        raise error.cause from None


def start_pool(
    config: Config, model: str, *, actors: int, elsewhere: int, sampling: Sampling, group: int
) -> RolloutPool:
    """Start the actors and wait until their engines have started.

    They belong to this process and end with it, or with `stop_pool`. The first `elsewhere` of them
    keep off the nodes of the training's workers, the others are on these nodes.
    """
    store = beside_driver(ray.remote(num_cpus=0)(WeightStore)).remote()
    options: dict[str, Any] = {
        "num_cpus": 0 if config.gpus_per_engine else 1,
        "num_gpus": config.gpus_per_engine,
        "max_concurrency": CALLS,
        "max_restarts": config.train.max_failures,
        "max_task_retries": config.train.max_failures,
        "runtime_env": {"env_vars": {"VLLM_LOGGING_LEVEL": "ERROR"}},
    }
    make: Any = ray.remote(RolloutActor)
    labels = config.train.label_selector
    places = [where(labels, apart=index < elsewhere) for index in range(actors)]
    pool = RolloutPool(
        actors=[make.options(**options, **place).remote(config, model, store) for place in places],
        store=store,
        sampling=sampling,
        group=group,
    )
    get([actor.start.remote() for actor in pool.actors])
    return pool


def where(labels: Mapping[str, str], *, apart: bool) -> dict[str, Any]:
    """Ray's options for an actor on nodes with all `labels`, or on those that lack one of them."""
    if not apart:
        return {"label_selector": dict(labels) or None}
    lacks, *others = ({key: f"!{value}"} for key, value in labels.items())
    return {
        "label_selector": lacks,
        "fallback_strategy": [{"label_selector": other} for other in others] or None,
    }


def stop_pool(pool: RolloutPool) -> None:
    """End the actors and their engines."""
    for actor in (*pool.actors, pool.store):
        ray.kill(actor)
