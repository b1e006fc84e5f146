"""The open loop against servers whose latency is known."""

import asyncio
import itertools
import math
import selectors
from collections.abc import Callable
from time import monotonic
from typing import Any

import pytest

from agentark_ray.load.figures import TIMEOUT, Targets
from agentark_ray.load.offer import (
    Ask,
    Heard,
    Live,
    Plan,
    RequestFailed,
    arrivals,
    next_rate,
    offer_load,
)


class Jump(selectors.DefaultSelector):
    """Waits for nothing: where there is no event, `skip` is told how long it would have waited."""

    def __init__(self, skip: Callable[[float], None]) -> None:
        super().__init__()
        self._skip = skip

    def select(self, timeout: float | None = None) -> list[Any]:
        found = super().select(0)
        if not found and timeout:
            self._skip(timeout)
        return found


class QuickLoop(asyncio.SelectorEventLoop):
    """An event loop in which time passes only while all wait, and then at once."""

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__(Jump(self.skip))

    def time(self) -> float:
        return self.now

    def skip(self, seconds: float) -> None:
        self.now += seconds


def offered(ask: Ask[int], plan: Plan, loop: QuickLoop | None = None) -> list[dict[str, Any]]:
    """What `offer_load` finds; time passes as if this program took none."""
    loop = loop or QuickLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(offer_load(ask, itertools.count(), plan, loop.time))


class Fake:
    """Answers in two tokens after `seconds`, `at_once` requests at a time, the others in line."""

    def __init__(self, seconds: float, at_once: int = 10_000) -> None:
        self._seconds = seconds
        self._slots = asyncio.Semaphore(at_once)
        self.asked: list[int] = []
        self.under_way = self.most = 0

    async def __call__(self, item: int, heard: Heard) -> None:
        self.asked.append(item)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            async with self._slots:
                await asyncio.sleep(self._seconds / 4)
                heard.part()
                await asyncio.sleep(self._seconds * 3 / 4)
                heard.part()
        finally:
            self.under_way -= 1


def test_arrivals_are_poisson_and_seeded() -> None:
    times = list(arrivals(50.0, 400.0, seed=3))
    gaps = [b - a for a, b in itertools.pairwise([0.0, *times])]
    mean = sum(gaps) / len(gaps)
    spread = math.sqrt(sum((gap - mean) ** 2 for gap in gaps) / len(gaps))
    assert len(times) == pytest.approx(20_000, rel=0.03)
    assert spread == pytest.approx(mean, rel=0.05)  # an exponential distribution's
    assert times == sorted(times) and times[-1] < 400.0
    assert times == list(arrivals(50.0, 400.0, seed=3))
    assert times != list(arrivals(50.0, 400.0, seed=4))
    twice = list(arrivals(100.0, 200.0, seed=3))
    assert [time / 2 for time in times[:9]] != pytest.approx(twice[:9])  # no rate is another one's


def test_a_known_latency_is_measured() -> None:
    fake = Fake(0.08)
    (found,) = offered(fake, Plan(rates=(60.0,), seconds=20.0))
    times = list(arrivals(60.0, 20.0, Plan().seed))
    assert found["requests"] == found["answered"] == len(times)
    assert fake.asked == list(range(len(times)))
    assert found["e2e_ms"] == pytest.approx(dict.fromkeys(("p50", "p95", "p99", "max"), 80.0))
    assert found["ttft_ms"]["p50"] == pytest.approx(20.0)
    assert found["inter_token_ms"]["p50"] == pytest.approx(60.0)
    assert found["achieved"] == sum(5.0 < time + 0.08 <= 20.0 for time in times) / 15
    assert found["output_tokens_per_s"] == pytest.approx(2 * found["achieved"])
    assert (found["errors"], found["saturated"]) == ({}, False)
    assert found["generator"]["lag_ms_max"] == pytest.approx(0.0, abs=1e-6)
    assert found["generator"]["kept_up"]


def test_requests_do_not_wait_for_each_other() -> None:
    """An open loop: 30 requests a second of half a second each overlap."""
    fake = Fake(0.5)
    (found,) = offered(fake, Plan(rates=(30.0,), seconds=10.0))
    assert found["outstanding_max"] == fake.most >= 15
    assert found["e2e_ms"]["max"] == pytest.approx(500.0)


