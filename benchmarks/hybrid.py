"""What a hybrid saves: student, debate and hybrid answer the held-out questions of a run.

The run has been evaluated, e.g. by `make demo`; its hybrid hands over below the confidence that the
evaluation found for `--target-ratio` of the debate's accuracy. The ratios are the hybrid's output
tokens and accuracy over the debate's, as clients of the served application count them.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp

from agentark_ray.load.run import held_out
from agentark_ray.run_folder import RunFolder
from agentark_ray.tasks.registry import TASKS
from agentark_ray.types import Question, Verdict
from benchmarks.common import finish, gather_at_most, say
from benchmarks.serve import free_port, server

MODELS = ("student", "debate", "hybrid")


async def answers(
    url: str, model: str, questions: Sequence[Question], at_once: int
) -> dict[str, float]:
    """Accuracy, output tokens, and the share of the answers that the debate gave."""
    found: Counter[str] = Counter()

    async def ask(session: aiohttp.ClientSession, question: Question) -> None:
        body = {"model": model, "messages": [{"role": "user", "content": question.text}]}
        async with session.post(f"{url}/chat/completions", json=body) as response:
            response.raise_for_status()
            answer: Any = await response.json()
        grader = TASKS[question.task].grader
        said = grader.extract(answer["choices"][0]["message"]["content"])
        found["right"] += grader.verdict(said, question.gold, question.aliases) == Verdict.CORRECT
        found["tokens"] += answer["usage"]["completion_tokens"]
        found["debate"] += answer["agentark"]["path"] == "debate"

    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(600)) as session:
        jobs = [lambda one=one: ask(session, one) for one in questions]
        await gather_at_most(at_once, jobs)
    return {
        "accuracy": found["right"] / len(questions),
        "output_tokens": found["tokens"],
        "by_debate": found["debate"] / len(questions),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("run", help="the folder of an evaluated run")
    parser.add_argument("--questions", type=int, default=300)
    parser.add_argument("--at-once", type=int, default=8)
    parser.add_argument("--target-ratio", type=float, default=1.0)
    args = parser.parse_args()
    questions = held_out(RunFolder(args.run))[: args.questions]
    with tempfile.TemporaryDirectory() as temporary:
        settings, port = Path(temporary) / "serve.yaml", free_port()
        values = {
            "run": args.run,
            "port": port,
            "models": MODELS,
            "hybrid": {"target_ratio": args.target_ratio},
        }
        settings.write_text(json.dumps(values))  # JSON is YAML
        with server(
            [sys.executable, "-m", "agentark_ray.cli", "serve", str(settings)], port
        ) as url:
            found = {}
            for model in MODELS:
                found[model] = asyncio.run(answers(url, model, questions, args.at_once))
                say(f"hybrid: {model}: {found[model]}")
    hybrid, debate = found["hybrid"], found["debate"]
    ratios = {name: hybrid[name] / debate[name] for name in ("output_tokens", "accuracy")}
    finish("hybrid", ratios, {"questions": len(questions), "models": found})


if __name__ == "__main__":
    main()
