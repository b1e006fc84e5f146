"""The engines behind the application: Ray Serve LLM deployments, and how a debate asks them."""

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Sequence
from functools import partial
from time import perf_counter
from typing import Any

from openai.types.chat import ChatCompletion
from ray import serve
from ray.exceptions import ActorDiedError, ActorUnavailableError, WorkerCrashedError
from ray.llm._internal.serve.engines.vllm.vllm_engine import VLLMEngine
from ray.serve.deployment import Application
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle
from ray.serve.llm import LLMConfig, build_llm_deployment
from ray.serve.llm.deployment import LLMServer
from ray.serve.llm.openai_api_models import ChatCompletionRequest

from agentark_ray.config import Config
from agentark_ray.engine.base import Engine, Generate, PromptTooLong, RequestRefused
from agentark_ray.engine.chat import completion_of, one_of
from agentark_ray.engine.dead import EngineDeadError
from agentark_ray.engine.make import dispatch, make_engine
from agentark_ray.engine.settings import cpu_threads, gpus_of, ref_of, settings_of
from agentark_ray.engine.vllm import CPU_BLOCK_SIZE, CPU_THREADS, UNBOUND_EXECUTOR, environment
from agentark_ray.models import local_model, resolve_model
from agentark_ray.serving.config import LimitsConfig, PoolConfig
from agentark_ray.serving.scripted import ScriptedServer
from agentark_ray.serving.stream import with_head
from agentark_ray.types import Completion, Message, ModelRef, Sampling, Speaker

# A replica, or the engine of one that ends soon; another may answer.
LOST = (ActorDiedError, ActorUnavailableError, WorkerCrashedError, EngineDeadError)
WATCH_S = 1.0  # between looks at the engine
DRAIN_S = 5.0  # after the last answer of a replica that stops
QUIET = {"RAYLLM_ENABLE_REQUEST_PROMPT_LOGS": "0", "TOKENIZERS_PARALLELISM": "false"}
TOO_LONG = "context length"  # as vLLM says it
LOGGER = logging.getLogger("ray.serve")


class ServedEngine(VLLMEngine):
    """Ray Serve LLM's engine; without a GPU its model runs in the engine's own process.

    Ray asks vLLM for a process of the model's own there (UNBOUND_EXECUTOR says what that costs).
    """

    def _start_async_llm_engine(
        self, vllm_engine_args: Any, vllm_engine_config: Any, placement_group: Any
    ) -> Any:
        if vllm_engine_config.device_config.device_type == "cpu":
            vllm_engine_config.parallel_config.distributed_executor_backend = UNBOUND_EXECUTOR
        return super()._start_async_llm_engine(
            vllm_engine_args, vllm_engine_config, placement_group
        )


class EngineServer(LLMServer):
    """Ray Serve LLM's server, which ends with its engine.

    Serve looks after a replica every 10 s and replaces it after three failures; until then each
    request would fail. A replica whose process has ended is replaced at once.
    """

    _default_engine_cls = ServedEngine

    async def start(self) -> None:
        """Start the engine, from a folder on this machine, and watch it."""
        loading: Any = self._llm_config.model_loading_config
        engine: Any = self._llm_config.get_engine_config()
        engine.hf_model_id = await asyncio.to_thread(local_model, loading.model_source)
        engine.mirror_config = None  # Ray's own copy of a bucket would outlive a new student
        await super().start()
        self._watch = asyncio.create_task(self._until_dead())

    def _batch_output_stream(self, generator: AsyncGenerator[Any, None]) -> Any:
        """Ray's own holds pieces together by time, which a first token would wait for."""
        return with_head(generator)

    async def _until_dead(self) -> None:
        while True:
            await asyncio.sleep(WATCH_S)
            try:
                await self.check_health()
            except Exception:
                os._exit(1)


def serve_options(pool: PoolConfig, limits: LimitsConfig) -> dict[str, Any]:
    """The options of a Ray Serve deployment for a pool of replicas, which finish what they hold."""
    return {
        "max_ongoing_requests": pool.max_ongoing,
        "max_queued_requests": pool.max_queued,
        "graceful_shutdown_timeout_s": limits.timeout_s + DRAIN_S,
        "graceful_shutdown_wait_loop_s": 1.0,
        "health_check_period_s": 5.0,
        "health_check_timeout_s": 30.0,
        "logging_config": {"encoding": "JSON"},
        "autoscaling_config": {
            "min_replicas": pool.min_replicas,
            "max_replicas": pool.max_replicas,
            "initial_replicas": pool.min_replicas,
            "target_ongoing_requests": pool.target_ongoing,
            "downscale_delay_s": pool.idle_s,
        },
    }


