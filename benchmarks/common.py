"""What benchmarks share: where they print, the debate they hold, and how many at once."""

import asyncio
import importlib.util
import json
import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from agentark_ray.config import Config, parse_config
from agentark_ray.debate.protocol import DebateProtocol, arm_protocol
from agentark_ray.tasks.arithmetic import questions
from agentark_ray.types import Completion, Question, Split

T = TypeVar("T")
CONTEXT = 8192  # tokens the random model holds
# Threads of an engine: as a run has them, or what the user says.
CPU_THREADS = int(os.environ.get("OMP_NUM_THREADS") or max(1, (os.cpu_count() or 1) - 1))
# Random models by their parameters: fields of Qwen3Config that differ from those of the smallest.
RANDOM_MODELS: dict[str, dict[str, int]] = {
    "3M": {},
    "100M": {
        "hidden_size": 768,
        "intermediate_size": 2304,
        "num_hidden_layers": 14,
        "num_attention_heads": 12,
        "num_key_value_heads": 4,
    },
}


def say(text: str) -> None:
    """Progress, to stderr."""
    print(text, file=sys.stderr, flush=True)


def finish(name: str, ratios: Mapping[str, float], details: Mapping[str, Any]) -> None:
    """The result: one JSON object, the last line of stdout. Notes the machine's load."""
    load = [round(value, 2) for value in os.getloadavg()]
    details = {**details, "cores": os.cpu_count(), "load_average": load}
    rounded = {key: round(value, 3) for key, value in ratios.items()}
    print(json.dumps({"name": name, "ratios": rounded, "details": details}), flush=True)


def need(*names: str) -> None:
    """Ends the program, saying what to do, if a package is not installed."""
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        sys.exit(
            f"not installed: {', '.join(missing)}, which this benchmark measures against:"
            " pip install --no-deps -r requirements/bench.txt"
        )


def engine_settings(model: str, **changes: Any) -> dict[str, Any]:
    """Arguments of a VllmEngine on this machine's cores; `changes` replace some."""
    values: dict[str, Any] = {
        "model": model,
        "seed": 0,
        "max_model_len": CONTEXT,
        "tensor_parallel": 0,
        "gpu_memory_utilization": 0.9,
        "cpu_kv_cache_gib": 1,
        "cpu_threads": CPU_THREADS,
        "timeout_s": 3600.0,
        "trust_remote_code": False,
        "chat_template_kwargs": {},
    }
    return values | changes


def debate_config(**debate: Any) -> Config:
    """The default config with values of its section `debate` replaced."""
    return parse_config({"debate": debate}, [], "benchmark")


def debate_protocol(**debate: Any) -> DebateProtocol:
    """The debate arm of `debate_config`."""
    return arm_protocol(debate_config(**debate), "debate")


def eval_questions(count: int) -> list[Question]:
    """The first `count` held-out arithmetic questions."""
    return list(questions(Split.EVAL, 0, count))


async def gather_at_most(limit: int, jobs: Sequence[Callable[[], Awaitable[T]]]) -> list[T]:
    """All jobs' results in order; at most `limit` jobs run at once, the next starts as one ends."""
    slots = asyncio.Semaphore(limit)

    async def hold(job: Callable[[], Awaitable[T]]) -> T:
        async with slots:
            return await job()

    return await asyncio.gather(*(hold(job) for job in jobs))


def token_sums(completions: Sequence[Completion]) -> dict[str, Any]:
    """Completions, their tokens, and the share of prompt tokens that the prefix cache served."""
    prompt = sum(c.prompt_tokens for c in completions)
    cached = sum(c.cached_tokens for c in completions)
    return {
        "completions": len(completions),
        "output_tokens": sum(c.output_tokens for c in completions),
        "prompt_tokens": prompt,
        "cached_share": round(cached / prompt, 4) if prompt else 0.0,
        "prefilled_tokens": prompt - cached,
    }