def test_a_queue_is_seen_in_the_latency() -> None:
    """50 a second come, 20 are answered: the last waits until all before it are, 50 ms each."""
    (found,) = offered(Fake(0.05, at_once=1), Plan(rates=(50.0,), seconds=20.0))
    times = list(arrivals(50.0, 20.0, Plan().seed))
    assert found["saturated"]
    assert found["answered"] == found["requests"] == len(times)
    assert found["achieved"] == pytest.approx(20.0, rel=0.005)
    busy = times[0] + 50e-3 * len(times)  # without a pause since the first
    assert found["e2e_ms"]["max"] == pytest.approx(1000 * (busy - times[-1]), rel=0.01)
    assert found["generator"]["held_back"] == 0


def test_no_more_under_way_than_allowed_and_the_wait_counts() -> None:
    fake = Fake(0.05)
    (found,) = offered(fake, Plan(rates=(100.0,), seconds=10.0, max_outstanding=2))
    (queued,) = offered(Fake(0.05, at_once=2), Plan(rates=(100.0,), seconds=10.0))
    assert fake.most == 2
    assert found["e2e_ms"] == pytest.approx(queued["e2e_ms"])  # as if they had waited there
    assert found["saturated"] and found["e2e_ms"]["max"] > 10_000
    assert found["generator"]["held_back"] > 0.9 * found["requests"]
    assert found["generator"]["late"] == 0
    assert "held back, because 2 were under way" in found["generator"]["note"]


def test_all_that_came_while_none_could_be_sent_were_held_back() -> None:
    """Two are answered after a second; what came meanwhile is held back, and nothing is late."""
    loop = QuickLoop()

    async def at_the_first_second(item: int, heard: Heard) -> None:
        await asyncio.sleep(max(0.0, 1.0 - loop.time()))
        heard.part()

    plan = Plan(rates=(20.0,), seconds=2.0, max_outstanding=2)
    (found,) = offered(at_the_first_second, plan, loop)
    times = list(arrivals(20.0, 2.0, plan.seed))
    assert found["generator"]["held_back"] == sum(time < 1.0 for time in times) - 2 > 5
    assert found["generator"]["late"] == 0


def test_a_generator_that_blocks_is_found_out() -> None:
    """Sending takes it 30 ms, so it sends 33 a second and not 100; the answers take 10 ms."""
    fake, loop = Fake(0.01), QuickLoop()

    async def greedy(item: int, heard: Heard) -> None:
        loop.skip(0.03)
        await fake(item, heard)

    (found,) = offered(greedy, Plan(rates=(100.0,), seconds=5.0), loop)
    assert not found["generator"]["kept_up"]
    assert "fell behind" in found["generator"]["note"]
    assert found["e2e_ms"]["max"] == pytest.approx(30 * found["requests"] - 5000, rel=0.02)


def test_what_has_no_answer_in_time_is_given_up() -> None:
    fake = Fake(9.0, at_once=1)
    plan = Plan(rates=(20.0,), seconds=5.0, timeout_s=0.3, max_outstanding=3)
    (found,) = offered(fake, plan)
    assert found["errors"] == {TIMEOUT: found["requests"]}
    assert found["answered"] == 0 and found["saturated"]
    assert found["censored"] == found["requests"] == len(fake.asked)
    assert found["e2e_ms"]["p50"] == found["ttft_ms"]["p50"] == pytest.approx(300)
    assert fake.under_way == 0


def test_what_cannot_be_sent_in_time_is_not_sent() -> None:
    fake, loop = Fake(0.01), QuickLoop()

    async def stuck(item: int, heard: Heard) -> None:
        loop.skip(1.0 if item == 10 else 0.0)
        await fake(item, heard)

    plan = Plan(rates=(20.0,), seconds=5.0, timeout_s=0.3)
    (found,) = offered(stuck, plan, loop)
    times = list(arrivals(20.0, 5.0, plan.seed))
    lost = sum(times[10] < time < times[10] + 0.7 for time in times)
    assert len(fake.asked) == found["requests"] - lost < found["requests"]
    assert found["errors"][TIMEOUT] == found["censored"] >= lost + 1  # that one itself
    assert found["generator"]["late"] >= lost
    assert found["generator"]["lag_ms_max"] <= 300.0  # of those that were sent


