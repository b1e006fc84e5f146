"""Debates a second: ours against the batch loop of the paper's code, on one vLLM engine.

The peer is what AgentArk's generation code does: every round asks all agents of all questions in
one `LLM.generate` call (here: all requests are submitted to the same engine at once and all are
awaited, a barrier between rounds), with each agent's own chat history and the N-1 other answers,
and at the end one further completion a question aggregates the last answers. Ours is `run_debate`
with the layout `shared` and a vote, `in_flight` debates at once and no barrier.

The batch loop holds a whole round of all questions before the next, so in any job of more than a
few hundred questions a question's prefixes have left the KV cache when its next round comes (7B
parameters leave an 80 GB GPU about a million tokens; 1,000 questions of ten agents need ten times
that). The defaults keep this proportion at a size that runs in minutes: a round's prompts are more
tokens than the cache holds. `--kv-tokens 524288 --requests 120` shows a job so small that all fits.

Model, engine, sampling and the length of every answer are equal. The prefix cache is emptied before
each run, the order of the sides alternates, and the ratio is between medians. Two variants in
between tell what each difference is worth.
"""

import argparse
import asyncio
import gc
import itertools
import math
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from agentark_ray.debate.layouts import AGGREGATE, decide, paper
from agentark_ray.debate.run import run_debate
from agentark_ray.engine.base import Generate
from agentark_ray.engine.vllm import CPU_BLOCK_SIZE, VllmEngine
from agentark_ray.grading.numeric import NUMERIC
from agentark_ray.types import Completion, Message, Question, Sampling
from benchmarks.common import (
    debate_protocol,
    engine_settings,
    eval_questions,
    finish,
    gather_at_most,
    say,
    token_sums,
)


class SmallCacheEngine(VllmEngine):
    """The project's engine with a KV cache of `kv_tokens` tokens."""

    def __init__(self, model: str, kv_tokens: int) -> None:
        super().__init__(**engine_settings(model))
        self._args["num_gpu_blocks_override"] = kv_tokens // CPU_BLOCK_SIZE


Side = Callable[[Sequence[Question], Generate], Awaitable[list[Completion]]]


async def batch_loop(
    questions: Sequence[Question],
    generate: Generate,
    *,
    agents: int,
    rounds: int,
    sampling: Sampling,
    aggregate: bool,
) -> list[Completion]:
    """The peer: a barrier after every round; every completion it made, in order."""
    held: list[Completion] = []
    answers_Q_R_A: list[list[list[str]]] = [[] for _ in questions]
    instruction = NUMERIC.instruction
    for _ in range(rounds):
        prompts = [
            paper(question.text, instruction, answers_R_A, agent)
            for question, answers_R_A in zip(questions, answers_Q_R_A, strict=True)
            for agent in range(agents)
        ]
        said = await _generate_all(prompts, generate, sampling)
        for q, answers_R_A in enumerate(answers_Q_R_A):
            answers_R_A.append([c.text for c in said[q * agents : (q + 1) * agents]])
        held += said
    if aggregate:
        prompts = [
            decide(question.text, instruction, answers_R_A[-1], AGGREGATE)
            for question, answers_R_A in zip(questions, answers_Q_R_A, strict=True)
        ]
        held += await _generate_all(prompts, generate, sampling)
    return held


async def _generate_all(
    prompts: Sequence[Sequence[Message]], generate: Generate, sampling: Sampling
) -> list[Completion]:
    """What `LLM.generate(prompts)` does: submit all, wait for all."""
    return await asyncio.gather(*(generate(0, prompt, sampling) for prompt in prompts))


async def no_barrier(
    questions: Sequence[Question], generate: Generate, *, in_flight: int, **debate: Any
) -> list[Completion]:
    """Ours: every completion of `run_debate` over the questions.

    Raises:
        RuntimeError: a debate failed; a rate over failed debates means nothing.
    """
    protocol = debate_protocol(**debate, stop="fixed")
    jobs = [partial(run_debate, question, protocol, generate, NUMERIC) for question in questions]
    held = await gather_at_most(in_flight, jobs)
    for debate_ in held:
        if debate_.error_type:
            raise RuntimeError(f"{debate_.error_type}: {debate_.error_message}")
    return [turn.completion for debate_ in held for turn in debate_.turns]


def gain_shares(rates: dict[str, float]) -> dict[str, float]:
    """How much of log(ours / paper_code) each step from one side to the next explains; sums to 1.

    `rates` holds debates a second, from the peer to ours, each with one difference more.
    """
    names = list(rates)
    total = math.log(rates[names[-1]] / rates[names[0]])
    return {
        f"{before} -> {after}": round(math.log(rates[after] / rates[before]) / total, 3)
        for before, after in itertools.pairwise(names)
    }


