"""Open-loop load: requests come by a Poisson process, whether or not earlier ones are answered.

A closed loop, in which a client waits for an answer before it asks again, slows down with the
server and so never sees the queue that real users would (coordinated omission). Here each request
has its time beforehand, and its latency counts from that time, also when this program or the limit
of requests under way sent it later. A request that has no answer `timeout_s` after its time is
given up.

What is asked is up to the caller: `ask` is a server (http.py), an engine (actor.py), or a test's.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, Generic, TypeVar

from agentark_ray.console import State
from agentark_ray.load.figures import NO_TARGETS, SHORT, TIMEOUT, Ended, Tally, Targets, figures

Item = TypeVar("Item")


class RequestFailed(RuntimeError):
    """A request ended without an answer; `kind` is what is counted."""

    def __init__(self, kind: str, said: str = "") -> None:
        super().__init__(f"{kind}: {said}" if said else kind)
        self.kind = kind


class Heard:
    """What has come of one answer so far; times are those of `clock`, in seconds."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self.first: float | None = None
        self.last: float | None = None
        self.tokens = 0

    def part(self, tokens: int = 1) -> None:
        """Some tokens came just now."""
        self.last = self._clock()
        self.first = self.last if self.first is None else self.first
        self.tokens += tokens

    def whole(self, tokens: int, first: float | None = None) -> None:
        """All came just now or, if it is known, began to come at `first`."""
        self.part(tokens)
        self.first = self.last if first is None else first

    @property
    def inter_token_s(self) -> float | None:
        """Mean seconds between two tokens; None with fewer than two, or if all came at once."""
        if self.first is None or self.last is None or self.first == self.last or self.tokens < 2:
            return None
        return (self.last - self.first) / (self.tokens - 1)


Ask = Callable[[Item, Heard], Awaitable[None]]  # raises RequestFailed, or TimeoutError


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A load test: which rates, for how long, and when a request is given up."""

    rates: tuple[float, ...] = ()  # requests a second; empty: found by doubling
    start_rate: float = 1.0  # of the doubling
    max_rate: float = 1024.0
    seconds: float = 30.0  # of arrivals, at each rate
    seed: int = 17
    timeout_s: float = 60.0
    max_outstanding: int = 1000
    targets: Targets = NO_TARGETS


def next_rate(plan: Plan, found: Sequence[dict[str, Any]]) -> float | None:
    """The rate to offer after those of `found`, or None.

    Doubling ends with a rate that is not kept up with, by what is asked or by the generator.
    """
    if plan.rates:
        return plan.rates[len(found)] if len(found) < len(plan.rates) else None
    if not found:
        return plan.start_rate
    last, rate = found[-1], 2 * found[-1]["offered"]
    behind = last["generator"]["late"] + last["generator"]["held_back"] > SHORT * last["requests"]
    return None if last["saturated"] or behind or rate > plan.max_rate else rate


def arrivals(rate: float, seconds: float, seed: int) -> Iterator[float]:
    """The times of a Poisson process with `rate` events a second, from 0 to `seconds`."""
    draw = random.Random(f"{seed} {rate:g}")
    time = draw.expovariate(rate)
    while time < seconds:
        yield time
        time += draw.expovariate(rate)


class Live(Generic[Item]):
    """A load test under way, of which the progress can be shown."""

    def __init__(
        self,
        ask: Ask[Item],
        items: Iterator[Item],
        plan: Plan,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """`items` must not end; each request takes the next one."""
        self._clock = clock
        self._ask = ask
        self._items = items
        self._plan = plan
        self._tally: Tally | None = None
        self._outstanding = 0

    def state(self) -> State | None:
        """How far the present rate is; the total is what is expected."""
        tally = self._tally
        if tally is None:
            return None
        text = f"at {tally.offered:g}/s, {self._outstanding} under way"
        if failed := tally.errors.total():
            text += f", {failed} failed"
        total = max(tally.requests, round(tally.offered * tally.seconds))
        return State(done=tally.requests, total=total, text=text)

    async def offer(self, rate: float) -> dict[str, Any]:
        """Offer one rate and wait for what is under way; an entry of `rates` (figures.py).

        Raises:
            Exception: `ask` raised anything but RequestFailed and TimeoutError.
        """
        plan = self._plan
        tally = Tally(offered=rate, seconds=plan.seconds, targets=plan.targets)
        self._tally, self._outstanding = tally, 0
        slots = asyncio.Semaphore(plan.max_outstanding)
        start = self._clock()
        blocked_until = 0.0  # by requests under way
        try:
            async with asyncio.TaskGroup() as group:
                for scheduled in arrivals(rate, plan.seconds, plan.seed):
                    await asyncio.sleep(max(0.0, start + scheduled - self._clock()))
                    full = slots.locked()
                    await slots.acquire()
                    blocked_until = self._clock() - start if full else blocked_until
                    held_back = scheduled < blocked_until
                    request = self._request(tally, start, scheduled, held_back, next(self._items))
                    group.create_task(request).add_done_callback(lambda _: slots.release())
        except BaseExceptionGroup as error:
            raise _first(error) from None
        return figures(tally)

    async def _request(
        self, tally: Tally, start: float, scheduled: float, held_back: bool, item: Item
    ) -> None:
        heard, error, sent = Heard(self._clock), None, self._clock() - start
        left = scheduled + self._plan.timeout_s - sent
        self._outstanding += 1
        tally.outstanding_max = max(tally.outstanding_max, self._outstanding)
        try:
            if left > 0:
                async with asyncio.timeout(left):
                    await self._ask(item, heard)
        except RequestFailed as failed:
            error = failed.kind
        except TimeoutError:
            error = TIMEOUT
        finally:
            self._outstanding -= 1
        tally.add(
            Ended(
                scheduled=scheduled,
                sent=sent if left > 0 else None,
                first=None if heard.first is None else heard.first - start,
                ended=self._clock() - start,
                tokens=heard.tokens,
                inter_token_s=heard.inter_token_s,
                error=error if left > 0 else TIMEOUT,
                held_back=held_back,
            )
        )

    async def offer_all(self) -> list[dict[str, Any]]:
        """Offer every rate of the plan, one after the other."""
        found: list[dict[str, Any]] = []
        while (rate := next_rate(self._plan, found)) is not None:
            found.append(await self.offer(rate))
        return found


async def offer_load(
    ask: Ask[Item], items: Iterator[Item], plan: Plan, clock: Callable[[], float] = monotonic
) -> list[dict[str, Any]]:
    """Offer every rate of `plan` to `ask`; the entries of `rates`, as figures.py has them.

    Args:
        ask: asks for one item and tells `Heard` of what comes.
        items: what is asked, in order; must not end.

    Raises:
        Exception: `ask` raised anything but RequestFailed and TimeoutError.
    """
    return await Live(ask, items, plan, clock).offer_all()


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
