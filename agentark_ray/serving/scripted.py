"""The scripted engine in the place of Ray Serve LLM's server: rehearsals and tests without models.

A run whose `engine.type` is scripted is served by it.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

from ray.serve.llm import openai_api_models as wire

from agentark_ray.config import Config
from agentark_ray.engine.base import EngineDead, PromptTooLong
from agentark_ray.engine.make import make_engine
from agentark_ray.serving import events
from agentark_ray.types import Completion, ModelRef, Sampling

WORD_S = 0.01  # between words of a stream


class ScriptedServer:
    """Speaks to the ingress and to debates as Ray Serve LLM's server does.

    Args:
        config: of the run, with the scripted engine's settings.
        name: the model's name in the application.
    """

    def __init__(self, config: Config, name: str) -> None:
        self._engine = make_engine(config, ModelRef(name=name))
        self._name = name

    async def chat(self, request: Any, raw_request_info: Any = None) -> AsyncIterator[Any]:
        """A ChatCompletionResponse, an ErrorResponse, or server-sent events."""
        del raw_request_info
        messages = [{"role": m["role"], "content": m["content"]} for m in request.messages]
        async for item in self._answer(request, messages, request.max_completion_tokens):
            yield item

    async def completions(self, request: Any, raw_request_info: Any = None) -> AsyncIterator[Any]:
        """As `chat`, of a prompt."""
        del raw_request_info
        messages = [{"role": "user", "content": request.prompt}]
        async for item in self._answer(request, messages, request.max_tokens):
            yield item

    async def _answer(
        self, request: Any, messages: list[Any], max_tokens: int
    ) -> AsyncIterator[Any]:
        sampling = Sampling(temperature=1.0, top_p=1.0, max_tokens=max_tokens)
        try:
            found = await self._engine(0, messages, sampling)
        except PromptTooLong as error:
            said = f"This model's maximum context length is exceeded: {error}"
            error_info = {"message": said, "type": "BadRequestError", "code": 400}
            yield wire.ErrorResponse.model_validate({"error": error_info})
            return
        except EngineDead:
            os._exit(1)
        if not request.stream:
            yield self._response(request, found)
            return
        async for piece in self._stream(request, found):
            yield [piece]

    def _response(self, request: Any, found: Completion) -> Any:
        usage = {**_usage(found), "prompt_tokens_details": {"cached_tokens": found.cached_tokens}}
        head = {"id": request.request_id, "model": self._name, "usage": usage}
        if isinstance(request, wire.CompletionRequest):
            choice = {"index": 0, "text": found.text, "finish_reason": found.finish_reason}
            return wire.CompletionResponse.model_validate({**head, "choices": [choice]})
        token = {"token": "", "logprob": found.mean_logprob, "top_logprobs": []}
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": found.text},
            "logprobs": {"content": [token]} if request.logprobs else None,
            "finish_reason": found.finish_reason,
        }
        return wire.ChatCompletionResponse.model_validate({**head, "choices": [choice]})

    async def _stream(self, request: Any, found: Completion) -> AsyncIterator[str]:
        head = {
            "id": request.request_id,
            "object": "chat.completion.chunk",
            "created": 0,
            "model": self._name,
        }
        for number, word in enumerate(found.text.split(" ")):
            delta = {"content": f" {word}" if number else word}
            choice = {"index": 0, "delta": delta, "finish_reason": None}
            yield events.sse({**head, "choices": [choice]})
            await asyncio.sleep(WORD_S)
        end = {"index": 0, "delta": {}, "finish_reason": found.finish_reason}
        yield events.sse({**head, "choices": [end]})
        yield events.sse({**head, "choices": [], "usage": _usage(found)})
        yield events.DONE

    async def check_health(self) -> None:
        """It is always well."""


def _usage(found: Completion) -> dict[str, int]:
    return {
        "prompt_tokens": found.prompt_tokens,
        "completion_tokens": found.output_tokens,
        "total_tokens": found.prompt_tokens + found.output_tokens,
    }