def sides(agents: int, rounds: int, tokens: int, in_flight: int) -> dict[str, Side]:
    """From the peer to ours; each has one difference more than the one before."""
    sampling = Sampling(temperature=1.0, top_p=1.0, max_tokens=tokens)
    loop = partial(batch_loop, agents=agents, rounds=rounds, sampling=sampling)
    ours = partial(
        no_barrier,
        in_flight=in_flight,
        agents=agents,
        rounds=rounds,
        max_tokens=tokens,
        temperature=1.0,
    )
    return {
        "paper_code": partial(loop, aggregate=True),
        "no_aggregation": partial(loop, aggregate=False),
        "no_barrier": partial(ours, layout="paper"),
        "ours": partial(ours, layout="shared"),
    }


async def _time(side: Side, questions: Sequence[Question], engine: VllmEngine) -> dict[str, Any]:
    if not await engine.llm.reset_prefix_cache():
        raise RuntimeError("the prefix cache could not be emptied: requests are still running")
    gc.collect()
    started, cpu = time.perf_counter(), _engine_cpu_s()
    held = await side(questions, engine)
    seconds, cpu = time.perf_counter() - started, _engine_cpu_s() - cpu
    return {
        "debates_per_s": round(len(questions) / seconds, 4),
        "seconds": round(seconds, 2),
        "engine_cpu_s": round(cpu, 2),
        **token_sums(held),
    }


def _engine_cpu_s() -> float:
    """CPU time of the engine's process that computes; other load on the machine hardly moves it.

    Run with OMP_NUM_THREADS=1, else its threads spin while they wait for each other.
    """
    engines = [p for p in psutil.Process().children(recursive=True) if "EngineCor" in p.name()]
    assert engines, "vLLM's process has another name now"
    return sum(sum(engine.cpu_times()[:2]) for engine in engines)


async def compare(
    engine: VllmEngine, args: argparse.Namespace, agents: int
) -> tuple[float, dict[str, Any]]:
    """The ratio ours / paper_code of median debates a second, and each side's figures."""
    questions = eval_questions(args.requests // agents)
    in_flight = -(-args.in_flight // agents)
    all_sides = sides(agents, args.rounds, args.tokens, in_flight)
    main = ("paper_code", "ours")
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in all_sides}
    for repeat in range(args.repeats):
        names = [name for name in all_sides if name in main or args.variants]
        for name in names[:: -1 if repeat % 2 else 1]:
            runs[name].append(figures := await _time(all_sides[name], questions, engine))
            say(
                f"paper: {agents} agents, {name}: {figures['debates_per_s']:.2f} debates/s,"
                f" {figures['engine_cpu_s']} s of CPU,"
                f" {figures['cached_share']:.0%} of prompt tokens cached"
            )
    rates, cpu = _medians(runs, "debates_per_s"), _medians(runs, "engine_cpu_s")
    details: dict[str, Any] = {
        "in_flight": in_flight,
        "engine_cpu_ratio": round(cpu["paper_code"] / cpu["ours"], 3),
        "runs": runs,
    }
    if args.variants:
        details["share_of_gain"] = gain_shares(rates)
    return rates["ours"] / rates["paper_code"], details


def _medians(runs: dict[str, list[dict[str, Any]]], figure: str) -> dict[str, float]:
    return {
        name: statistics.median(run[figure] for run in of_side)
        for name, of_side in runs.items()
        if of_side
    }


async def measure(args: argparse.Namespace) -> None:
    """All team sizes on one engine; prints the result."""
    from benchmarks.random_model import make_random_model

    with tempfile.TemporaryDirectory() as folder:
        parameters = make_random_model(Path(folder))
        engine = SmallCacheEngine(folder, args.kv_tokens)
        say(f"paper: starting vLLM on a random model of {parameters:,} parameters")
        await engine.start()
        try:
            warm = sides(2, 2, args.tokens, 16)["ours"]
            await warm(eval_questions(16), engine)
            results = {agents: await compare(engine, args, agents) for agents in args.agents}
        finally:
            engine.stop()
    ratios = {f"debates_per_s_{agents}_agents": ratio for agents, (ratio, _) in results.items()}
    details = {f"{agents}_agents": found for agents, (_, found) in results.items()}
    settings = {
        name: getattr(args, name)
        for name in ("requests", "rounds", "tokens", "in_flight", "kv_tokens")
    }
    finish("debate_paper", ratios, {"settings": settings, "parameters": parameters, **details})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument("--agents", type=int, nargs="+", default=[5, 10])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=85, help="of every answer")
    parser.add_argument("--requests", type=int, default=480, help="agents x questions of a round")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--in-flight", type=int, default=128, help="completions at once in ours")
    parser.add_argument("--kv-tokens", type=int, default=262_144, help="that the KV cache holds")
    parser.add_argument("--variants", action=argparse.BooleanOptionalAction, default=True)


QUICK = {"requests": 120, "repeats": 1, "in_flight": 40, "kv_tokens": 65_536}


def run(args: argparse.Namespace) -> None:
    """Entry point."""
    asyncio.run(measure(args))