def engine_options(pool: PoolConfig, limits: LimitsConfig) -> dict[str, Any]:
    """`serve_options` for engines: prompts go where their beginning is cached.

    The prompts of one debate begin alike, and so do those of one conversation.
    """
    options = serve_options(pool, limits)
    if pool.max_replicas > 1:
        options["request_router_config"] = {
            "request_router_class": "agentark_ray.serving.routing.PrefixRouter",
            "request_router_kwargs": {"imbalance": max(1, pool.target_ongoing // 2)},
        }
    return options


def deployment(cls: type, name: str, **options: Any) -> Any:
    """A Ray Serve deployment (whose annotations are those of a decorator)."""
    return serve.deployment(cls, name=name, **options)


def llm_config(
    config: Config, ref: ModelRef, name: str, pool: PoolConfig, limits: LimitsConfig
) -> LLMConfig:
    """Ray Serve LLM's configuration of one model, with the engine settings of the run.

    Args:
        config: of the run.
        ref: the model; a student's is its folder.
        name: the model's name in the application.
        pool: how many replicas.
        limits: how many tokens streams send together.
    """
    engine, gpus = settings_of(config, ref), gpus_of(config, ref)
    kwargs: dict[str, Any] = {
        "max_model_len": engine.max_model_len,
        "seed": config.seed,
        "enable_prefix_caching": True,
        "trust_remote_code": engine.trust_remote_code,
        "enable_prompt_tokens_details": True,
        "default_chat_template_kwargs": engine.chat_template_kwargs,
        "generation_config": "vllm",  # as in a run: nothing is sampled by a model's own file
        "stream_interval": limits.stream_tokens,
    }
    if gpus:
        kwargs |= {
            "tensor_parallel_size": gpus,
            "gpu_memory_utilization": engine.gpu_memory_utilization,
        }
    else:
        kwargs |= {"enforce_eager": True, "block_size": CPU_BLOCK_SIZE}
    environ = environment(engine.cpu_kv_cache_gib) | QUIET
    if not gpus:
        environ[CPU_THREADS] = str(cpu_threads(config))
    return LLMConfig(
        model_loading_config={"model_id": name, "model_source": resolve_model(ref.name)},
        engine_kwargs=kwargs,
        deployment_config=engine_options(pool, limits),
        placement_group_config={"bundles": [{"GPU": 1, "CPU": 1}] * gpus or [{"CPU": 1}]},
        runtime_env={"env_vars": environ},
        server_cls=EngineServer,
    )


def engine_deployment(
    config: Config, ref: ModelRef, name: str, pool: PoolConfig, limits: LimitsConfig
) -> Application:
    """The deployment of one model; arguments as of `llm_config`."""
    if settings_of(config, ref).type == "scripted":
        made = deployment(ScriptedServer, f"EngineServer:{name}", **engine_options(pool, limits))
        return made.bind(config, name)
    return build_llm_deployment(llm_config(config, ref, name, pool, limits))


class EngineUnavailable(RuntimeError):
    """No replica of an engine could answer, or no endpoint; asking again later may help."""


class EngineRefused(RequestRefused):
    """What was asked is not for an engine of the application, whoever asks."""


class EngineOverloaded(RuntimeError):
    """Too many requests wait for an engine; asking again later may help."""


async def wait_out(error: BaseException) -> None:
    """Wait until a dead engine's replica has ended; until then it is asked again."""
    if isinstance(error, EngineDeadError):
        await asyncio.sleep(WATCH_S)


class HandleEngine:
    """An engine that is a deployment of the application.

    Args:
        handle: to a deployment of EngineServer.
        name: the model's name there.
        timeout_s: deadline of a completion.
        retries: further attempts when the replica that was asked is lost.
    """

    def __init__(
        self, handle: DeploymentHandle, *, name: str, timeout_s: float, retries: int
    ) -> None:
        self._chat = handle.options(stream=True).chat
        self._name = name
        self._timeout_s = timeout_s
        self._retries = retries

    async def start(self) -> None:
        """Serve starts the deployment."""

    async def forget(self) -> None:
        """The cache is everybody's."""

    def stop(self) -> None:
        """Serve stops it."""

    async def __call__(
        self, agent: int, messages: Sequence[Message], sampling: Sampling
    ) -> Completion:
        """One completion, with its mean log-probability.

        Raises:
            PromptTooLong, EngineRefused: the engine says no.
            EngineUnavailable: every replica that was asked was lost, or there can be none.
            EngineOverloaded: too many requests wait.
            TimeoutError: at the deadline.
        """
        del agent  # every agent is this model
        started = perf_counter()
        async with asyncio.timeout(self._timeout_s):
            answer = await self._ask(_request(self._name, messages, sampling))
        error = getattr(answer, "error", None)
        if error is not None and TOO_LONG in error.message:
            raise PromptTooLong(message=error.message)
        if error is not None:
            raise EngineRefused(error.message)
        found = ChatCompletion.model_validate(answer.model_dump())
        return completion_of(found, sampling, perf_counter() - started, logprobs=True)

    async def _ask(self, request: ChatCompletionRequest) -> Any:
        for attempt in range(1 + self._retries):
            response: Any = self._chat.remote(request, None)
            try:
                return await anext(response)
            except LOST as error:
                if attempt == self._retries:
                    raise EngineUnavailable(f"{self._name}: {type(error).__name__}") from None
                await wait_out(error)
            except DeploymentUnavailableError as error:
                raise EngineUnavailable(f"{self._name}: {error}") from None
            except BackPressureError as error:
                raise EngineOverloaded(f"{self._name}: {error}") from None
            except asyncio.CancelledError:
                response.cancel()
                raise
        raise AssertionError("unreachable: the last attempt returns or raises")


def _request(name: str, messages: Sequence[Message], sampling: Sampling) -> ChatCompletionRequest:
    values: dict[str, Any] = {
        "model": name,
        "messages": list(messages),
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_completion_tokens": sampling.max_tokens,
        "logprobs": True,
        "top_logprobs": 0,
    }
    if sampling.choices:
        values["response_format"] = one_of(sampling.choices)
    if messages[-1]["role"] == "assistant":
        values |= {"continue_final_message": True, "add_generation_prompt": False}
    return ChatCompletionRequest(**values)


class Team:
    """Who answers each speaker of a protocol: deployments of the application, or endpoints.

    Args:
        config: of the run.
        handles: model name -> its deployment and its name in the application.
        limits: deadline and retries.
    """

    def __init__(
        self,
        config: Config,
        handles: dict[str, tuple[DeploymentHandle, str]],
        limits: LimitsConfig,
    ) -> None:
        self._config = config
        self._engines: dict[ModelRef, Engine] = {
            ModelRef(name=model): HandleEngine(
                handle, name=name, timeout_s=limits.timeout_s, retries=limits.retries
            )
            for model, (handle, name) in handles.items()
        }
        self._started: dict[ModelRef, asyncio.Future[Any]] = {}

    async def generate(self, speakers: Sequence[Speaker], model: str) -> Generate:
        """A Generate in which every speaker answers through the engine of its model.

        Raises:
            EngineUnavailable: an endpoint does not answer, or not as it should.
        """
        refs = [ref_of(self._config, speaker, model) for speaker in speakers]
        for ref in refs:
            if ref not in self._engines:  # at an endpoint
                self._engines[ref] = make_engine(self._config, ref)
            await self._start(ref)
        return partial(dispatch, [self._engines[ref] for ref in refs])

    async def _start(self, ref: ModelRef) -> None:
        """Start an engine once; again if that has failed."""
        if ref not in self._started:
            self._started[ref] = asyncio.ensure_future(self._engines[ref].start())
        started = self._started[ref]
        try:
            await asyncio.shield(started)
        except Exception as error:
            if self._started.get(ref) is started:
                del self._started[ref]
            LOGGER.error("%s: %s", ref.name, error)
            raise EngineUnavailable(f"{ref.name}: {type(error).__name__}") from None
