"""An evaluation of five arms on a thousand questions: how long it takes.

    python -m benchmarks.evaluation --run runs/demo   # its model, debate and student
    python -m benchmarks.evaluation                   # makes a small run of the demo's config first

A new run folder gets the settings and the student of the run, held-out questions of its own, and no
answers. There single, single_greedy, self_consistency (at the budget that the run's debates
measured), debate and student answer all questions as `agentark evaluate` has them do: second turns
of single and student are in it, changed questions are not, nor are probes of latency (`--latency`).
The time is that of the whole stage with the start of Ray and of the engines, grading and figures.

Then the very prompts of its transcripts, already tokenised, are all submitted at once to a bare
AsyncLLM of each model. Ratios: `evaluation` is what is allowed, 6 minutes for 1,000 questions, over
what it took; `output_tokens_per_s` that of the evaluation over that of bare vLLM, which tells a
slow evaluation from a slow machine.
"""

import argparse
import asyncio
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import uvloop
from rich.console import Console

from agentark_ray.config import Config, load_config
from agentark_ray.engine.vllm import VllmEngine, render
from agentark_ray.evaluation import BASE
from agentark_ray.pipeline import Run, evaluate, questions
from agentark_ray.run_folder import RunFolder
from agentark_ray.session import ray_session
from agentark_ray.students import OWN_ARM, TRANSCRIPTS, own_name, run_config
from agentark_ray.traces.generate import trace_dataset
from agentark_ray.traces.samples import measure_budget
from agentark_ray.types import Message
from benchmarks.common import engine_settings, finish, say

ALLOWED_S, OF_QUESTIONS = 360.0, 1_000
ARMS = ("single", "single_greedy", "self_consistency", "debate", "student")
DEMO = Path(__file__).parents[1] / "jobs" / "configs" / "demo.yaml"
SMALL = ("tasks.train_questions=300", "tasks.eval_questions=20", "train.epochs=1")
QUICK = {"questions": 20}


def made(output: str) -> RunFolder:
    """A run with a student that learned little: it answers in as many words as others."""
    run = Run(load_config(DEMO, [*SMALL, f"output={output}"]), Console(stderr=True))
    run.execute(("questions", "generate", "distill"))
    return run.folder


def evaluation_config(source: RunFolder, output: str, asked: int, latency: int) -> Config:
    """The run's config with five arms, `asked` questions and nothing else to answer."""
    overrides = [
        f"tasks.eval_questions={asked}",
        "tasks.leaks=drop",
        f"evaluate.arms=[{','.join(ARMS)}]",
        f"evaluate.self_consistency_samples={measure_budget(source).samples}",
        *("evaluate.teams={}", "evaluate.endpoints={}", "evaluate.ood={}", "evaluate.samples=1"),
        *("evaluate.robustness.questions=0", "evaluate.peer_questions=0"),
        *(f"evaluate.latency_queries={latency}", "gates.no_regression=[]"),
    ]
    return run_config(source, overrides).model_copy(update={"output": output})


def opened(source: RunFolder, config: Config) -> Run:
    """A run folder with the student of another one, and no answers."""
    run = Run(config, Console(stderr=True))
    run.folder.open(config, run.model)
    generated = source.stage("generate")
    assert generated is not None, f"{source.uri} has no debates"
    run.folder.finish_stage("generate", generated)
    name = own_name(config)
    shutil.copytree(source.path("students", name), run.folder.path("students", name))
    shutil.copy(source.path("students", f"{name}.json"), run.folder.path("students"))
    return run


def evaluated(run: Run) -> dict[str, float]:
    """Seconds of the evaluation, from a machine without Ray to the summary."""
    with ray_session():
        run.folder.finish_stage("questions", questions(run))
    started = time.perf_counter()
    with ray_session():
        up = time.perf_counter()
        run.stage("evaluate", lambda: evaluate(run))
        ended = time.perf_counter()
    return {"seconds": ended - started, "ray_s": up - started}


