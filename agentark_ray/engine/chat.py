"""Chat completions in the form of OpenAI's API, and what our types make of them. Pure."""

import json
from collections.abc import Sequence
from typing import Any

from openai.types.chat import ChatCompletion

from agentark_ray.engine.base import RequestRefused
from agentark_ray.types import Completion, FinishReason, Sampling

ANSWER = "answer"  # the key of a choice
_FINISH = {"stop": FinishReason.STOP, "length": FinishReason.LENGTH}


class FormatError(ValueError):
    """An answer is not a chat completion as it was asked for."""


def completion_of(
    answer: Any, sampling: Sampling, latency_s: float, *, logprobs: bool
) -> Completion:
    """The completion in an `openai` ChatCompletion; without `logprobs` its mean_logprob is 0.0.

    Cached tokens that it does not tell are 0, so that they count at the full price.

    Raises:
        FormatError: it is something else, or lacks usage or log-probabilities.
        RequestRefused: it ended for another reason than a stop or its length, e.g. a filter.
    """
    if not isinstance(answer, ChatCompletion) or not answer.choices or not answer.usage:
        raise FormatError(f"not a chat completion with usage: {answer!r}")
    choice, usage = answer.choices[0], answer.usage
    if choice.finish_reason not in _FINISH:
        raise RequestRefused(f"finish_reason {choice.finish_reason!r}")
    cached = usage.prompt_tokens_details and usage.prompt_tokens_details.cached_tokens
    return Completion(
        text=chosen(choice.message.content or "", sampling.choices),
        prompt_tokens=usage.prompt_tokens,
        cached_tokens=cached or 0,
        output_tokens=usage.completion_tokens,
        finish_reason=_FINISH[choice.finish_reason],
        mean_logprob=_mean_logprob(choice) if logprobs else 0.0,
        latency_s=latency_s,
    )


def _mean_logprob(choice: Any) -> float:
    if choice.logprobs is None or choice.logprobs.content is None:
        raise FormatError("answered without the log-probabilities asked for")
    logprobs = [token.logprob for token in choice.logprobs.content]
    return sum(logprobs) / max(1, len(logprobs))


def one_of(choices: Sequence[str]) -> dict[str, Any]:
    """A response format that OpenAI, vLLM, SGLang and llama.cpp know."""
    schema = {
        "type": "object",
        "properties": {ANSWER: {"type": "string", "enum": list(choices)}},
        "required": [ANSWER],
        "additionalProperties": False,
    }
    return {
        "type": "json_schema",
        "json_schema": {"name": ANSWER, "strict": True, "schema": schema},
    }


def chosen(text: str, choices: Sequence[str]) -> str:
    """The choice in an answer of that format; any other answer as it is."""
    if not choices:
        return text
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):  # it need not be JSON
        return text
    chosen = said.get(ANSWER) if isinstance(said, dict) else None
    word = chosen if isinstance(chosen, str) else json.dumps(chosen)  # true, not "true"
    return word if word in choices else text
