"""The served application against a bare vLLM server, and a debate against its own slowest chain.

`student`: the same requests to one model behind `agentark serve` and behind vLLM's own server, each
of which runs alone, with the same number of threads (OMP_NUM_THREADS); ratios of output tokens a
second and of the median time to the first token. `debate`: the time of a debate over the sum of its
rounds' slowest answers. Servers listen on loopback; the load is bounded by `--concurrency`.
"""

import argparse
import asyncio
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp

from agentark_ray.config import parse_config
from agentark_ray.debate.layouts import ask
from agentark_ray.models import resolve_model
from agentark_ray.run_folder import RunFolder
from agentark_ray.serving.config import LimitsConfig
from agentark_ray.tasks.registry import TASKS
from benchmarks.common import CPU_THREADS, RANDOM_MODELS, eval_questions, finish, say
from benchmarks.random_model import make_random_model

START_S = 600
MAX_LEN = 2048
LENGTH_STEP = 37  # of output lengths, from one request to the next


def free_port() -> int:
    """A port of this machine that nobody listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextmanager
def server(command: Sequence[str], port: int, **environment: str) -> Iterator[str]:
    """A server process and what it started; its URL once it lists its models."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, **environment},
        )
        url = f"http://127.0.0.1:{port}/v1"
        try:
            _wait(url, process, log)
            yield url
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(90)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def _wait(url: str, process: subprocess.Popen[bytes], log: Any) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until and process.poll() is None:
        try:
            urllib.request.urlopen(f"{url}/models", timeout=5).close()
            return
        except OSError:
            time.sleep(1)
    log.seek(0)
    sys.exit(f"no server at {url}: {log.read()[-3000:].decode(errors='replace')}")


