"""Debates whose speakers say lines that a test wrote."""

import asyncio
from collections.abc import Sequence
from typing import Any

from agentark_ray.config import parse_config
from agentark_ray.debate.protocol import arm_protocol
from agentark_ray.debate.run import run_debate
from agentark_ray.grading.numeric import NUMERIC
from agentark_ray.types import Completion, Debate, FinishReason, Message, Question, Sampling

QUESTION = Question(question_id="0a", text="2 + 2?", gold="4", task="gsm8k", split="train")
FIRST = f"2 + 2?\n{NUMERIC.instruction}"


class Script:
    """Every speaker says its lines in order; remembers who was asked what, and how."""

    def __init__(self, *lines_A: Sequence[str], logprobs_A: Sequence[float] = ()) -> None:
        self.lines_A = [iter(lines) for lines in lines_A]
        self.logprobs_A = logprobs_A
        self.asked: list[tuple[int, list[Message]]] = []
        self.sampling: dict[int, Sampling] = {}

    async def __call__(
        self, agent: int, messages: Sequence[Message], sampling: Sampling
    ) -> Completion:
        self.asked.append((agent, list(messages)))
        self.sampling[agent] = sampling
        return Completion(
            text=next(self.lines_A[agent]),
            prompt_tokens=10,
            cached_tokens=0,
            output_tokens=3,
            finish_reason=FinishReason.STOP,
            mean_logprob=self.logprobs_A[agent] if self.logprobs_A else -0.1,
            latency_s=0.01,
        )


def hold(script: Script, *overrides: str, **debate: Any) -> Debate:
    config = parse_config({"debate": debate}, overrides, "test")
    return asyncio.run(run_debate(QUESTION, arm_protocol(config, "debate"), script, NUMERIC))


def user(content: str) -> Message:
    return {"role": "user", "content": content}


def assistant(content: str) -> Message:
    return {"role": "assistant", "content": content}
