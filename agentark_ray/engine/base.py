"""The generation seam: what a debate asks of an engine, and how an engine says no."""

from collections.abc import Sequence
from typing import Protocol

from agentark_ray.types import Completion, Message, Sampling


class PromptTooLong(ValueError):
    """A prompt leaves no room for its answer in the model's context.

    `needed` and `limit` are tokens, prompt and answer together; None where an endpoint refused the
    prompt in words only, which are then the message.
    """

    def __init__(
        self, needed: int | None = None, limit: int | None = None, message: str = ""
    ) -> None:
        super().__init__(
            message or f"prompt and answer need {needed} tokens, the context holds {limit}"
        )
        self.needed = needed
        self.limit = limit

    def __reduce__(self) -> tuple[type["PromptTooLong"], tuple[int | None, int | None, str]]:
        return PromptTooLong, (self.needed, self.limit, str(self))


class RequestRefused(RuntimeError):
    """The engine will not answer this request, however often it is asked."""


class EngineDead(RuntimeError):
    """The engine behind a Generate is gone and every further call will fail."""


class Generate(Protocol):
    """Answers one prompt. Concurrent calls are expected; the engine batches them."""

    async def __call__(
        self, agent: int, messages: Sequence[Message], sampling: Sampling
    ) -> Completion:
        """The answer; where the last message is the assistant's, what continues it.

        With `sampling.choices` the engine makes the model say one of them; what an
        endpoint lets through nevertheless is returned as it is.

        Raises:
            PromptTooLong, RequestRefused: asking again would not help.
            EngineDead: the engine is gone.
            Exception: this completion failed; asking again may help. TimeoutError at the deadline.
        """
        ...


class Engine(Generate, Protocol):
    """A Generate with a life: started once in an event loop, stopped at the end."""

    async def start(self) -> None:
        """Load the model and answer one request, so that the first timed one is not cold."""
        ...

    async def forget(self) -> None:
        """Drop the cached beginnings of prompts, while nothing is asked: what comes is timed.

        Raises:
            EngineDead: the engine is gone.
        """
        ...

    def stop(self) -> None:
        """Free the engine's processes."""
        ...
