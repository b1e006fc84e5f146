"""A fake OpenAI-compatible server: what it answers is up to the test."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from aiohttp import web
from anyio.from_thread import start_blocking_portal

from agentark_ray.types import Message, Sampling

KEY = "sk-very-secret-42"
ASKED: list[Message] = [{"role": "user", "content": "2 + 2 = ?"}]
SAMPLING = Sampling(temperature=0.7, top_p=0.9, max_tokens=16)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def listening(models: Handler, chat: Handler) -> AsyncIterator[str]:
    """Serve /models and /chat/completions on a free port; the URL up to where these begin."""
    app = web.Application()
    app.add_routes([web.get("/v1/models", models), web.post("/v1/chat/completions", chat)])
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()


@contextmanager
def listening_beside(models: Handler, chat: Handler) -> Iterator[str]:
    """The same in a thread of its own, for tests that block."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(listening(models, chat)) as url,
    ):
        yield url
