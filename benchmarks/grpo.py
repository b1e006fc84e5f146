"""Steps of GRPO on the tiny model against TRL's GRPOTrainer: `python -m benchmarks.grpo`.

Both train the same model, in the same precision, on the same questions in the same order, with the
same grader as reward, the same group, output tokens, clip and divergence from a reference. TRL
generates with transformers, which is what it does on a CPU; it may use all cores, we use one for
the engine and one for the worker. They run by turns; the first steps of a run, which warm up, do
not count.
Needs `pip install --no-deps -r requirements/bench.txt`. Progress goes to stderr; the last line of
stdout is one JSON object.
"""

import argparse
import functools
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from statistics import median
from typing import Any

from agentark_ray.config import Config, parse_config
from agentark_ray.grading.numeric import NUMERIC
from benchmarks.common import finish, need, say

PARTS = ("rollout", "reward", "train", "sync")
WARM_UP = 2  # steps


def config_of(args: argparse.Namespace, output: str) -> Config:
    """Ours; TRL reads its sizes from the same arguments."""
    return parse_config(
        {
            "output": output,
            "tasks": {"train_questions": args.prompts * (args.steps + WARM_UP)},
            "engine": {"max_model_len": 512},
            "train": {"dtype": args.dtype, "micro_batch_size": 16, "batch_size": 16},
            "distill": {
                "type": "pad",
                "seq_len": 512,
                "grpo": {
                    "steps": args.steps + WARM_UP,
                    "prompts": args.prompts,
                    "group": args.group,
                    "max_tokens": args.max_tokens,
                    "lr": args.lr,
                    "overlong_penalty": 0.0,
                    "asynchronous": args.asynchronous,
                },
            },
        },
        [],
        "benchmark",
    )


def run_ours(args: argparse.Namespace) -> list[dict[str, float]]:
    """The figures of every step that counts."""
    from agentark_ray.run_folder import RunFolder
    from agentark_ray.tiny.path import tiny_model_path
    from agentark_ray.traces.requests import write_questions
    from agentark_ray.train.grpo_training import train_grpo
    from agentark_ray.train.launch import start_progress
    from agentark_ray.train.objective import loss_curve

    with tempfile.TemporaryDirectory() as folder:
        config = config_of(args, f"{folder}/run")
        run = RunFolder(config.output)
        run.open(config, "tiny")
        write_questions(run, config)
        model = str(tiny_model_path())
        train_grpo(run, config, model, start_progress(), name="grpo", out="students/grpo")
        return run.read_json(*loss_curve("grpo"))[WARM_UP:]


def run_trl(args: argparse.Namespace) -> dict[str, list[float]]:
    """Seconds, output tokens and rewards of every step that counts, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.grpo", "--trl", *_arguments(args)]
    env = {**os.environ, "TOKENIZERS_PARALLELISM": "false", "CUDA_VISIBLE_DEVICES": ""}
    if args.trl_threads:
        env["OMP_NUM_THREADS"] = str(args.trl_threads)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=env, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def _arguments(args: argparse.Namespace) -> list[str]:
    names = ("prompts", "group", "steps", "max_tokens", "lr", "dtype")
    return [
        word for name in names for word in (f"--{name.replace('_', '-')}", str(getattr(args, name)))
    ]


def train_with_trl(args: argparse.Namespace) -> dict[str, list[float]]:
    """What `run_trl` starts."""
    from datasets import Dataset  # pyright: ignore[reportMissingImports]
    from transformers import AutoTokenizer, TrainerCallback
    from trl import GRPOTrainer  # pyright: ignore[reportMissingImports]

    from agentark_ray.tiny.path import tiny_model_path

    ends: list[float] = []

    class Clock(TrainerCallback):
        """Ends of steps."""

        def on_step_end(self, *_: Any, **__: Any) -> None:
            ends.append(time.perf_counter())

    model = str(tiny_model_path())
    with tempfile.TemporaryDirectory() as folder:
        trainer = GRPOTrainer(
            model=model,
            reward_funcs=right,
            args=trl_config(args, folder),
            train_dataset=Dataset.from_list(trl_rows(args)),
            processing_class=AutoTokenizer.from_pretrained(model, padding_side="left"),
            callbacks=[Clock()],
        )
        trainer.train()
    log = [row for row in trainer.state.log_history if "reward" in row][WARM_UP:]
    return {
        "step_s": [b - a for a, b in itertools.pairwise(ends)][WARM_UP - 1 :],
        "output_tokens": [row["completions/mean_length"] for row in log],
        "reward": [row["reward"] for row in log],
    }


def trl_rows(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Our questions, in the order in which we ask them."""
    from agentark_ray.debate.layouts import ask, chat
    from agentark_ray.tasks.arithmetic import questions
    from agentark_ray.train.dataset import epoch_order
    from agentark_ray.types import Split

    asked = list(questions(Split.TRAIN, 0, args.prompts * (args.steps + WARM_UP)))
    order = epoch_order(len(asked), config_of(args, "none").seed, 0)
    return [
        {"prompt": chat("", [ask(q.text, NUMERIC.instruction)]), "gold": q.gold}
        for q in map(asked.__getitem__, order)
    ]


