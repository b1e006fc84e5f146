"""An engine that is asked again when a completion failed, and found dead when it hangs.

A completion over its deadline has two causes. Either it is slow: others finished meanwhile, or a
one-token question is answered now; then it is a failure like any other. Or the engine hangs and
nothing it holds will ever finish; then whoever owns the engine must hear EngineDead and replace it.
An endpoint is not ours to replace: it gets no probe, and what it does not answer just failed.
"""

import asyncio
from collections.abc import Sequence

from agentark_ray.engine.base import Engine, EngineDead, PromptTooLong, RequestRefused
from agentark_ray.types import Completion, Message, Sampling

FINAL = (PromptTooLong, RequestRefused, EngineDead)
PROBE_S = 60.0
PROBE: list[Message] = [{"role": "user", "content": "1 + 1 = ?"}]
PROBE_SAMPLING = Sampling(temperature=0.0, top_p=1.0, max_tokens=1)


class GuardedEngine:
    """`engine`, asked up to 1 + `retries` times for a completion.

    A probe waits `probe_s`; with None there is none, and the engine is never found to hang.
    """

    def __init__(self, engine: Engine, *, retries: int, probe_s: float | None = PROBE_S) -> None:
        self._engine = engine
        self._retries = retries
        self._probe_s = probe_s
        self._finished = 0  # completions
        self._probing = asyncio.Lock()

    async def start(self) -> None:
        """Start the engine."""
        await self._engine.start()

    async def forget(self) -> None:
        """Empty the engine's cache."""
        await self._engine.forget()

    def stop(self) -> None:
        """Stop the engine."""
        self._engine.stop()

    async def __call__(
        self, agent: int, messages: Sequence[Message], sampling: Sampling
    ) -> Completion:
        """The first completion that succeeds.

        Raises:
            EngineDead: the engine is gone, or hangs.
            Exception: what the last attempt raised.
        """
        for _ in range(self._retries):
            try:
                return await self._attempt(agent, messages, sampling)
            except FINAL:
                raise
            except Exception:  # it is tried again; the last attempt's error is raised below
                continue
        return await self._attempt(agent, messages, sampling)

    async def _attempt(
        self, agent: int, messages: Sequence[Message], sampling: Sampling
    ) -> Completion:
        finished = self._finished
        try:
            completion = await self._engine(agent, messages, sampling)
        except TimeoutError as error:
            probe_s = self._probe_s
            if probe_s is not None and await self._hangs(finished, probe_s):
                raise EngineDead(
                    "the engine hangs: a completion exceeded its deadline, no other finished"
                    f" meanwhile, and a one-token question had no answer in {probe_s:g} s"
                ) from error
            raise
        self._finished += 1
        return completion

    async def _hangs(self, finished: int, probe_s: float) -> bool:
        """Whether nothing finished since the count was `finished`, nor a probe does now."""
        async with self._probing:  # one probe speaks for all who wait here
            if self._finished > finished:
                return False
            try:
                async with asyncio.timeout(probe_s):
                    await self._engine(0, PROBE, PROBE_SAMPLING)
            except TimeoutError:
                return True
            self._finished += 1
            return False
