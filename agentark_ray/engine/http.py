"""An OpenAI-compatible chat endpoint as an engine: it runs elsewhere, this is its client.

Retries on 429, 5xx and lost connections, with exponential back-off and jitter, are the openai
package's own. The API key comes from the environment and is in no message.
"""

import asyncio
import os
import re
from collections.abc import Sequence
from time import perf_counter
from typing import Any, cast

import openai

from agentark_ray.engine.base import PromptTooLong, RequestRefused
from agentark_ray.engine.chat import FormatError, completion_of, one_of
from agentark_ray.types import Completion, Message, Sampling

NO_KEY = "none"  # the client insists on one
SAID_CHARS = 500  # of an endpoint's answer, in a message
# How vLLM, OpenAI, llama.cpp, SGLang and TGI say that a prompt is too long. No field agrees.
_TOO_LONG = re.compile(
    r"context_length_exceeded|context (length|window|size)|maximum.{0,20}length"
    r"|longer than the model|inputs tokens",
    re.IGNORECASE,
)


class EndpointError(RuntimeError):
    """The endpoint did not answer, or not in the format; the message names it and what it said."""


class HttpEngine:
    """Answers chat messages with `model` at `base_url` (ends in /v1 with most servers).

    Args:
        api_key_env: name of the environment variable with the key; None for no key.
        timeout_s: seconds without an answer after which an attempt is given up.
        max_retries: attempts after the first; waits grow from 0.5 to 8 s.
        max_concurrency: requests at once, those that wait to be retried included.
        logprobs: ask for log-probabilities. Without them every mean_logprob is 0.0.
    """

    def __init__(
        self,
        *,
        base_url: str,
        model: str,
        api_key_env: str | None,
        timeout_s: float,
        max_retries: int,
        max_concurrency: int,
        logprobs: bool,
    ) -> None:
        self._base_url = base_url
        self._model = model
        self._api_key_env = api_key_env
        self._timeout_s = timeout_s
        self._max_retries = max_retries
        self._slots = asyncio.Semaphore(max_concurrency)
        self._logprobs = logprobs
        self._key = NO_KEY

    async def start(self) -> None:
        """Check that the endpoint answers and serves the model.

        Raises:
            EndpointError: no key in the environment, no answer, or another model is served.
        """
        if self._api_key_env is not None:
            self._key = os.environ.get(self._api_key_env, "")
            if not self._key:
                raise EndpointError(
                    f"{self._base_url}: the environment variable {self._api_key_env} that should"
                    " hold the API key is not set where the engine runs"
                )
        self._client = openai.AsyncOpenAI(
            base_url=self._base_url,
            api_key=self._key,
            timeout=self._timeout_s,
            max_retries=self._max_retries,
        )
        try:
            served = [model.id async for model in self._client.models.list()]
        except (openai.OpenAIError, ValueError, AttributeError) as error:
            raise EndpointError(self._clean(f"/models failed: {_said(error)}")) from None
        if self._model not in served:
            raise EndpointError(
                f"{self._base_url} does not serve {self._model!r}; it serves"
                f" {', '.join(served[:20]) or 'nothing'}"
            )

    async def forget(self) -> None:
        """What an endpoint keeps is its own affair."""

    def stop(self) -> None:
        """Nothing to free: connections end with the process."""

    async def __call__(
        self, agent: int, messages: Sequence[Message], sampling: Sampling
    ) -> Completion:
        """One chat completion; its latency counts retries, not the wait for a slot.

        Raises:
            PromptTooLong: the endpoint says so.
            RequestRefused: another 4xx, or a completion that was filtered.
            TimeoutError: no answer in `timeout_s`, at the last attempt.
            EndpointError: retries are used up, or the answer is not in the format.
        """
        del agent  # every agent is this model
        async with self._slots:
            started = perf_counter()
            answer = await self._ask(messages, sampling)
            try:
                return completion_of(
                    answer, sampling, perf_counter() - started, logprobs=self._logprobs
                )
            except FormatError as error:
                raise EndpointError(self._clean(str(error))) from None
            except RequestRefused as error:
                raise RequestRefused(self._clean(str(error))) from None

    async def _ask(self, messages: Sequence[Message], sampling: Sampling) -> Any:
        extra: dict[str, Any] = {"logprobs": True} if self._logprobs else {}
        if sampling.choices:
            extra["response_format"] = one_of(sampling.choices)
        if messages[-1]["role"] == "assistant":
            # As vLLM and SGLang know it; others refuse or ignore it.
            extra["extra_body"] = {"continue_final_message": True, "add_generation_prompt": False}
        try:
            return await self._client.chat.completions.create(
                model=self._model,
                messages=cast(Any, list(messages)),
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                max_tokens=sampling.max_tokens,
                **extra,
            )
        except openai.APITimeoutError:
            raise TimeoutError(
                f"{self._base_url}: no answer in {self._timeout_s:g} s, the last of"
                f" {self._max_retries + 1} attempts"
            ) from None
        except openai.APIStatusError as error:
            raise self._refusal(error) from None
        except (openai.OpenAIError, ValueError) as error:
            raise EndpointError(self._clean(_said(error))) from None

    def _refusal(self, error: openai.APIStatusError) -> Exception:
        """The exception for an answer with an HTTP error status."""
        said = self._clean(str(error))  # begins with the status
        if error.status_code >= 500 or error.status_code in (408, 409, 429):
            return EndpointError(said)
        if error.status_code in (400, 413, 422) and _TOO_LONG.search(f"{error.code} {error}"):
            return PromptTooLong(message=said)
        return RequestRefused(said)

    def _clean(self, said: str) -> str:
        """`said` with the endpoint's name and without the key, which some endpoints repeat."""
        text = said if self._key == NO_KEY else said.replace(self._key, "***")
        return f"{self._base_url}: {text[:SAID_CHARS]}"


def _said(error: Exception) -> str:
    """An error's message with that of its cause: "Connection error." alone says little."""
    cause = error.__cause__
    return f"{error} ({cause})" if cause and str(cause) else str(error)
