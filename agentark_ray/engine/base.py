"""The generation seam: what a debate asks of an engine, and how an engine says no."""

from collections.abc import Sequence
from typing import Protocol

from agentark_ray.types import Completion, Message, Sampling


class PromptTooLong(ValueError):
    """A prompt leaves no room for its answer in the model's context."""

    def __init__(self, needed: int, limit: int) -> None:
        super().__init__(f"prompt and answer need {needed} tokens, the context holds {limit}")
        self.needed = needed
        self.limit = limit

    def __reduce__(self) -> tuple[type["PromptTooLong"], tuple[int, int]]:
        return PromptTooLong, (self.needed, self.limit)


class EngineDead(RuntimeError):
    """The engine behind a Generate is gone and every further call will fail."""


class Generate(Protocol):
    """Answers one prompt. Concurrent calls are expected; the engine batches them."""

    async def __call__(
        self, agent: int, messages: Sequence[Message], sampling: Sampling
    ) -> Completion:
        """Raises PromptTooLong or EngineDead; any other exception fails this debate only."""
        ...


class Engine(Generate, Protocol):
    """A Generate with a life: started once in an event loop, stopped at the end."""

    async def start(self) -> None:
        """Load the model and answer one request, so that the first timed one is not cold."""
        ...

    def stop(self) -> None:
        """Free the engine's processes."""
        ...
