"""Whether two answers are the same, and the shadow arm that is asked to find out."""

import asyncio
import time
from collections.abc import Sequence

from agentark_ray.grading.base import Grader, GradingTimeout
from agentark_ray.serving.arms import Arm, Reply
from agentark_ray.serving.ledger import Ledger
from agentark_ray.serving.requests import ChatRequest, Refused

SHADOWS = 32  # at once


async def extracted(grader: Grader, texts: Sequence[str]) -> list[str | None]:
    """The answers in texts; found in a thread, since a long text may take a tenth of a second."""
    return await asyncio.to_thread(lambda: [grader.extract(text) for text in texts])


async def agree(grader: Grader, answers: Sequence[str | None]) -> bool:
    """Whether both are answers and equal."""
    first, second = answers
    if first is None or second is None:
        return False
    try:
        return await asyncio.to_thread(grader.equal, first, second)
    except GradingTimeout:
        return False


class Shadow:
    """Asks another arm what a user has been answered, once the user has it all.

    Args:
        grader: of the task.
        ledger: is told what came of it.
    """

    def __init__(self, grader: Grader, ledger: Ledger) -> None:
        self._grader = grader
        self._ledger = ledger
        self._ongoing = 0

    def follow(self, body: ChatRequest, reply: Reply, arm: Arm) -> None:
        """Compare a reply that may still be streamed; left out while too many are compared."""
        if self._ongoing >= SHADOWS:
            self._ledger.metrics.shadowed("skipped")
            return
        self._ongoing += 1
        reply.collect = True
        self._ledger.in_background(self._compare(body, reply, arm))

    async def _compare(self, body: ChatRequest, reply: Reply, arm: Arm) -> None:
        try:
            await reply.done.wait()
            if reply.status != 200:
                self._ledger.metrics.shadowed("skipped")
                return
            quiet = body.model_copy(update={"stream": False, "stream_options": None})
            other = Reply()
            await arm.answer(other, quiet, f"shadow-{time.monotonic_ns()}")
            latency_s = time.perf_counter() - other.started_s  # without the grading
            answers = await extracted(self._grader, (reply.text, other.text))
            agrees = await agree(self._grader, answers)
            self._ledger.compared(body, reply, other, agrees, latency_s)
        except Refused:
            self._ledger.metrics.shadowed("failed")
        finally:
            self._ongoing -= 1
