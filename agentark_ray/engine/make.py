"""The engines of a run: one a distinct model, started when somebody first speaks through it."""

import asyncio
import os
from collections.abc import Sequence
from functools import partial

from agentark_ray.config import Config
from agentark_ray.debate.protocol import arm_protocol
from agentark_ray.engine.base import Engine, Generate
from agentark_ray.engine.http import HttpEngine
from agentark_ray.engine.retry import GuardedEngine
from agentark_ray.engine.scripted import ScriptedEngine
from agentark_ray.engine.vllm import VllmEngine
from agentark_ray.models import resolve_model
from agentark_ray.types import Completion, Message, ModelRef, Sampling, Speaker


def models_of(speakers: Sequence[Speaker], model: str) -> list[ModelRef]:
    """The distinct models that speak, in order; `model` is what a speaker without one uses."""
    return list(dict.fromkeys(speaker.model or ModelRef(name=model) for speaker in speakers))


def local_models(config: Config, model: str) -> dict[str, str]:
    """Name -> folder or Hugging Face id of every model of the debate that the run itself loads.

    Raises:
        ConfigError: a model's folder is not there or not whole.
    """
    refs = models_of(arm_protocol(config, "debate").speakers, model)
    return {ref.name: resolve_model(ref.name) for ref in refs if not ref.endpoint}


def make_engine(config: Config, ref: ModelRef) -> Engine:
    """An engine that has not started, with deadline and retries."""
    return GuardedEngine(_bare_engine(config, ref), retries=config.engine.retries)


def _bare_engine(config: Config, ref: ModelRef) -> Engine:
    engine = config.engine
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
    return VllmEngine(
        model=resolve_model(ref.name),
        seed=config.seed,
        max_model_len=engine.max_model_len,
        tensor_parallel=config.gpus_per_engine,
        gpu_memory_utilization=engine.gpu_memory_utilization,
        cpu_kv_cache_gib=engine.cpu_kv_cache_gib,
        timeout_s=engine.timeout_s,
        trust_remote_code=engine.trust_remote_code,
        chat_template_kwargs=engine.chat_template_kwargs,
    )


class Engines:
    """The engines of one actor. On GPUs each gets its own share of what the actor was given."""

    def __init__(self, config: Config, refs: Sequence[ModelRef]) -> None:
        self._engines = {ref: make_engine(config, ref) for ref in refs}
        self._local = [ref for ref in refs if not ref.endpoint]
        self._gpus = config.gpus_per_engine
        self._starting: asyncio.Task[None] | None = None

    async def ready(self) -> None:
        """Start all of them in this event loop, once; all callers wait for the same start."""
        if self._starting is None:
            self._starting = asyncio.create_task(self._start())
        await asyncio.shield(self._starting)

    async def _start(self) -> None:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        for ref, engine in self._engines.items():
            if self._gpus and not ref.endpoint:
                # An engine's processes see what this says when they are spawned.
                first = self._local.index(ref) * self._gpus
                given = (visible or "").split(",")[first : first + self._gpus]
                os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(given)
            await engine.start()
        if visible is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = visible

    def generate(self, speakers: Sequence[Speaker], model: str) -> Generate:
        """A Generate in which every speaker answers through the engine of its model."""
        by_agent = [self._engines[speaker.model or ModelRef(name=model)] for speaker in speakers]
        return partial(_dispatch, by_agent)


async def _dispatch(
    by_agent: Sequence[Engine], agent: int, messages: Sequence[Message], sampling: Sampling
) -> Completion:
    return await by_agent[agent](agent, messages, sampling)
