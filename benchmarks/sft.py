"""Tokens a second of supervised fine-tuning against TRL's SFTTrainer and a bare PyTorch loop.

All train the same model on the same examples of mixed lengths, in the same precision, on as many
threads, with as many tokens that are no padding in a forward pass and in an optimizer step:

- ours: `train_model`, as `agentark distill` calls it: a worker of Ray Train, DeepSpeed, packed rows
- trl: SFTTrainer without packing, its default; trl_packed: with `packing=True`
- bare: a loop of PyTorch over the very same packed micro-batches, with the same model, attention
  and loss, that does nothing else

They run by turns. Only tokens that are no padding count; the first steps of a run, which warm up,
do not. `in_cpu_time` is the same by CPU time of the processes, for a machine with other work, too.
The examples are solutions of the arithmetic task and as many revisions after reading peers, or
those of `--data`: JSON lines with `question` and `answer`, as GSM8K is published.
Progress goes to stderr; the last line of stdout is one JSON object.

    python -m benchmarks.sft                      # the tiny model
    python -m benchmarks.sft --layers 10          # a random model, 3M parameters a layer
"""

import argparse
import itertools
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

from agentark_ray.config import Config, parse_config
from agentark_ray.run_folder import RunFolder
from agentark_ray.session import ray_session
from agentark_ray.train.launch import start_progress, train_model
from agentark_ray.train.objective import loss_curve
from agentark_ray.train.sft import Sft
from benchmarks.common import finish, need, say
from benchmarks.sft_data import ROWS, prepare, rate, read_settings

PEERS = ("trl", "trl_packed", "bare")
Steps = dict[str, list[float]]


class TimedSft(Sft):
    """Sft that tells of every step when it was over and how much CPU its worker had used."""

    def end_step(self, engine: Any, step: int) -> Mapping[str, float]:
        """Seconds."""
        return {"ended_s": time.perf_counter(), "cpu_ended_s": time.process_time()}


def config_of(args: argparse.Namespace, output: str) -> Config:
    """Ours; the peers read the same arguments."""
    return parse_config(
        {
            "output": output,
            "seed": args.seed,
            "distill": {"seq_len": args.seq_len},
            "train": {
                "cpus_per_worker": args.threads,
                "zero_stage": args.zero_stage,
                "epochs": 1,
                "lr": args.lr,
                "batch_size": args.batch_size,
                "micro_batch_size": args.micro_batch_size,
                "dtype": args.dtype,
                "checkpoint_every": 10_000,
            },
        },
        [],
        "benchmark",
    )


def run_ours(args: argparse.Namespace, folder: Path, name: str) -> Steps:
    """Every step but the first: seconds since the one before was over, tokens and loss."""
    run = RunFolder(str(folder))
    with ray_session(cpus=2):
        train_model(
            run,
            config_of(args, run.uri),
            read_settings(folder)["model"],
            start_progress(),
            objective=TimedSft,
            name=name,
            data=ROWS,
            out=f"students/{name}",
        )
    curve = run.read_json(*loss_curve(name))
    pairs = list(itertools.pairwise(curve))
    return {
        "seconds": [b["ended_s"] - a["ended_s"] for a, b in pairs],
        "cpu_seconds": [b["cpu_ended_s"] - a["cpu_ended_s"] for a, b in pairs],
        "tokens": [step["tokens_per_s"] * step["seconds"] for _, step in pairs],
        "loss": [step["loss"] for _, step in pairs],
    }


def run_peer(args: argparse.Namespace, folder: Path, peer: str) -> Steps:
    """The same of a peer."""
    threads = {"OMP_NUM_THREADS": str(args.threads), "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.sft_peers", str(folder), peer],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **threads, "CUDA_VISIBLE_DEVICES": ""},
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def compare(args: argparse.Namespace, folder: Path) -> None:
    """Turns of all sides, and the result."""
    about = prepare(args, folder)
    say(f"sft: {about}")
    runs: dict[str, list[Steps]] = {side: [] for side in ("ours", *args.peers)}
    for turn in range(args.turns):
        for side, done in runs.items():
            found = (
                run_ours(args, folder, f"turn-{turn}")
                if side == "ours"
                else run_peer(args, folder, side)
            )
            counted = {name: values[-args.steps :] for name, values in found.items()}
            done.append(counted)
            cpu = rate(counted, "cpu_seconds")
            say(f"turn {turn + 1}, {side}: {rate(counted):.0f} tokens/s, {cpu:.0f} of CPU time")
    if "bare" in runs:
        same_losses(runs["ours"][0]["loss"], runs["bare"][0]["loss"])
    rates = {s: [rate(run) for run in done] for s, done in runs.items()}
    cpu_rates = {s: [rate(run, "cpu_seconds") for run in done] for s, done in runs.items()}
    finish(
        "sft",
        over(args.peers, rates),
        {
            **vars(args),
            **about,
            **{f"tokens_per_s_{s}": [round(r, 1) for r in found] for s, found in rates.items()},
            "in_cpu_time": {k: round(v, 3) for k, v in over(args.peers, cpu_rates).items()},
            "tokens_a_step": {s: round(mean(done[0]["tokens"])) for s, done in runs.items()},
            "loss": {s: round(mean(done[0]["loss"]), 4) for s, done in runs.items()},
        },
    )


def same_losses(ours: Sequence[float], bare: Sequence[float]) -> None:
    """The bare loop learns the same from the same batches; its learning rate is constant."""
    assert all(math.isclose(a, b, rel_tol=0.05) for a, b in zip(ours, bare, strict=True)), (
        f"losses of the same batches: {ours}, of the bare loop {bare}"
    )


def over(peers: Sequence[str], rates: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Our median rate over that of every peer."""
    ours = median(rates["ours"])
    return {f"tokens_per_s_over_{peer}": ours / median(rates[peer]) for peer in peers}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--layers", type=int, default=0, help="of a random model; 0: tiny model")
    parser.add_argument("--data", help="JSON lines with question and answer")
    parser.add_argument("--seq-len", type=int, default=1024, help="tokens of a packed row")
    parser.add_argument("--batch-size", type=int, default=16, help="packed rows a step")
    parser.add_argument("--micro-batch-size", type=int, default=4, help="rows a forward pass")
    parser.add_argument("--steps", type=int, default=8, help="steps of a run that count")
    parser.add_argument("--warm-up", type=int, default=2, help="steps before them, at least 1")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="of every side")
    parser.add_argument("--zero-stage", type=int, default=2, help="of ours")
    parser.add_argument("--dtype", choices=("bf16", "fp32"), default="bf16")
    parser.add_argument("--lr", type=float, default=1e-5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=PEERS)
    args = parser.parse_args()
    if args.warm_up < 1:
        parser.error(f"--warm-up: expected at least 1, got {args.warm_up}")
    if {"trl", "trl_packed"} & set(args.peers):
        need("trl", "datasets")
    with tempfile.TemporaryDirectory() as folder:
        compare(args, Path(folder))


if __name__ == "__main__":
    main()
