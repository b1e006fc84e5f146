"""vLLM inside an actor: one AsyncLLM that many debates share. The only importer of vllm.

Sampling is seeded once for the engine, not for each request: on CPU a seeded request whose prompt
is prefilled in chunks kills the engine. So equal seeds do not give equal texts; they are not
promised to, because batching changes the arithmetic anyway.
"""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Sequence
from time import perf_counter
from typing import Any

from agentark_ray.engine.base import EngineDead, PromptTooLong
from agentark_ray.types import Completion, FinishReason, Message, Sampling

# Tokens whose keys and values are cached together. vLLM's default on CPU, 128, is longer than what
# short prompts share.
CPU_BLOCK_SIZE = 32
CPU_THREADS = "OMP_NUM_THREADS"
CPU_BINDING, UNBOUND = "VLLM_CPU_OMP_THREADS_BIND", "nobind"
# The model runs in the engine's own process. vLLM would give it another one on CPU, to bind its
# threads to cores before it starts, and would spin on a core while it waits for that process.
UNBOUND_EXECUTOR = "vllm.v1.executor.uniproc_executor.UniProcExecutor"
WARM_UP: list[Message] = [{"role": "user", "content": "1 + 1 = ?"}]


class VllmEngine:
    """Answers chat messages with the model in `model` (a folder or a Hugging Face id)."""

    def __init__(
        self,
        *,
        model: str,
        seed: int,
        max_model_len: int,
        tensor_parallel: int,
        gpu_memory_utilization: float,
        cpu_kv_cache_gib: int,
        cpu_threads: int,
        timeout_s: float,
        trust_remote_code: bool,
        chat_template_kwargs: dict[str, Any],
    ) -> None:
        self._args: dict[str, Any] = {
            "model": model,
            "seed": seed,
            "max_model_len": max_model_len,
            "trust_remote_code": trust_remote_code,
            "enable_prefix_caching": True,
            "disable_log_stats": True,
        }
        if tensor_parallel:
            self._args["tensor_parallel_size"] = tensor_parallel
            self._args["gpu_memory_utilization"] = gpu_memory_utilization
            if tensor_parallel > 1:
                # All on this node. In a placement group vLLM would rather use Ray, and wants a
                # bundle for each of its workers.
                self._args["distributed_executor_backend"] = "mp"
        else:
            self._args |= {"enforce_eager": True, "block_size": CPU_BLOCK_SIZE}
            if os.environ.get(CPU_BINDING, UNBOUND) == UNBOUND:
                self._args["distributed_executor_backend"] = UNBOUND_EXECUTOR
        self._cpu_kv_cache_gib = cpu_kv_cache_gib
        self._cpu_threads = 0 if tensor_parallel else cpu_threads
        self._max_model_len = max_model_len
        self._timeout_s = timeout_s
        self._template_kwargs = chat_template_kwargs
        self._ids = itertools.count()

    async def start(self) -> None:
        """Load the model in this event loop and answer one request (20-60 s on CPU)."""
        for name, value in environment(self._cpu_kv_cache_gib).items():
            os.environ.setdefault(name, value)  # values the user has set win
        if self._cpu_threads:  # in an actor Ray has set them to the CPUs it reserved
            os.environ[CPU_THREADS] = str(self._cpu_threads)
        from vllm import AsyncEngineArgs
        from vllm.usage.usage_lib import UsageContext
        from vllm.v1.engine.async_llm import AsyncLLM

        # Batch sizes as for offline work (on CPU 256 sequences and 4,096 tokens a step, on a large
        # GPU 1,024 and 16,384), not the fallback of 128 and 2,048.
        self._llm = AsyncLLM.from_engine_args(
            AsyncEngineArgs(**self._args), usage_context=UsageContext.LLM_CLASS
        )
        self._tokenizer: Any = self._llm.get_tokenizer()
        if asyncio.iscoroutine(self._tokenizer):
            self._tokenizer = await self._tokenizer
        await self(0, WARM_UP, Sampling(temperature=0.0, top_p=1.0, max_tokens=4))

    async def forget(self) -> None:
        """Empty the prefix cache; the blocks of an answer are in use until the step after its end.

        Raises:
            EngineDead: the engine is gone, or hangs.
        """
        from vllm.v1.engine.exceptions import EngineDeadError

        try:
            async with asyncio.timeout(self._timeout_s):
                while not await self._llm.reset_prefix_cache():
                    await asyncio.sleep(0.01)
        except TimeoutError as error:
            said = f"the engine hangs: its cache is in use after {self._timeout_s:g} s of nothing"
            raise EngineDead(said) from error
        except EngineDeadError as error:
            raise EngineDead(str(error)) from error

    def stop(self) -> None:
        """End the engine's processes."""
        self._llm.shutdown()

    @property
    def args(self) -> dict[str, Any]:
        """What vLLM's AsyncEngineArgs are made of."""
        return self._args

    @property
    def llm(self) -> Any:
        """The AsyncLLM; only after `start`."""
        return self._llm

    async def __call__(
        self, agent: int, messages: Sequence[Message], sampling: Sampling
    ) -> Completion:
        """Render, check the length, sample. Raises TimeoutError after the deadline."""
        del agent  # every agent is this model
        prompt_ids = self.prompt(messages, sampling)
        started = perf_counter()
        async with asyncio.timeout(self._timeout_s):
            output = await self.final(prompt_ids, sampling, structured_outputs=guided(sampling))
        sampled = output.outputs[0]
        n_tokens, seconds = len(sampled.token_ids), perf_counter() - started
        return completion_of(output, self.text_of(sampled), n_tokens, seconds)

    def text_of(self, sampled: Any) -> str:
        """The text of one of the outputs of `final`."""
        return text_of(self._tokenizer, sampled.token_ids, finish_reason(sampled))

    def prompt(self, messages: Sequence[Message], sampling: Sampling) -> list[int]:
        """The token ids of a prompt. Raises PromptTooLong."""
        prompt_ids = render(self._tokenizer, messages, self._template_kwargs)
        needed = len(prompt_ids) + sampling.max_tokens
        if needed > self._max_model_len:
            raise PromptTooLong(needed, self._max_model_len)
        return prompt_ids

    async def final(self, prompt_ids: Sequence[int], sampling: Sampling, **params: Any) -> Any:
        """vLLM's RequestOutput, without text; `params` are further SamplingParams.

        Raises:
            EngineDead: the engine is gone.
        """
        final = None
        async for output in self.outputs(prompt_ids, sampling, **params):
            final = output
        assert final is not None, "outputs() yields at least one"
        return final

    async def outputs(
        self, prompt_ids: Sequence[int], sampling: Sampling, deltas: bool = False, **params: Any
    ) -> AsyncIterator[Any]:
        """vLLM's RequestOutputs: the final one only, or with `deltas` what is new, as it comes.

        Those of `deltas` have texts.

        Raises:
            EngineDead: the engine is gone.
        """
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind
        from vllm.v1.engine.exceptions import EngineDeadError

        wanted = SamplingParams(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_tokens=sampling.max_tokens,
            logprobs=0,
            # Token by token it takes 40 % of the CPU time that a completion costs this process.
            detokenize=deltas,
            output_kind=RequestOutputKind.DELTA if deltas else RequestOutputKind.FINAL_ONLY,
            **params,
        )
        request_id = str(next(self._ids))
        silent = True
        try:
            async for output in self._llm.generate(
                {"prompt_token_ids": list(prompt_ids)}, wanted, request_id
            ):
                silent = False
                yield output
        except EngineDeadError as error:
            raise EngineDead(str(error)) from error
        if silent:
            raise EngineDead(f"request {request_id} ended without output")


