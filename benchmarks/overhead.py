"""What orchestration costs: debates with a fake engine of fixed latency through the real Ray job.

Every completion takes `latency` seconds of waiting and no computing, so an ideal orchestrator holds
in_flight x actors / (rounds x latency) debates a second. The ratio is the rate of the real job
(Ray Data, checkpointing, Parquet) over that, between 15 % and 85 % of its debates, once all actors
are up. The CPU time of the actors over their completions tells what one completion costs, and so
how many completions a second one core can orchestrate. Two peers are timed in this process, without
Ray: the fake engine asked directly by as many requests as one actor has open, which also shows
timers that are late and a loop that is busy, and `run_debate` alone.

Actors share this machine's cores: on a few cores a larger pool meets the cores' limit, not one of
the orchestration. `cpu_bound` says where the ideal rate needs more CPU than there is.
"""

import argparse
import asyncio
import os
import tempfile
import time
from functools import partial
from typing import Any

import uvloop

from agentark_ray.config import Config, parse_config
from agentark_ray.debate.run import run_debate
from agentark_ray.engine.scripted import ScriptedEngine
from agentark_ray.grading.numeric import NUMERIC
from agentark_ray.session import ray_session
from agentark_ray.traces.asking import spare_garbage_collection
from agentark_ray.types import Sampling
from benchmarks.common import debate_protocol, eval_questions, finish, gather_at_most, say


def ideal_rate(actors: int, in_flight: int, rounds: int, latency_s: float) -> float:
    """Debates a second if only the engines' latency took time."""
    return actors * in_flight / (rounds * latency_s)


def job_config(args: argparse.Namespace, output: str, actors: int, debates: int) -> Config:
    """A job of `debates` training questions on scripted engines."""
    debate = {"agents": args.agents, "rounds": args.rounds, "stop": "fixed", "max_tokens": 64}
    engine = {
        "type": "scripted",
        "scripted_latency_s": args.latency,
        "max_model_len": 65536,
        "actors": actors,
        "in_flight": args.in_flight,
        "rows_per_block": args.rows_per_block,
    }
    tasks = {"name": "arithmetic", "train_questions": debates, "eval_questions": 1}
    values = {"output": output, "tasks": tasks, "debate": debate, "engine": engine}
    return parse_config(values, [], "benchmark")


def in_job(args: argparse.Namespace, actors: int, debates: int) -> dict[str, Any]:
    """The rate and the actors' CPU time of one Ray job."""
    from benchmarks.job import run_job, slope, steady

    ideal = ideal_rate(actors, args.in_flight, args.rounds, args.latency)
    with tempfile.TemporaryDirectory() as folder:
        found = steady(run_job(job_config(args, f"{folder}/run", actors, debates), ""), debates)
    done = [float(sample.done) for sample in found]
    rate = slope([sample.seconds for sample in found], done)
    completions = args.agents * args.rounds
    cpu_us = 1e6 * slope(done, [sample.cpu_s for sample in found]) / completions
    return {
        "debates": debates,
        "ideal_debates_per_s": round(ideal, 1),
        "debates_per_s": round(rate, 1),
        "completions_per_s": round(rate * completions, 1),
        "share_of_ideal": round(rate / ideal, 3),
        "actor_cpu_us_per_completion": round(cpu_us, 1),
        "cpu_bound": ideal * completions * cpu_us / 1e6 > (os.cpu_count() or 1),
    }


async def engine_alone(args: argparse.Namespace, seconds: float = 4.0) -> float:
    """Completions a second of the fake engine itself, with in_flight x agents requests open."""
    engine = ScriptedEngine(seed=0, latency_s=args.latency, accuracy=0.6, max_model_len=65536)
    sampling = Sampling(temperature=0.7, top_p=1.0, max_tokens=64)
    (question,) = eval_questions(1)
    deadline = time.perf_counter() + seconds

    async def ask(agent: int) -> int:
        asked = 0
        while time.perf_counter() < deadline:
            await engine(agent, [{"role": "user", "content": question.text}], sampling)
            asked += 1
        return asked

    started = time.perf_counter()
    asked = await asyncio.gather(*(ask(agent) for agent in range(args.in_flight * args.agents)))
    return sum(asked) / (time.perf_counter() - started)


async def alone(args: argparse.Namespace, debates: int) -> dict[str, Any]:
    """CPU time of `run_debate` and the scripted engine in this process, without Ray."""
    engine = ScriptedEngine(seed=0, latency_s=args.latency, accuracy=0.6, max_model_len=65536)
    protocol = debate_protocol(agents=args.agents, rounds=args.rounds, stop="fixed", max_tokens=64)
    spare_garbage_collection()  # as actors do
    jobs = [partial(run_debate, q, protocol, engine, NUMERIC) for q in eval_questions(debates)]
    wall, cpu = time.perf_counter(), time.process_time()
    await gather_at_most(args.in_flight, jobs)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    completions = debates * args.agents * args.rounds
    return {
        "cpu_us_per_completion": round(1e6 * cpu / completions, 1),
        "completions_per_s": round(completions / wall, 1),
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument("--actors", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--agents", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--in-flight", type=int, default=64, help="debates an actor holds at once")
    parser.add_argument("--latency", type=float, default=0.05, help="seconds of a completion")
    parser.add_argument("--rows-per-block", type=int, default=256, help="debates a file")
    parser.add_argument("--debates", type=int, default=12_000, help="of each job")


QUICK = {"actors": [1], "debates": 3000}


def run(args: argparse.Namespace) -> None:
    """Entry point."""
    engine_rate = round(uvloop.run(engine_alone(args)), 1)
    say(f"overhead: the engine alone: {engine_rate} completions/s")
    by_itself = uvloop.run(alone(args, min(args.debates, 2000)))
    say(f"overhead: run_debate alone: {by_itself}")
    found: dict[str, Any] = {}
    with ray_session(cpus=max(args.actors) + 2):
        for actors in args.actors:
            found[str(actors)] = in_job(args, actors, args.debates)
            say(f"overhead: {actors} actors: {found[str(actors)]}")
    ratios = {f"ideal_rate_{n}_actors": figures["share_of_ideal"] for n, figures in found.items()}
    for n, figures in found.items():
        ratios[f"engine_rate_{n}_actors"] = figures["completions_per_s"] / (int(n) * engine_rate)
    names = ("agents", "rounds", "in_flight", "latency", "rows_per_block")
    settings = {name: getattr(args, name) for name in names}
    peers = {"engine_completions_per_s": engine_rate, "run_debate": by_itself}
    finish("debate_overhead", ratios, {"settings": settings, **peers, "jobs": found})