def asked_of(folder: RunFolder, name: str) -> tuple[list[list[Message]], int]:
    """All prompts of the transcripts of a model, debate by debate, and the output tokens."""
    stored = trace_dataset(folder, f"{TRANSCRIPTS}/{name}")
    rows = stored.to_table(columns=["output_tokens", "turns"]).to_pylist()
    prompts = [turn["messages"] for row in rows for turn in row["turns"] or ()]
    return prompts, sum(row["output_tokens"] for row in rows)


def bare(run: Run) -> dict[str, Any]:
    """Tokens a second of bare vLLM on the same prompts; both models, one after the other."""
    tokens, seconds = 0, 0.0
    models = {BASE: run.model, OWN_ARM: run.folder.path("students", own_name(run.config))}
    for name, model in models.items():
        prompts, _ = asked_of(run.folder, name)
        found = uvloop.run(straight(run.config, model, prompts))
        say(f"evaluation: straight to vLLM, {name}: {found[0]:,} tokens, {found[1]:,.1f} s")
        tokens, seconds = tokens + found[0], seconds + found[1]
    rate = round(tokens / seconds, 1)
    return {"output_tokens": tokens, "seconds": round(seconds, 1), "output_tokens_per_s": rate}


async def straight(
    config: Config, model: str, prompts: Sequence[Sequence[Message]]
) -> tuple[int, float]:
    """Output tokens of all prompts at once on an AsyncLLM, and seconds from warm to the last."""
    from transformers import AutoTokenizer
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    tokenizer = AutoTokenizer.from_pretrained(model)
    ids = [render(tokenizer, prompt, {}) for prompt in prompts]
    engine = VllmEngine(**engine_settings(model, max_model_len=config.engine.max_model_len))
    await engine.start()
    params = SamplingParams(
        temperature=config.debate.temperature,
        max_tokens=config.debate.max_tokens,
        logprobs=0,  # as the evaluation asks for them
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
        return tokens, time.perf_counter() - started
    finally:
        engine.stop()


def ratios(seconds: float, asked: int, tokens: float, bare_rate: float | None) -> dict[str, float]:
    """What is allowed over what was measured, and the rate over that of bare vLLM."""
    found = {"evaluation": ALLOWED_S * asked / OF_QUESTIONS / seconds}
    return found | ({"output_tokens_per_s": tokens / seconds / bare_rate} if bare_rate else {})


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--run", help="a finished run folder on a local disk; default: make one")
    parser.add_argument("--questions", type=int, default=OF_QUESTIONS)
    parser.add_argument("--latency", type=int, default=0, help="queries a student answers alone")
    parser.add_argument("--no-bare", action="store_true", help="without bare vLLM")
    parser.add_argument("--quick", action="store_true", help="20 questions, to see that it runs")
    args = parser.parse_args(argv)
    return argparse.Namespace(**(vars(args) | (QUICK if args.quick else {})))


def main() -> None:
    """Run the benchmark."""
    args = parse()
    with tempfile.TemporaryDirectory() as folder:
        source = RunFolder(args.run) if args.run else made(f"{folder}/made")
        config = evaluation_config(source, f"{folder}/run", args.questions, args.latency)
        run = opened(source, config)
        took = evaluated(run)
        say(f"evaluation: {took['seconds']:,.1f} s, of which Ray's start {took['ray_s']:,.1f} s")
        tokens = sum(asked_of(run.folder, name)[1] for name in (BASE, OWN_ARM))
        beside = None if args.no_bare else bare(run)
        rate = beside["output_tokens_per_s"] if beside else None
        finish(
            "evaluation",
            ratios(took["seconds"], args.questions, tokens, rate),
            {
                "run": args.run,
                "questions": args.questions,
                "arms": list(ARMS),
                "self_consistency_samples": config.evaluate.self_consistency_samples,
                "latency_queries": args.latency,
                **{name: round(value, 1) for name, value in took.items()},
                "output_tokens": tokens,
                "output_tokens_per_s": round(tokens / took["seconds"], 1),
                "bare": beside,
            },
        )


if __name__ == "__main__":
    main()
