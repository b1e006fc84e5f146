"""New weights for the engines that sample: through Ray's object store, or GPU to GPU.

`StoreSync` works everywhere: the first worker puts a safetensors file into the object store and
every engine loads it in place. `NcclSync` is vLLM's weight transfer: the first worker broadcasts
one parameter after the other to all engines, and no copy of the model is made. What ZeRO-3
has split is gathered one weight at a time in both.
"""

import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import ray
import torch
import torch.distributed
from safetensors.torch import save

from agentark_ray.engine.transfer import open_sender
from agentark_ray.train.export import full_weights, stored_weights, whole_weights
from agentark_ray.train.objective import TrainJob
from agentark_ray.train.rollouts import Prompts, RolloutPool, get
from agentark_ray.types import Rollout


class PoolSampler:
    """A RolloutPool as a training worker uses it."""

    def __init__(self, pool: RolloutPool, job: TrainJob) -> None:
        self._pool = pool
        gpus = job.config.gpus_per_engine
        self._sync = NcclSync(pool, gpus) if job.on_gpu else StoreSync(pool)

    def request(self, prompts: Prompts, version: int) -> Any:
        """Begin to sample a group for each prompt."""
        return self._pool.request(prompts, version)

    def result(self, request: Any) -> list[list[Rollout]]:
        """Wait for a request."""
        return self._pool.result(request)

    def sync(self, engine: Any, version: int) -> None:
        """Every engine has the weights of `version` when this returns. Every worker calls it."""
        self._sync.push(engine, version)
        torch.distributed.barrier()


class StoreSync:
    """Through Ray's object store; holds the model twice in memory while it does."""

    def __init__(self, pool: RolloutPool) -> None:
        self._pool = pool

    def push(self, engine: Any, version: int) -> None:
        """Every worker must call this."""
        weights = full_weights(engine)
        if engine.global_rank == 0:
            ref = ray.put(save(weights, metadata={"format": "pt"}))
            get([self._pool.store.put.remote(version, [ref])])
            get([actor.load.remote() for actor in self._pool.actors])


@dataclass(frozen=True, slots=True)
class Parameter:
    """What vLLM is told of a parameter before it comes."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]


class Source:
    """A model's weights as they would be exported, in the form of vLLM's WeightSource."""

    def __init__(self, model: torch.nn.Module) -> None:
        self._weights = stored_weights(model)

    def metadata(self) -> list[Parameter]:
        """Of every weight, whole."""
        return [
            Parameter(name, weight.like.dtype, tuple(weight.like.shape))
            for name, weight in self._weights.items()
        ]

    def __iter__(self) -> Iterator[tuple[str, torch.Tensor]]:
        """(name, whole weight); every worker must go through all of them."""
        return whole_weights(self._weights)


class Client:
    """What the sender asks of all engines, in the form of vLLM's VLLMWeightSyncClient."""

    def __init__(self, pool: RolloutPool, gpus_per_engine: int) -> None:
        self._pool = pool
        self._gpus = gpus_per_engine

    def init_weight_transfer_engine(self, init_info: Mapping[str, Any]) -> None:
        """The first GPU of engine i is rank 1 + i x its GPUs."""
        offsets = (1 + i * self._gpus for i in range(len(self._pool.actors)))
        get(
            [
                actor.transfer.remote("join_transfer", {**init_info, "rank_offset": offset})
                for actor, offset in zip(self._pool.actors, offsets, strict=True)
            ]
        )

    def start_weight_update(self) -> None:
        """Wait for samples under way, then expect weights."""
        self._all("begin_update")

    def update_weights(self, update_info: Any) -> None:
        """Receive parameters, while the sender broadcasts them."""
        self._all("receive", update_info)

    def finish_weight_update(self, weight_version: str | None = None) -> None:
        """All parameters have come."""
        self._all("end_update")

    def _all(self, method: str, *args: Any) -> None:
        get([actor.transfer.remote(method, *args) for actor in self._pool.actors])


class NcclSync:
    """GPU to GPU. An actor that died is not joined again: the workers start again and join all."""

    def __init__(self, pool: RolloutPool, gpus_per_engine: int) -> None:
        self._pool = pool
        self._client = Client(pool, gpus_per_engine)
        self._world = 1 + len(pool.actors) * gpus_per_engine
        self._sender: Any = None

    def push(self, engine: Any, version: int) -> None:
        """Every worker must call this: those of ZeRO-3 gather parameters together."""
        if self._sender is None:
            self._sender = open_sender(
                rank=engine.global_rank,
                address=ray.util.get_node_ip_address(),
                port=_free_port(),
                world_size=self._world,
                client=self._client,
                source=Source(engine.module),
            )
        self._sender.send_weights()
        if engine.global_rank == 0:
            get([actor.transfer.remote("go_on", version) for actor in self._pool.actors])


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("", 0))
        return found.getsockname()[1]