def guided(sampling: Sampling) -> Any:
    """vLLM's StructuredOutputsParams of an answer that must be one of some; else None."""
    from vllm.sampling_params import StructuredOutputsParams

    choices = list(sampling.choices)
    return StructuredOutputsParams(choice=choices) if choices else None


def render(tokenizer: Any, messages: Sequence[Message], template_kwargs: dict[str, Any]) -> Any:
    """The token ids of a prompt, as the engine gets them.

    A final assistant message is the beginning of the answer, tokenized on its own as answers are.
    """
    begun = messages[-1]["content"] if messages[-1]["role"] == "assistant" else ""
    asked = list(messages[:-1] if begun else messages)
    text = tokenizer.apply_chat_template(
        asked, tokenize=False, add_generation_prompt=True, **template_kwargs
    )
    return [
        *tokenizer.encode(text, add_special_tokens=False),
        *(tokenizer.encode(begun, add_special_tokens=False) if begun else []),
    ]


def text_of(tokenizer: Any, token_ids: Sequence[int], reason: FinishReason) -> str:
    """The text of an answer's tokens; of one that was cut inside a character, without it."""
    text = tokenizer.decode(token_ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return text.rstrip("\N{REPLACEMENT CHARACTER}") if reason == FinishReason.LENGTH else text


def environment(cpu_kv_cache_gib: int) -> dict[str, str]:
    """What vLLM reads when it is imported."""
    return {
        "VLLM_CPU_KVCACHE_SPACE": str(cpu_kv_cache_gib),
        CPU_BINDING: UNBOUND,
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_LOGGING_LEVEL": "WARNING",
    }


def finish_reason(sampled: Any) -> FinishReason:
    """Why one of vLLM's outputs ended."""
    return FinishReason.LENGTH if sampled.finish_reason == "length" else FinishReason.STOP


def completion_of(
    output: Any, text: str, n_tokens: int, latency_s: float, first_token_s: float | None = None
) -> Completion:
    """The completion whose last output this is."""
    sampled = output.outputs[0]
    return Completion(
        text=text,
        prompt_tokens=len(output.prompt_token_ids),
        cached_tokens=output.num_cached_tokens or 0,
        output_tokens=n_tokens,
        finish_reason=finish_reason(sampled),
        mean_logprob=(sampled.cumulative_logprob or 0.0) / max(1, n_tokens),
        latency_s=latency_s,
        first_token_s=first_token_s,
    )
