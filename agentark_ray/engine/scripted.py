"""A fake engine with latency: answers arithmetic by a seeded coin, for tests and load rehearsals.

It computes nothing with a model. Given the same prompt, agent and attempt it gives the same text.
It can be told to fail: on prompts that contain POISON, every time, or with `POISON:/some/path` only
until that file exists, which the fault makes.
"""

import asyncio
import hashlib
import math
import os
import re
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from agentark_ray.engine.base import EngineDead, PromptTooLong
from agentark_ray.types import Completion, FinishReason, Message, Sampling

# What happens on POISON: this completion fails, all completions hang from now on, the engine dies,
# its process is killed.
Fault = Literal["none", "raise", "hang", "exit", "kill"]

_POISON = re.compile(r"\bPOISON(?::(\S+))?")


def _words(messages: Sequence[Message]) -> int:
    return sum(message["content"].count(" ") + 1 for message in messages)


class ScriptedEngine:
    """Answers 42 with probability `accuracy`, else another number; one word counts as one token.
    Given choices it says the first one with that probability, else the last one.

    A completion that hangs or is slower ends with TimeoutError after `timeout_s`.
    """

    def __init__(
        self,
        *,
        seed: int,
        latency_s: float,
        accuracy: float,
        max_model_len: int,
        fault: Fault = "none",
        timeout_s: float = 3600.0,
    ) -> None:
        self._seed = seed
        self._latency_s = latency_s
        self._accuracy = accuracy
        self._max_model_len = max_model_len
        self._fault: Fault = fault
        self._timeout_s = timeout_s
        self._hangs = False

    async def start(self) -> None:
        """Nothing to load."""

    async def forget(self) -> None:
        """Nothing is cached."""

    def stop(self) -> None:
        """Nothing to free."""

    async def __call__(
        self, agent: int, messages: Sequence[Message], sampling: Sampling
    ) -> Completion:
        """Waits the latency; raises PromptTooLong as a real engine does, and the fault."""
        started = time.perf_counter()
        prompt_tokens = _words(messages)
        if prompt_tokens + sampling.max_tokens > self._max_model_len:
            raise PromptTooLong(prompt_tokens + sampling.max_tokens, self._max_model_len)
        if self._fault != "none" and _is_poison(messages):
            self._fail()
        await self._wait()
        draw = self._draw(agent, messages)
        text = _choice(sampling.choices, draw < self._accuracy) or _solution(draw, self._accuracy)
        return Completion(
            text=text,
            prompt_tokens=prompt_tokens,
            cached_tokens=0,
            output_tokens=len(text.split()),
            finish_reason=FinishReason.STOP,
            mean_logprob=-draw,
            latency_s=time.perf_counter() - started,
        )

    async def _wait(self) -> None:
        latency_s = math.inf if self._hangs else self._latency_s
        if latency_s > self._timeout_s:
            await asyncio.sleep(self._timeout_s)
            raise TimeoutError
        await asyncio.sleep(latency_s)

    def _fail(self) -> None:
        match self._fault:
            case "raise":
                raise RuntimeError("scripted fault: the prompt contains POISON")
            case "exit":
                raise EngineDead("scripted fault: the prompt contains POISON")
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "hang":
                self._hangs = True

    def _draw(self, agent: int, messages: Sequence[Message]) -> float:
        """A number in [0, 1) that depends on everything the answer may depend on."""
        key = f"{self._seed}\0{agent}\0" + "\0".join(m["content"] for m in messages)
        return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]) / 2**64


def _solution(draw: float, accuracy: float) -> str:
    answer = 42 if draw < accuracy else 43 + int(draw * 1000) % 7
    return f"Let me think step by step. The answer is \\boxed{{{answer}}}"


def _choice(choices: Sequence[str], right: bool) -> str | None:
    """The first choice or, if that is not right, the last one."""
    return choices[0 if right else -1] if choices else None


def _is_poison(messages: Sequence[Message]) -> bool:
    """Whether a message says POISON; with a path, whether this call is the one that makes it."""
    found = _POISON.search("\n".join(message["content"] for message in messages))
    if found is None or found[1] is None:
        return found is not None
    try:
        Path(found[1]).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
