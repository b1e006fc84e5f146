"""The debate's vLLM engine, heard token by token, as a server hears it: for load tests."""

import asyncio
from collections.abc import Sequence
from time import perf_counter

from agentark_ray.engine.vllm import VllmEngine, completion_of, guided
from agentark_ray.types import Completion, Message, Sampling


class StreamingEngine(VllmEngine):
    """A VllmEngine that knows when the first token of an answer came."""

    async def __call__(
        self, agent: int, messages: Sequence[Message], sampling: Sampling
    ) -> Completion:
        """As VllmEngine, with `first_token_s`."""
        del agent  # every agent is this model
        prompt_ids = self.prompt(messages, sampling)
        texts: list[str] = []
        n_tokens = 0
        started = perf_counter()
        first, output = None, None
        async with asyncio.timeout(self._timeout_s):
            async for output in self.outputs(
                prompt_ids, sampling, deltas=True, structured_outputs=guided(sampling)
            ):
                sampled = output.outputs[0]
                texts.append(sampled.text)
                n_tokens += len(sampled.token_ids)
                if first is None and n_tokens:
                    first = perf_counter() - started
        return completion_of(output, "".join(texts), n_tokens, perf_counter() - started, first)