def vllm_command(model: str, port: int) -> list[str]:
    """vLLM's own server with the engine settings that the application gives its engines."""
    return [
        *(sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", model),
        *("--served-model-name", "base", "--port", str(port), "--host", "127.0.0.1"),
        *("--max-model-len", str(MAX_LEN), "--enforce-eager", "--block-size", "32"),
        *("--seed", "17", "--disable-access-log-for-endpoints", "/v1/chat/completions"),
    ]


def our_command(folder: Path, model: str, port: int, stream_tokens: int) -> list[str]:
    """The application, serving the same model as `base`."""
    config = parse_config(
        {"engine": {"max_model_len": MAX_LEN, "cpu_threads": CPU_THREADS}},
        [f"output={folder}", f"model={model}"],
        "benchmark",
    )
    RunFolder(config.output).open(config, resolve_model(model))
    settings = folder / "serve.yaml"
    values = {
        "run": str(folder),
        "models": ["base", "debate"],
        "port": port,
        "limits": {"stream_tokens": stream_tokens},
    }
    settings.write_text(json.dumps(values))  # JSON is YAML
    return [sys.executable, "-m", "agentark_ray.cli", "serve", str(settings)]


def bodies(count: int, tokens: int) -> list[dict[str, Any]]:
    """Streamed chat requests of `tokens` output tokens each on average, from half to one and a half
    of it, so that they do not end together."""
    instruction = TASKS["arithmetic"].grader.instruction
    return [
        {
            "model": "base",
            "messages": [{"role": "user", "content": ask(question.text, instruction)}],
            "max_tokens": tokens // 2 + index * LENGTH_STEP % tokens,
            "temperature": 1.0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        for index, question in enumerate(eval_questions(count))
    ]


async def events(session: aiohttp.ClientSession, url: str, body: Any) -> AsyncIterator[Any]:
    """The chunks of a stream."""
    async with session.post(f"{url}/chat/completions", json=body) as response:
        response.raise_for_status()
        async for line in response.content:
            data = line.decode().removeprefix("data: ").strip()
            if data and data != "[DONE]":
                yield json.loads(data)


async def load(url: str, asked: Sequence[Any], concurrency: int) -> dict[str, float]:
    """All requests, `concurrency` at once: output tokens a second, median ms to the first text."""
    waiting = list(asked)
    firsts: list[float] = []
    tokens = 0

    async def work(session: aiohttp.ClientSession) -> None:
        nonlocal tokens
        while waiting:
            body, started, first = waiting.pop(), time.perf_counter(), None
            async for chunk in events(session, url, body):
                if (
                    first is None
                    and chunk["choices"]
                    and chunk["choices"][0]["delta"].get("content")
                ):
                    first = time.perf_counter() - started
                if chunk.get("usage"):
                    tokens += chunk["usage"]["completion_tokens"]
            assert first is not None, "an answer without text"
            firsts.append(first)

    started = time.perf_counter()
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(600)) as session:
        await asyncio.gather(*(work(session) for _ in range(concurrency)))
    seconds = time.perf_counter() - started
    return {"tokens_per_s": tokens / seconds, "ttft_ms": 1000 * statistics.median(firsts)}


def against_vllm(model: str, args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Figures of both servers, one after the other: an idle one takes CPU time from the other."""
    port = free_port()
    asked = bodies(args.requests, args.tokens)
    environment = {
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": str(CPU_THREADS),
    }
    with server(vllm_command(model, port), port, **environment) as url:
        theirs = asyncio.run(turns_of("vllm", url, asked, args))
    with server(our_command(folder, model, port, args.stream_tokens), port) as url:
        ours = asyncio.run(turns_of("ours", url, asked, args))
        chain = asyncio.run(slowest_chain(url, args.debates))
    found = {"vllm": theirs, "ours": ours}
    medians = {
        name: {key: statistics.median(one[key] for one in turns) for key in turns[0]}
        for name, turns in found.items()
    }
    return {"medians": medians, "turns": found, "debate_over_chain": chain}


async def turns_of(
    name: str, url: str, asked: Sequence[Any], args: argparse.Namespace
) -> list[dict[str, float]]:
    """Figures of each turn of one server, which is warm."""
    await load(url, asked[: args.concurrency], args.concurrency)
    found = []
    for turn in range(args.turns):
        found.append(now := await load(url, asked, args.concurrency))
        told = f"{now['tokens_per_s']:,.0f} tokens/s, first {now['ttft_ms']:.0f} ms"
        say(f"serve: {name}, turn {turn + 1}: {told}")
    return found


async def slowest_chain(url: str, count: int) -> float:
    """Median of a debate's seconds over the sum of its rounds' slowest answers, alone."""
    ratios = []
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(600)) as session:
        for question in eval_questions(count):
            body = {
                "model": "debate",
                "messages": [{"role": "user", "content": question.text}],
                "max_tokens": 64,
                "stream": True,
            }
            started, slowest = time.perf_counter(), dict[int, float]()
            async for chunk in events(session, url, body):
                told = chunk.get("agentark") or {}
                if told.get("event") == "turn":
                    before = slowest.get(told["round"], 0.0)
                    slowest[told["round"]] = max(before, told["latency_ms"])
            ratios.append(1000 * (time.perf_counter() - started) / sum(slowest.values()))
    return statistics.median(ratios)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--models", nargs="+", default=["100M", "tiny"], choices=["100M", "tiny"])
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--requests", type=int, default=48, help="a turn")
    parser.add_argument("--tokens", type=int, default=128, help="output, mean of the requests")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--stream-tokens", type=int, default=LimitsConfig().stream_tokens)
    parser.add_argument("--debates", type=int, default=10)
    args = parser.parse_args()
    ratios: dict[str, float] = {}
    details: dict[str, Any] = {"concurrency": args.concurrency, "requests": args.requests}
    with tempfile.TemporaryDirectory() as temporary:
        for name in args.models:
            model = "tiny"
            if name == "100M":
                model = f"{temporary}/model"
                details["parameters"] = make_random_model(Path(model), **RANDOM_MODELS[name])
            found = against_vllm(resolve_model(model), args, Path(temporary) / f"run-{name}")
            ours, theirs = found["medians"]["ours"], found["medians"]["vllm"]
            ratios[f"{name}_throughput"] = ours["tokens_per_s"] / theirs["tokens_per_s"]
            ratios[f"{name}_first_token"] = ours["ttft_ms"] / theirs["ttft_ms"]
            ratios[f"{name}_debate_over_chain"] = found.pop("debate_over_chain")
            details[name] = found
    finish("serve", ratios, details)


if __name__ == "__main__":
    main()