def test_errors_are_counted_by_kind_and_others_end_the_test() -> None:
    async def picky(item: int, heard: Heard) -> None:
        if item % 3 == 0:
            raise RequestFailed("http 429", "slow down")
        heard.part()

    (found,) = offered(picky, Plan(rates=(100.0,), seconds=3.0))
    assert found["errors"] == {"http 429": math.ceil(found["requests"] / 3)}
    assert found["saturated"]

    async def broken(item: int, heard: Heard) -> None:
        raise ZeroDivisionError("planted")

    with pytest.raises(ZeroDivisionError, match="planted"):
        offered(broken, Plan(rates=(100.0,), seconds=5.0))


async def test_a_stop_ends_what_is_under_way() -> None:
    fake = Fake(30.0)
    plan = Plan(rates=(100.0,), seconds=30.0)
    task = asyncio.create_task(offer_load(fake, itertools.count(), plan))
    while fake.under_way < 5:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert fake.under_way == 0


def test_rates_are_doubled_until_saturation() -> None:
    """20 a second are answered: 4 and 8 are kept up with, 16 with waiting, 32 are not."""
    plan = Plan(start_rate=4.0, seconds=30.0, targets=Targets(ms=120.0))
    found = offered(Fake(0.1, at_once=2), plan)
    assert [one["offered"] for one in found] == [4.0, 8.0, 16.0, 32.0]
    assert [one["saturated"] for one in found] == [False, False, False, True]
    shares = [one["good_share"] for one in found]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > 0.9 and shares[-1] < 0.1


def rate(offered: float, saturated: bool = False, late: int = 0, held: int = 0) -> dict[str, Any]:
    generator = {"late": late, "held_back": held}
    return {"offered": offered, "saturated": saturated, "requests": 100, "generator": generator}


def test_the_next_rate() -> None:
    doubled, given = Plan(start_rate=2.0, max_rate=8.0), Plan(rates=(5.0, 1.0))
    assert next_rate(doubled, []) == 2.0
    assert next_rate(doubled, [rate(2.0)]) == 4.0
    assert next_rate(doubled, [rate(4.0, late=5, held=5)]) == 8.0
    assert next_rate(doubled, [rate(8.0)]) is None
    assert next_rate(doubled, [rate(4.0, saturated=True)]) is None
    assert next_rate(doubled, [rate(4.0, late=11)]) is None
    assert next_rate(doubled, [rate(4.0, held=11)]) is None
    assert next_rate(given, []) == 5.0
    assert next_rate(given, [rate(5.0, saturated=True)]) == 1.0
    assert next_rate(given, [rate(5.0), rate(1.0)]) is None


async def test_progress_can_be_shown() -> None:
    fake = Fake(0.2)
    live = Live(fake, itertools.count(), Plan(seconds=0.5))
    assert live.state() is None
    task = asyncio.create_task(live.offer(50.0))
    while len(fake.asked) - fake.under_way < 3:
        await asyncio.sleep(0.01)
    state = live.state()
    assert state is not None
    assert 0 < state.done < state.total and state.total >= 25
    assert state.text.startswith("at 50/s, ") and "under way" in state.text
    await task
    last = live.state()
    assert last is not None and last.text == "at 50/s, 0 under way"
    assert last.done <= last.total == max(25, last.done)


async def test_progress_tells_of_failures() -> None:
    async def refused(item: int, heard: Heard) -> None:
        raise RequestFailed("http 429")

    live = Live(refused, itertools.count(), Plan(seconds=0.1, seed=1))
    found = await live.offer(200.0)
    state = live.state()
    assert state is not None and found["requests"] > 20  # that came by chance, 20 were expected
    assert state.text == f"at 200/s, 0 under way, {found['requests']} failed"
    assert state.done == state.total == found["requests"]


def test_tokens_that_come_at_once_have_no_time_between_them() -> None:
    heard = Heard()
    heard.whole(20)
    assert heard.tokens == 20 and heard.inter_token_s is None
    heard = Heard()
    heard.whole(5, first=monotonic() - 2.0)
    assert heard.inter_token_s == pytest.approx(0.5, abs=0.01)
