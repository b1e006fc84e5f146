"""The open loop against servers whose latency is known."""

import asyncio
import itertools
import json
import math
import selectors
from collections.abc import AsyncIterator, Callable
from time import monotonic
from typing import Any

import pytest
from aiohttp import web

from agentark_ray.config import ConfigError
from agentark_ray.load.figures import TIMEOUT, Targets
from agentark_ray.load.http import Endpoint, served_models
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
from agentark_ray.types import Message, Sampling

KEY = "sk-very-secret-42"
ASKED: list[Message] = [{"role": "user", "content": "2 + 2 = ?"}]
SAMPLING = Sampling(temperature=0.7, top_p=0.9, max_tokens=16)


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


def test_tokens_that_come_at_once_have_no_time_between_them() -> None:
    heard = Heard()
    heard.whole(20)
    assert heard.tokens == 20 and heard.inter_token_s is None
    heard = Heard()
    heard.whole(5, first=monotonic() - 2.0)
    assert heard.inter_token_s == pytest.approx(0.5, abs=0.01)


class Server:
    """Streams `events` with a pause between them; refuses what has not the key."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.pause_s = 0.0
        self.done = True
        self.reply: web.Response | None = None
        self.requests: list[dict[str, Any]] = []
        self.models: Any = {"data": [{"id": "student"}, {"id": "debate"}]}
        self.url = ""

    async def list_models(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            return web.json_response({"error": f"bad key, not {KEY}"}, status=401)
        return web.json_response(self.models)

    async def chat(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(await request.json())
        if self.reply is not None:
            return self.reply
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        for event in self.events:
            text = event if isinstance(event, str) else json.dumps(event)
            await response.write(f": a comment\n\ndata: {text}\n\n".encode())
            await asyncio.sleep(self.pause_s)
        if self.done:
            await response.write(b"data: [DONE]\n\n")
        return response


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    app = web.Application()
    app.router.add_get("/v1/models", server.list_models)
    app.router.add_post("/v1/chat/completions", server.chat)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    yield server
    await runner.cleanup()


def delta(**says: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": says}], "usage": None}


USAGE = {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 4}}
ROLE = delta(role="assistant", content="")


async def ask(server: Server, endpoint: Endpoint | None = None) -> Heard:
    heard = Heard()
    async with endpoint or Endpoint(f"{server.url}/", "student", KEY, SAMPLING) as to:
        await to.ask(ASKED, heard)
    return heard


async def test_a_stream_is_heard_token_by_token(server: Server) -> None:
    server.events = [ROLE, delta(content="fo"), delta(content="ur"), USAGE]
    server.pause_s = 0.1
    began = monotonic()
    heard = await ask(server)
    assert heard.tokens == 4  # by usage, in two parts
    assert heard.first is not None and heard.first - began >= 0.1  # not at the role
    assert heard.inter_token_s is not None and heard.inter_token_s >= 0.09 / 3
    (sent,) = server.requests
    assert sent == {
        "model": "student",
        "messages": ASKED,
        "temperature": 0.7,
        "top_p": 0.9,
        "max_tokens": 16,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


async def test_parts_are_counted_where_there_is_no_usage(server: Server) -> None:
    server.events = [ROLE, delta(reasoning_content="Hm."), delta(content="four")]
    endpoint = Endpoint(server.url, "student", KEY, SAMPLING)
    assert (await ask(server, endpoint)).tokens == 2
    assert endpoint.without_usage == 1


async def test_a_server_that_does_not_stream(server: Server) -> None:
    server.reply = web.json_response({"choices": [{}], "usage": {"completion_tokens": 7}})
    heard = await ask(server)
    assert (heard.tokens, heard.inter_token_s) == (7, None)
    assert heard.first == heard.last is not None


@pytest.mark.parametrize(
    ("events", "done", "kind"),
    [
        ([ROLE, USAGE], True, "empty"),
        ([delta(content="fo")], False, "cut off"),
        ([delta(content="fo"), {"error": {"message": "engine died"}}], True, "stream error"),
        (["{"], True, "malformed"),
        (["[1]"], True, "malformed"),
        (['{"choices": "%s"}' % ("x" * 3_000_000)], True, "malformed"),
    ],
)
async def test_streams_that_go_wrong(
    server: Server, events: list[Any], done: bool, kind: str
) -> None:
    server.events, server.done = events, done
    with pytest.raises(RequestFailed) as failed:
        await ask(server)
    assert failed.value.kind == kind


@pytest.mark.parametrize(
    ("status", "text", "kind"),
    [
        (429, f"busy, {KEY}", "http 429"),
        (500, "", "http 500"),
        (200, "<html>", "malformed"),
        (200, "{}", "malformed"),
        (200, "[]", "malformed"),
    ],
)
async def test_answers_that_are_none(server: Server, status: int, text: str, kind: str) -> None:
    server.reply = web.Response(status=status, text=text, content_type="application/json")
    with pytest.raises(RequestFailed) as failed:
        await ask(server)
    assert failed.value.kind == kind
    assert KEY not in str(failed.value)


async def test_nobody_listens(server: Server) -> None:
    with pytest.raises(RequestFailed) as failed:
        await ask(server, Endpoint("http://127.0.0.1:1/v1", "student", KEY, SAMPLING))
    assert failed.value.kind == "connection"


async def test_a_whole_load_over_http(server: Server) -> None:
    server.events = [ROLE, delta(content="fo"), delta(content="ur"), USAGE]
    server.pause_s = 0.03
    async with Endpoint(server.url, "student", KEY, SAMPLING) as endpoint:
        plan = Plan(rates=(20.0,), seconds=1.0, targets=Targets(ttft_ms=9_000.0))
        (found,) = await offer_load(endpoint.ask, itertools.repeat(ASKED), plan)
    assert found["answered"] == len(server.requests) == found["requests"] > 5
    assert found["good_share"] == 1.0
    assert found["ttft_ms"]["p50"] >= 30
    assert found["e2e_ms"]["p50"] >= 90


async def test_models_of_a_server(server: Server) -> None:
    assert await served_models(f"{server.url}/", KEY) == ["student", "debate"]
    with pytest.raises(ConfigError, match="HTTP 401") as refused:
        await served_models(server.url, "wrong")
    with pytest.raises(ConfigError, match="HTTP 401") as refused:
        await served_models(server.url, None)
    assert "wrong" not in str(refused.value)
    with pytest.raises(ConfigError, match=r"127.0.0.1:1/v1/models: "):
        await served_models("http://127.0.0.1:1/v1", None)
    server.models = {"models": []}
    with pytest.raises(ConfigError, match="not a list of models"):
        await served_models(server.url, KEY)
