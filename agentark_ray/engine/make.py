"""The engines of a run: one a distinct model, started when somebody first speaks through it."""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

from agentark_ray.config import Config
from agentark_ray.debate.protocol import arm_protocol
from agentark_ray.engine.base import Engine, Generate
from agentark_ray.engine.http import HttpEngine
from agentark_ray.engine.remote import RemoteEngine, hold_group
from agentark_ray.engine.resident import resident, together
from agentark_ray.engine.retry import PROBE_S, GuardedEngine
from agentark_ray.engine.rollout import RolloutEngine
from agentark_ray.engine.scripted import ScriptedEngine
from agentark_ray.engine.settings import (
    cpu_threads,
    gpus_of,
    placement,
    ref_of,
    refs_of,
    settings_of,
)
from agentark_ray.engine.vllm import VllmEngine
from agentark_ray.models import local_model, resolve_model
from agentark_ray.types import Completion, Message, ModelRef, Sampling, Speaker


def local_models(config: Config, model: str) -> dict[str, str]:
    """Name -> folder, URI or Hugging Face id of every model of a debate that the run itself loads.

    Raises:
        ConfigError: a model's folder is not there or not whole.
    """
    teams = [arm_protocol(config, arm) for arm in ("debate", *config.evaluate.teams)]
    speakers = [speaker for team in teams for speaker in team.speakers]
    refs = refs_of(config, speakers, model)
    return {ref.name: resolve_model(ref.name) for ref in refs if not ref.endpoint}


def make_engine(config: Config, ref: ModelRef, local: type[VllmEngine] = VllmEngine) -> Engine:
    """The engine of a model, which has not started; `local` is the class of one that vLLM loads."""
    engine = settings_of(config, ref)
    if ref.endpoint:
        return HttpEngine(
            base_url=ref.endpoint,
            model=ref.name,
            api_key_env=ref.api_key_env,
            timeout_s=engine.timeout_s,
            max_retries=engine.endpoint_retries,
            max_concurrency=engine.endpoint_concurrency,
            logprobs=engine.endpoint_logprobs,
        )
    if engine.type == "scripted":
        return ScriptedEngine(
            seed=config.seed,
            latency_s=engine.scripted_latency_s,
            accuracy=engine.scripted_accuracy,
            max_model_len=engine.max_model_len,
            timeout_s=engine.timeout_s,
            fault=engine.scripted_fault,
        )
    return local(**_vllm_settings(config, ref))


def make_rollout_engine(config: Config, model: str) -> RolloutEngine:
    """The engine that samples from the model in training, which starts as `model`."""
    return RolloutEngine(**_vllm_settings(config, ModelRef(name=model)))


def _vllm_settings(config: Config, ref: ModelRef) -> dict[str, Any]:
    engine = settings_of(config, ref)
    return {
        "model": local_model(resolve_model(ref.name)),
        "seed": config.seed,
        "max_model_len": engine.max_model_len,
        "tensor_parallel": gpus_of(config, ref),
        "gpu_memory_utilization": engine.gpu_memory_utilization,
        "cpu_kv_cache_gib": engine.cpu_kv_cache_gib,
        "cpu_threads": cpu_threads(config),
        "timeout_s": engine.timeout_s,
        "trust_remote_code": engine.trust_remote_code,
        "chat_template_kwargs": engine.chat_template_kwargs,
    }


class Engines:
    """The engines of one actor, with retries: in its process, or each in an actor of its own.

    With such actors, making one of these waits until the cluster has room for all of them.
    """

    def __init__(
        self, config: Config, refs: Sequence[ModelRef], local: type[VllmEngine] = VllmEngine
    ) -> None:
        self._config = config
        self._local = local
        self._remote = self._apart(refs)
        self._engines = {
            ref: GuardedEngine(
                self._remote.get(ref) or make_engine(config, ref, local),
                retries=config.engine.retries,
                probe_s=None if ref.endpoint else PROBE_S,
            )
            for ref in refs
        }
        self._starting: asyncio.Future[Any] | None = None

    def _apart(self, refs: Sequence[ModelRef]) -> dict[ModelRef, RemoteEngine]:
        gpus = placement(self._config, refs).apart
        if not gpus:
            return {}
        group = hold_group(list(gpus.values()), self)
        return {
            ref: RemoteEngine(
                partial(make_engine, self._config, ref, self._local),
                gpus=gpus[ref],
                group=group,
                index=index,
                timeout_s=self._config.engine.timeout_s,
            )
            for index, ref in enumerate(gpus)
        }

    async def ready(self) -> None:
        """Start all of them in this event loop, once; all callers wait for the same start.

        Raises:
            EngineDead: one in an actor of its own died while it started.
        """
        if self._starting is None:
            starts = [engine.start() for engine in self._engines.values()]
            self._starting = asyncio.gather(*starts)
        await asyncio.shield(self._starting)

    async def forget(self) -> None:
        """Empty the caches of all of them.

        Raises:
            EngineDead: one is gone.
        """
        await asyncio.gather(*(engine.forget() for engine in self._engines.values()))

    async def resident(self) -> tuple[int, str]:
        """Bytes of this process and of all that the engines run in (engine/resident.py)."""
        apart = [await engine.resident() for engine in self._remote.values()]
        return together([resident(), *apart])

    def generate(self, speakers: Sequence[Speaker], model: str) -> Generate:
        """A Generate in which every speaker answers through the engine of its model."""
        refs = [ref_of(self._config, speaker, model) for speaker in speakers]
        return partial(dispatch, [self._engines[ref] for ref in refs])


async def dispatch(
    by_agent: Sequence[Engine], agent: int, messages: Sequence[Message], sampling: Sampling
) -> Completion:
    """A completion by the agent's own engine."""
    return await by_agent[agent](agent, messages, sampling)