def right(completions: Sequence[Any], gold: Sequence[str], **_: Any) -> list[float | None]:
    """TRL's reward: 1 for a right answer."""
    texts = [completion[0]["content"] for completion in completions]
    verdicts = [NUMERIC.verdict(NUMERIC.extract(t), g) for t, g in zip(texts, gold, strict=True)]
    return [float(verdict == "correct") for verdict in verdicts]


def trl_config(args: argparse.Namespace, folder: str) -> Any:
    """TRL's settings that make its steps the same as ours."""
    from trl import GRPOConfig  # pyright: ignore[reportMissingImports]

    return GRPOConfig(
        output_dir=folder,
        model_init_kwargs={"dtype": {"bf16": "bfloat16", "fp32": "float32"}[args.dtype]},
        bf16=False,
        use_cpu=True,
        gradient_checkpointing=False,
        per_device_train_batch_size=args.prompts * args.group,
        gradient_accumulation_steps=1,
        num_generations=args.group,
        max_completion_length=args.max_tokens,
        shuffle_dataset=False,  # as ours asks them
        max_steps=args.steps + WARM_UP,
        learning_rate=args.lr,
        temperature=1.0,
        beta=1e-3,
        epsilon=0.2,
        scale_rewards="none",
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )


def compare(args: argparse.Namespace) -> None:
    """Turns of both, and the result."""
    from agentark_ray.session import ray_session

    ours: list[dict[str, float]] = []
    theirs: dict[str, list[float]] = {"step_s": [], "output_tokens": [], "reward": []}
    for turn in range(args.turns):
        for name, values in run_trl(args).items():
            theirs[name] += values
        with ray_session(cpus=2):
            ours += run_ours(args)
        say(
            f"turn {turn + 1}: TRL {median(theirs['step_s']):.2f} s a step,"
            f" ours {median(row['step_s'] for row in ours):.2f} s"
        )
    of = functools.partial(_median, ours)
    step_s, trl_s = of("step_s"), median(theirs["step_s"])
    details = {
        **vars(args),
        "samples_a_step": args.prompts * args.group,
        "ours_step_s": round(step_s, 4),
        **{f"ours_{part}_s": round(of(f"{part}_s"), 4) for part in PARTS},
        "ours_equal_groups": round(of("equal_groups"), 3),
        "trl_step_s": round(trl_s, 4),
        "ours_output_tokens": round(of("output_tokens"), 1),
        "trl_output_tokens": round(median(theirs["output_tokens"]), 1),
        "ours_reward": round(of("reward"), 3),
        "trl_reward": round(median(theirs["reward"]), 3),
    }
    finish("grpo", {"steps_per_s": trl_s / step_s}, details)


def _median(rows: Sequence[dict[str, float]], name: str) -> float:
    return median(row[name] for row in rows)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--prompts", type=int, default=16, help="questions a step")
    parser.add_argument("--group", type=int, default=8, help="samples of a question")
    parser.add_argument("--steps", type=int, default=8, help="steps of a run that count")
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--max-tokens", type=int, default=128)
    parser.add_argument("--lr", type=float, default=1e-6)
    parser.add_argument("--dtype", choices=("bf16", "fp32"), default="bf16")
    parser.add_argument("--asynchronous", action="store_true", help="rollouts one step ahead")
    parser.add_argument(
        "--trl-threads", type=int, default=0, help="0: all cores; 1 on a busy machine"
    )
    parser.add_argument("--trl", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.trl:
        print(json.dumps(train_with_trl(args)), flush=True)
    else:
        need("trl", "datasets")
        compare(args)


if __name__ == "__main__":
    main()
