"""Output tokens a second inside the Ray job against the same requests sent straight to vLLM.

The job holds debates (layout `shared`, all rounds) on the random model, through Ray Data, debates
in flight, checkpointing and Parquet. Then, in a plain process, the very prompts of its traces, in
their order and already tokenised, are all submitted to an AsyncLLM with the same settings at once:
the peer knows later rounds' prompts in advance and has nothing to wait for. Both are timed from a
warm engine to the last token, start-up left out, and take turns; the ratio is that of the medians.

On CPU the engine shares the cores with the job. The model of 3M parameters is so fast that what it
leaves to others counts; with `--model 100M` the engine is the bottleneck, as a GPU's is.
"""

import argparse
import asyncio
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import uvloop

from agentark_ray.config import Config, parse_config
from agentark_ray.engine.vllm import VllmEngine, render
from agentark_ray.run_folder import RunFolder
from agentark_ray.session import ray_session
from agentark_ray.traces.asking import spare_garbage_collection
from agentark_ray.types import Message
from benchmarks.common import CONTEXT, CPU_THREADS, RANDOM_MODELS, engine_settings, finish, say


def job_config(args: argparse.Namespace, output: str) -> Config:
    """A job on one engine."""
    debate = {
        "agents": args.agents,
        "rounds": args.rounds,
        "layout": "shared",
        "stop": "fixed",
        "temperature": 1.0,
        "max_tokens": args.tokens,
    }
    engine = {
        "max_model_len": CONTEXT,
        "in_flight": args.in_flight,
        "cpu_threads": CPU_THREADS,
    }
    tasks = {"name": "arithmetic", "train_questions": args.debates, "eval_questions": 1}
    values = {"output": output, "tasks": tasks, "debate": debate, "engine": engine}
    return parse_config(values, [], "benchmark")


def in_job(config: Config, model: str) -> dict[str, Any]:
    """Tokens a second of the job, from the first ready engine to its last debate."""
    from benchmarks.job import run_job

    last = run_job(config, model)[-1]
    return _figures(last.output_tokens, last.seconds)


def prompts_of(output: str) -> list[list[Message]]:
    """The prompts of a job's traces: debate by debate, in the order of asking."""
    from agentark_ray.traces.read import trace_dataset

    rows = trace_dataset(RunFolder(output), "traces").to_table(columns=["turns"]).to_pylist()
    return [turn["messages"] for row in rows for turn in row["turns"]]


async def straight(args: argparse.Namespace, model: str, prompts: list[Any]) -> dict[str, Any]:
    """Tokens a second of the prompts on a bare AsyncLLM that runs as the job's engine does."""
    from transformers import AutoTokenizer
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    tokenizer = AutoTokenizer.from_pretrained(model)
    ids = [render(tokenizer, prompt, {}) for prompt in prompts]
    engine = VllmEngine(**engine_settings(model))
    await engine.start()
    spare_garbage_collection()  # as actors do
    params = SamplingParams(
        temperature=1.0,
        max_tokens=args.tokens,
        logprobs=0,  # the job's traces hold each completion's mean log-probability
        output_kind=RequestOutputKind.FINAL_ONLY,
    )

    async def ask(index: int) -> int:
        tokens = 0
        request = {"prompt_token_ids": ids[index]}
        async for output in engine.llm.generate(request, params, f"straight-{index}"):
            tokens = len(output.outputs[0].token_ids)
        return tokens

    try:
        started = time.perf_counter()
        tokens = sum(await asyncio.gather(*(ask(index) for index in range(len(ids)))))
        return _figures(tokens, time.perf_counter() - started)
    finally:
        engine.stop()


def _figures(tokens: int, seconds: float) -> dict[str, Any]:
    return {
        "output_tokens": tokens,
        "seconds": round(seconds, 2),
        "output_tokens_per_s": round(tokens / seconds, 1),
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument("--model", choices=list(RANDOM_MODELS), default="3M", help="its parameters")
    parser.add_argument("--debates", type=int, default=512)
    parser.add_argument("--agents", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=85, help="of every answer")
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)


QUICK = {"debates": 64, "repeats": 1}


def run(args: argparse.Namespace) -> None:
    """Entry point."""
    from benchmarks.random_model import make_random_model

    runs: dict[str, list[dict[str, Any]]] = {"job": [], "straight": []}
    with tempfile.TemporaryDirectory() as folder:
        model = f"{folder}/model"
        make_random_model(Path(model), **RANDOM_MODELS[args.model])
        for repeat in range(args.repeats):
            output = f"{folder}/run-{repeat}"
            with ray_session():
                runs["job"].append(in_job(job_config(args, output), model))
            say(f"saturation: in the Ray job: {runs['job'][-1]}")
            runs["straight"].append(uvloop.run(straight(args, model, prompts_of(output))))
            say(f"saturation: straight to vLLM: {runs['straight'][-1]}")
    rates = {side: median(run["output_tokens_per_s"] for run in of) for side, of in runs.items()}
    ratios = {"output_tokens_per_s": rates["job"] / rates["straight"]}
    names = ("model", "debates", "agents", "rounds", "tokens", "in_flight")
    settings = {name: getattr(args, name) for name in names}
    finish("debate_saturation", ratios, {"settings": settings, **runs})
