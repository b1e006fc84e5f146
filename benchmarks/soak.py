"""The served application under a steady load for half an hour: failures, latency and memory.

The tiny model answers alone (`base`) and in debates, whose questions come by a Poisson process at
`--share` of the rate that clients who wait for each other reached before. Memory is what the
server's processes have to themselves (USS), without the model's cache, which does not grow. The
ratios are that memory at the end over that after `--warm` of the time, and requests without an
answer over all.
"""

import argparse
import asyncio
import itertools
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from agentark_ray.load.http import Endpoint
from agentark_ray.load.offer import Heard, Plan, offer_load
from agentark_ray.models import resolve_model
from agentark_ray.types import Sampling
from benchmarks.common import eval_questions, finish, say
from benchmarks.serve import free_port, our_command, server

LOOK_S = 15.0
SAMPLING = Sampling(max_tokens=96, temperature=1.0, top_p=1.0)
Item = tuple[str, str]  # model, question


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """The server's processes at one moment."""

    seconds: float  # since the load began
    processes: int
    mb: float


class Clients:
    """Asks the models of one server."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._by_model: dict[str, Endpoint] = {}

    async def __aenter__(self) -> "Clients":
        for model in ("base", "debate"):
            made = Endpoint(self._url, model, None, SAMPLING)
            self._by_model[model] = await made.__aenter__()
        return self

    async def __aexit__(self, *raised: object) -> None:
        for made in self._by_model.values():
            await made.__aexit__(*raised)

    async def ask(self, item: Item, heard: Heard) -> None:
        """Raises RequestFailed."""
        model, question = item
        await self._by_model[model].ask([{"role": "user", "content": question}], heard)


def items(debate_every: int) -> Iterator[Item]:
    """Questions without end; each `debate_every`th is for the debate."""
    texts = itertools.cycle([question.text for question in eval_questions(500)])
    for index, text in enumerate(texts):
        yield "base" if index % debate_every else "debate", text


async def capacity(clients: Clients, asked: Iterator[Item], count: int, at_once: int) -> float:
    """Requests a second when `at_once` clients wait for their answers."""
    waiting = list(itertools.islice(asked, count))

    async def work() -> None:
        while waiting:
            await clients.ask(waiting.pop(), Heard())

    started = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(at_once)))
    return count / (time.perf_counter() - started)


def look(root: psutil.Process, began: float) -> Look:
    """Memory of a process and all below it."""
    found = [root, *root.children(recursive=True)]
    used = []
    for process in found:
        with suppress(psutil.NoSuchProcess):
            used.append(process.memory_full_info().uss / 1e6)
    return Look(seconds=time.monotonic() - began, processes=len(used), mb=sum(used))


async def looks_during(root: psutil.Process, found: list[Look]) -> None:
    """Look until cancelled."""
    began = time.monotonic()
    while True:
        found.append(await asyncio.to_thread(look, root, began))
        await asyncio.sleep(LOOK_S)


async def soak(url: str, root: psutil.Process, args: argparse.Namespace) -> dict[str, Any]:
    """Capacity, then the load; its figures and the looks."""
    asked = items(args.debate_every)
    found: list[Look] = []
    async with Clients(url) as clients:
        await capacity(clients, asked, args.clients, args.clients)  # warm up
        most = await capacity(clients, asked, args.requests, args.clients)
        say(f"soak: {most:.2f} requests/s with {args.clients} clients who wait")
        watch = asyncio.create_task(looks_during(root, found))
        plan = Plan(rates=(args.share * most,), seconds=60 * args.minutes, timeout_s=300)
        (figures,) = await offer_load(clients.ask, asked, plan)
        watch.cancel()
    return {"capacity": most, "load": figures, "looks": found}


def growth(looks: Sequence[Look], warm: float) -> float:
    """Memory in the last tenth of the time over that in the tenth after the share `warm` of it."""
    whole = looks[-1].seconds
    start = [one.mb for one in looks if warm <= one.seconds / whole < warm + 0.1]
    end = [one.mb for one in looks if one.seconds / whole >= 0.9]
    return statistics.median(end) / statistics.median(start)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--share", type=float, default=0.7, help="of the capacity")
    parser.add_argument("--warm", type=float, default=0.1, help="share of the time before memory")
    parser.add_argument("--debate-every", type=int, default=10, help="requests")
    parser.add_argument("--clients", type=int, default=16, help="of the capacity")
    parser.add_argument("--requests", type=int, default=300, help="of the capacity")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        port, model = free_port(), resolve_model("tiny")
        command = our_command(Path(temporary) / "run", model, port, stream_tokens=8)
        with server(command, port) as url:
            (root,) = (
                process
                for process in psutil.Process().children()
                if process.cmdline()[-len(command) + 1 :] == command[1:]
            )
            found = asyncio.run(soak(url, root, args))
    load, looks = found["load"], found["looks"]
    failed = sum(load["errors"].values())
    ratios = {"memory_growth": growth(looks, args.warm), "failed": failed / load["requests"]}
    details = {
        "capacity_requests_per_s": round(found["capacity"], 2),
        "load": load,
        "looks": [asdict(one) for one in looks[:: max(1, len(looks) // 20)]],
    }
    finish("soak", ratios, details)


if __name__ == "__main__":
    main()
