"""What benchmarks/sft.py measures against, each in a process of its own:
`python -m benchmarks.sft_peers FOLDER PEER`.

Prints, as the last line of stdout, seconds, tokens and loss of every step that counts, in JSON.
"""

import itertools
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn.utils import clip_grad_norm_
from transformers import AutoModelForCausalLM, TrainerCallback

from agentark_ray.run_folder import RunFolder
from agentark_ray.train.attention import VARLEN, implementation
from agentark_ray.train.dataset import PackedRows, epoch_order
from agentark_ray.train.sft import collate, loss_sum
from benchmarks.sft_data import ROWS, read_settings

Steps = dict[str, list[float]]
DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


class Clock:
    """When steps were over, and the CPU time that this process had used, in seconds."""

    def __init__(self) -> None:
        self._ends: list[float] = []
        self._cpu_ends: list[float] = []

    def read(self) -> None:
        """Before the first step, and after each."""
        self._ends.append(time.perf_counter())
        self._cpu_ends.append(time.process_time())

    def steps(self) -> Steps:
        """Seconds of every step."""
        ends = {"seconds": self._ends, "cpu_seconds": self._cpu_ends}
        return {name: [b - a for a, b in itertools.pairwise(v)] for name, v in ends.items()}


def bare(settings: dict[str, Any], folder: Path) -> Steps:
    """A loop of PyTorch: weights in `dtype`, the optimizer's own in float32, fused AdamW."""
    torch.manual_seed(0)
    model: Any = AutoModelForCausalLM.from_pretrained(
        settings["model"],
        dtype=DTYPES[settings["dtype"]],
        attn_implementation=implementation(VARLEN),
    )
    model.train()
    weights = list(model.parameters())
    in_place = settings["dtype"] == "fp32"
    masters = weights if in_place else [w.detach().float() for w in weights]
    optimizer = torch.optim.AdamW(
        masters, lr=settings["lr"], betas=(0.9, 0.95), weight_decay=0.0, fused=True
    )
    clock, tokens, losses = Clock(), [], []
    clock.read()
    for batches in _batches(settings, folder):
        targets = sum(len(batch["targets"]) for batch in batches)
        loss = 0.0
        for batch in batches:
            part = loss_sum(model, batch) / targets
            part.backward()
            loss += part.item()
        if not in_place:
            for master, weight in zip(masters, weights, strict=True):
                master.grad, weight.grad = _float(weight.grad), None
        clip_grad_norm_(masters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if not in_place:
            with torch.no_grad():
                for master, weight in zip(masters, weights, strict=True):
                    weight.copy_(master)
        clock.read()
        tokens.append(sum(batch["input_ids"].numel() for batch in batches))
        losses.append(loss)
    return {**clock.steps(), "tokens": tokens, "loss": losses}


def _float(gradient: torch.Tensor | None) -> torch.Tensor:
    assert gradient is not None
    return gradient.float()


def _batches(settings: dict[str, Any], folder: Path) -> list[list[dict[str, torch.Tensor]]]:
    """The micro-batches of every step that our trainer makes, all made in advance."""
    run = RunFolder(str(folder))
    rows = PackedRows(run.filesystem, run.inner(ROWS))
    order = epoch_order(len(rows), settings["seed"], 0)
    micro = settings["micro_batch_size"]
    made = [
        collate([rows[i] for i in order[start : start + micro]], torch.device("cpu"))
        for start in range(0, len(order), micro)
    ]
    several = settings["batch_size"] // micro
    return [made[start : start + several] for start in range(0, len(made), several)]


class ReadClock(TrainerCallback):
    """Reads a clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """The first step begins."""
        self._clock.read()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """A step is over."""
        self._clock.read()


def trl(settings: dict[str, Any], packing: bool) -> Steps:
    """TRL's trainer with its own settings but for sizes, gradient checkpointing and reports."""
    from datasets import Dataset  # pyright: ignore[reportMissingImports]
    from trl import SFTConfig, SFTTrainer  # pyright: ignore[reportMissingImports]

    rows = settings["micro_batch_size"] if packing else settings["micro_examples"]
    clock = Clock()
    trainer = SFTTrainer(
        model=settings["model"],
        train_dataset=Dataset.from_list(settings["examples"]),
        callbacks=[ReadClock(clock)],
        args=SFTConfig(
            output_dir=settings["trl_folder"],
            packing=packing,
            max_length=settings["seq_len"],
            per_device_train_batch_size=rows,
            gradient_accumulation_steps=settings["batch_size"] // settings["micro_batch_size"],
            max_steps=settings["steps"],
            learning_rate=settings["lr"],
            adam_beta2=0.95,
            use_cpu=True,
            bf16=settings["dtype"] == "bf16",  # weights float32, computing in bfloat16
            gradient_checkpointing=False,
            seed=settings["seed"],
            save_strategy="no",
            report_to="none",
            logging_steps=1,
            disable_tqdm=True,
        ),
    )
    trainer.train()
    log = [row for row in trainer.state.log_history if "num_tokens" in row and "loss" in row]
    return {
        **clock.steps(),
        "tokens": [b - a for a, b in itertools.pairwise([0.0, *(r["num_tokens"] for r in log)])],
        "loss": [row["loss"] for row in log],
    }


def main(arguments: Sequence[str]) -> None:
    """Run one peer."""
    folder, peer = Path(arguments[0]), arguments[1]
    settings = read_settings(folder)
    torch.set_num_threads(settings["threads"])
    settings["trl_folder"] = str(folder / peer)
    found = bare(settings, folder) if peer == "bare" else trl(settings, peer == "trl_packed")
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
