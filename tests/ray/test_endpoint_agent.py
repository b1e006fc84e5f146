"""A debate of the run's engine and one agent at an endpoint that misbehaves, on a real cluster."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from agentark_ray.lost_nodes import root_cause
from agentark_ray.traces.asking import TooManyFailures
from agentark_ray.traces.generate import trace_dataset, verify_traces
from tests.endpoint import listening_beside
from tests.ray.helpers import assert_whole, config_for, hold

pytestmark = [pytest.mark.usefixtures("ray_cluster"), pytest.mark.timeout(240)]

FAR = 1  # the agent at the endpoint
SAID = "The endpoint says \\boxed{42}"
FAULTS = (429, 500, 429, 500, 429)  # no more than `engine.endpoint_retries`
AT_ONCE = 3


class Server:
    """Fails as FAULTS says, then answers; counts requests and how many overlap."""

    def __init__(self) -> None:
        self.latency_s = 0.02
        self.asked = self.at_once = self.most_at_once = 0
        self.url = ""

    async def models(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "big", "object": "model"}]})

    async def chat(self, request: web.Request) -> web.Response:
        self.asked += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            return await self._reply(self.asked)
        finally:
            self.at_once -= 1

    async def _reply(self, number: int) -> web.Response:
        await asyncio.sleep(self.latency_s)
        if number <= len(FAULTS):
            return web.json_response(
                {"error": {"message": "busy"}},
                status=FAULTS[number - 1],
                headers={"Retry-After": "0"},
            )
        message = {"role": "assistant", "content": SAID}
        return web.json_response(
            {
                **{"id": "c", "object": "chat.completion", "created": 1, "model": "big"},
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13},
            }
        )


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server()
    with listening_beside(found.models, found.chat) as found.url:
        yield found


def overrides(server: Server) -> list[str]:
    return [
        f"debate.team=[{{}}, {{model: big, endpoint: '{server.url}'}}, {{}}]",
        "debate.stop=fixed",
        f"engine.endpoint_concurrency={AT_ONCE}",
        "engine.retries=0",
    ]


def said(row: dict[str, Any]) -> set[tuple[bool, bool]]:
    """Of every turn: whether its agent's model is the endpoint's, and whether its words are."""
    far = [" at http" in model for model in row["models"]]
    return {(far[turn["agent"]], turn["text"] == SAID) for turn in row["turns"]}


def test_an_agent_at_an_endpoint_that_fails_at_first(
    tmp_path: Path, gsm8k_file: Callable[[int], Path], server: Server
) -> None:
    config = config_for(tmp_path, gsm8k_file(150), *overrides(server))
    folder, total = hold(config)
    assert_whole(config, total)
    assert verify_traces(folder, config, "traces", total)["failed"] == 0
    rows = trace_dataset(folder, "traces").to_table().to_pylist()
    assert {tuple(row["models"]) for row in rows} == {("m", f"big at {server.url}", "m")}
    assert set().union(*map(said, rows)) == {(True, True), (False, False)}
    turns = [turn for row in rows for turn in row["turns"] if turn["agent"] == FAR]
    assert {turn["output_tokens"] for turn in turns} == {4}
    assert server.asked == len(FAULTS) + len(turns)
    assert server.most_at_once == AT_ONCE


def test_an_endpoint_that_hangs_ends_the_run_as_failures_do(
    tmp_path: Path, gsm8k_file: Callable[[int], Path], server: Server
) -> None:
    """The engine beside it does not die of it."""
    server.latency_s = 60.0
    config = config_for(
        tmp_path,
        gsm8k_file(150),
        *overrides(server),
        "engine.timeout_s=0.5",
        "engine.endpoint_retries=0",
    )
    with pytest.raises(Exception, match="debates failed") as caught:
        hold(config)
    told = root_cause(caught.value)
    assert isinstance(told, TooManyFailures)
    assert f"TimeoutError: {server.url}: no answer in 0.5 s" in str(told)
