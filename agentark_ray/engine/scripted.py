"""A fake engine with latency: answers arithmetic by a seeded coin, for tests and load rehearsals.

It computes nothing with a model. Given the same prompt, agent and attempt it gives the same text.
"""

import asyncio
import hashlib
import time
from collections.abc import Sequence

from agentark_ray.engine.base import PromptTooLong
from agentark_ray.types import Completion, FinishReason, Message, Sampling


def _words(messages: Sequence[Message]) -> int:
    return sum(len(message["content"].split()) for message in messages)


class ScriptedEngine:
    """Answers 42 with probability `accuracy`, else another number; one word counts as one token."""

    def __init__(self, *, seed: int, latency_s: float, accuracy: float, max_model_len: int) -> None:
        self._seed = seed
        self._latency_s = latency_s
        self._accuracy = accuracy
        self._max_model_len = max_model_len

    async def start(self) -> None:
        """Nothing to load."""

    def stop(self) -> None:
        """Nothing to free."""

    async def __call__(
        self, agent: int, messages: Sequence[Message], sampling: Sampling
    ) -> Completion:
        """Waits the latency; raises PromptTooLong as a real engine does."""
        started = time.perf_counter()
        prompt_tokens = _words(messages)
        if prompt_tokens + sampling.max_tokens > self._max_model_len:
            raise PromptTooLong(prompt_tokens + sampling.max_tokens, self._max_model_len)
        await asyncio.sleep(self._latency_s)
        draw = self._draw(agent, messages)
        answer = 42 if draw < self._accuracy else 43 + int(draw * 1000) % 7
        text = f"Let me think step by step. The answer is \\boxed{{{answer}}}"
        return Completion(
            text=text,
            prompt_tokens=prompt_tokens,
            cached_tokens=0,
            output_tokens=len(text.split()),
            finish_reason=FinishReason.STOP,
            mean_logprob=-draw,
            latency_s=time.perf_counter() - started,
        )

    def _draw(self, agent: int, messages: Sequence[Message]) -> float:
        """A number in [0, 1) that depends on everything the answer may depend on."""
        key = f"{self._seed}\0{agent}\0" + "\0".join(m["content"] for m in messages)
        return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]) / 2**64
