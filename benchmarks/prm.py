"""The process reward model of the tiny model, end to end, for each kind of step labels:
`python -m benchmarks.prm`.

Debates (or samples) by vLLM on training questions, step labels, training on Ray Train and
DeepSpeed, evaluation on the questions that were held out. The ratios are the ROC-AUC on held-out
steps, against the labels and against the true steps of the stories, and the lift of the best of n
samples over one. Progress goes to stderr; the last line of stdout is one JSON object.
"""

import argparse
import tempfile
import time
from typing import Any

from rich.console import Console

from agentark_ray.config import Config, parse_config
from agentark_ray.console import watch
from agentark_ray.models import resolve_model
from agentark_ray.process_reward import ProcessReward
from agentark_ray.run_folder import RunFolder
from agentark_ray.session import ray_session
from agentark_ray.traces.generate import generate_traces, verify_traces
from agentark_ray.traces.progress import start_progress, state_of
from agentark_ray.traces.requests import Plan, write_questions, write_requests
from agentark_ray.types import Split
from benchmarks.common import finish, say

KINDS = ("outcome", "divergence", "rollout")
CONSOLE = Console(stderr=True)


def config_of(args: argparse.Namespace, kind: str) -> Config:
    """The tiny model's setting; only its learning rate and sizes differ from the defaults."""
    values = {
        "output": args.folder,
        "seed": args.seed,
        "tasks": {"train_questions": args.questions, "eval_questions": 10},
        "debate": {
            "protocol": "self_consistency",
            "agents": args.samples,
            "temperature": args.temperature,
            "max_tokens": 128,
        },
        "engine": {"max_model_len": 1024, "in_flight": 64},
        "distill": {
            "type": "pad",
            "seq_len": 512,
            "prm": {
                "step_labels": kind,
                "rollouts": args.rollouts,
                "held_out": args.held_out,
                "epochs": args.epochs,
            },
        },
        "train": {
            "lr": args.lr,
            "batch_size": 4 * args.workers,
            "micro_batch_size": 4,
            "workers": args.workers,
        },
    }
    return parse_config(values, args.overrides, "benchmark")


def hold(config: Config, model: str) -> dict[str, int]:
    """The traces; those that are there stay."""
    folder = RunFolder(config.output)
    if folder.exists("traces"):
        return {}
    write_questions(folder, config)
    plans = [Plan(arm="debate")]
    total = write_requests(folder, config, model, Split.TRAIN, plans, "train")
    progress = start_progress(total, 0)
    with watch(CONSOLE, "samples", lambda: state_of(progress, 0, total)):
        generate_traces(folder, config, model, ["debate"], "train", "traces", progress)
    return verify_traces(folder, config, "traces", total)


def measure(config: Config, model: str, kind: str) -> dict[str, Any]:
    """One kind of labels, from traces to figures."""
    prm = ProcessReward(RunFolder(config.output), config, model, f"prm-{kind}", CONSOLE)
    seconds: dict[str, float] = {}
    results: dict[str, Any] = {}
    for stage in ("label", "dataset", "train", "evaluate"):
        started = time.monotonic()
        results[stage] = getattr(prm, stage)()
        seconds[stage] = round(time.monotonic() - started, 1)
        say(f"{kind} {stage}: {seconds[stage]} s")
    curve = results.pop("train")
    say(f"{kind}: {results['evaluate']}")
    return {
        **results,
        "seconds": seconds,
        "steps": len(curve),
        "first_step": curve[0],
        "last_step": curve[-1],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--questions", type=int, default=1_000)
    parser.add_argument("--samples", type=int, default=8, help="of a question")
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--rollouts", type=int, default=8)
    parser.add_argument("--held-out", type=float, default=0.3)
    parser.add_argument("--lr", type=float, default=5e-4)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--folder", help="keep everything there; traces in it are used")
    parser.add_argument("overrides", nargs="*", help="section.key=value")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary, ray_session():
        args.folder = args.folder or temporary
        model = resolve_model("tiny")
        started = time.monotonic()
        sampled = hold(config_of(args, args.kinds[0]), model)
        seconds = round(time.monotonic() - started, 1)
        found = {kind: measure(config_of(args, kind), model, kind) for kind in args.kinds}
    ratios = {}
    for kind, result in found.items():
        figures = result["evaluate"]
        ratios[f"{kind}: auc"] = figures["labels"]["auc"]
        ratios[f"{kind}: auc of true steps"] = figures["truth"]["auc"]
        best = figures["best_of_n"]
        ratios |= {f"{kind}: lift by {by}": best[by]["lift"] for by in ("min", "mean", "last")}
    finish("prm", ratios, {**vars(args), "sampled": sampled, "seconds": seconds, "found": found})


if __name__ == "__main__":
    main()
