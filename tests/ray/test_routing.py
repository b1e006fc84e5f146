"""Prompts that begin alike go to one replica, by a real handle of a real deployment."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest
from ray import serve
from ray.serve.llm import openai_api_models as wire

from agentark_ray.serving.config import LimitsConfig, PoolConfig
from agentark_ray.serving.engines import LOST, engine_options
from agentark_ray.session import ray_session

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
REPLICAS = 3


class Engine:
    """Says which process it is; a prompt may ask it to take a second."""

    async def chat(self, request: Any, raw_request_info: Any = None) -> AsyncIterator[int]:
        await asyncio.sleep(request.messages[-1]["content"].endswith("slowly"))
        yield os.getpid()


def request(*contents: str) -> wire.ChatCompletionRequest:
    messages: list[Any] = [
        {"role": role, "content": content}
        for role, content in zip(("system", "user"), contents, strict=False)
    ]
    return wire.ChatCompletionRequest(model="m", messages=messages)


async def answered(handle: Any, *contents: str) -> int:
    """The process that has answered, by the second attempt at the latest."""
    async with asyncio.timeout(30):
        for _ in range(3):
            try:
                return await anext(handle.chat.remote(request(*contents), None))
            except LOST:
                pass
    raise AssertionError("three replicas were lost")


async def routes(handle: Any) -> None:
    def rounds(debate: int) -> list[str]:
        question = f"Question {debate}: " + f"{debate} " * 200
        return [question + " and an answer" * 40 * number for number in range(6)]

    asked = [[await answered(handle, "Be brief.", text) for text in rounds(n)] for n in range(12)]
    assert [len(set(pids)) for pids in asked] == [1] * 12
    assert len({pids[0] for pids in asked}) > 1
    for _ in range(3):
        await answered(handle, "")
    together = [answered(handle, "", rounds(0)[0] + "slowly") for _ in range(30)]
    assert len(set(await asyncio.gather(*together))) > 1  # the first one has too much to do

    home = asked[0][0]
    os.kill(home, signal.SIGKILL)
    moved = [await answered(handle, "Be brief.", text) for text in rounds(0)]
    assert home not in moved and len(set(moved)) == 1


def test_prompts_that_begin_alike_go_to_one_replica() -> None:
    pool = PoolConfig(min_replicas=REPLICAS, max_replicas=REPLICAS + 1, target_ongoing=8)
    with ray_session(cpus=8):
        serve.start(proxy_location="Disabled")
        made: Any = serve.deployment(Engine, name="engine", **engine_options(pool, LimitsConfig()))
        handle = serve.run(made.bind(), route_prefix=None).options(stream=True)
        try:
            asyncio.run(routes(handle))
        finally:
            serve.shutdown()
