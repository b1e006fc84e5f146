"""Memory of a worker: ZeRO 0, where each of two workers holds the whole model, against ZeRO 3.

The same model is trained for a few steps by `train_model`, as a run does it: two workers of Ray
Train on CPUs. What a worker needs for a model of next to nothing (Python and its packages) is
measured in the same way and taken off both. Ratio: bytes of a worker with ZeRO 0 over ZeRO 3; it
should be near the number of workers.

    python -m benchmarks.zero
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from safetensors.torch import load_file
from transformers import AutoConfig

from agentark_ray.config import Config, parse_config
from agentark_ray.run_folder import RunFolder
from agentark_ray.session import ray_session
from agentark_ray.tiny.path import tiny_model_path
from agentark_ray.traces.requests import write_rows
from agentark_ray.train.check import expected_memory
from agentark_ray.train.dataset import PACKED_SCHEMA
from agentark_ray.train.launch import start_progress, train_model
from agentark_ray.train.objective import loss_curve
from benchmarks.common import finish, say
from benchmarks.random_model import make_random_model

WORKERS = 2
TOKENS = 128  # of a sequence: activations count for little
SIZES = {
    "hidden_size": 1024,
    "intermediate_size": 2816,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="Memory of a worker, ZeRO 0 against 3.")
    parser.add_argument("--layers", type=int, default=10, help="12M parameters each (default 10)")
    layers = parser.parse_args().layers
    with tempfile.TemporaryDirectory() as folder, ray_session():
        model = f"{folder}/model"
        parameters = make_random_model(Path(model), num_hidden_layers=layers, **SIZES)
        say(f"model of {parameters / 1e6:.0f}M parameters, {WORKERS} workers")
        nothing = peak(folder, "nothing", 0, str(tiny_model_path()))
        whole, split = (peak(folder, f"zero_{stage}", stage, model) for stage in (0, 3))
        same_model(folder, model)
    finish(
        "zero",
        {"bytes_a_worker_zero_0_over_zero_3": (whole - nothing) / (split - nothing)},
        {
            "parameters": parameters,
            "workers": WORKERS,
            "worker_without_model_gb": round(nothing / 1e9, 3),
            "worker_zero_0_gb": round(whole / 1e9, 3),
            "worker_zero_3_gb": round(split / 1e9, 3),
            "bytes_a_parameter": {
                "zero_0": round((whole - nothing) / parameters, 1),
                "zero_3": round((split - nothing) / parameters, 1),
            },
        },
    )


def peak(folder: str, name: str, stage: int, model: str) -> float:
    """The most bytes that a worker held at once."""
    config = settings(f"{folder}/{name}", stage)
    run = RunFolder(config.output)
    write_rows(run, rows(), PACKED_SCHEMA, "datasets/rsft/packed/part")
    say(f"{name}: expects {expected_memory(config, model).words()}")
    train_model(
        run,
        config,
        model,
        start_progress(),
        name="rsft",
        data="datasets/rsft/packed",
        out="students/rsft",
    )
    curve = run.read_json(*loss_curve("rsft"))
    found = 1e9 * curve[-1]["peak_memory_gb"]
    say(f"{name}: loss {curve[-1]['loss']:.4f}, {found / 1e9:.2f} GB a worker")
    return found


def settings(output: str, stage: int) -> Config:
    """Three steps of two workers."""
    return parse_config(
        {"output": output, "distill": {"seq_len": TOKENS}},
        [
            f"train.workers={WORKERS}",
            f"train.zero_stage={stage}",
            f"train.batch_size={WORKERS}",
            "train.micro_batch_size=1",
            "train.epochs=1",
            "train.checkpoint_every=1000",
        ],
        "benchmark",
    )


def rows() -> list[dict[str, Any]]:
    """Packed sequences for three steps: random tokens, every one a target."""
    vocabulary = AutoConfig.from_pretrained(tiny_model_path()).vocab_size
    ids = torch.randint(10, vocabulary, (3 * WORKERS, TOKENS), generator=torch.Generator())
    like = pa.Table.from_pylist([], schema=PACKED_SCHEMA).column_names
    made = [
        {
            "input_ids": row.tolist(),
            "position_ids": list(range(TOKENS)),
            "labels": row.tolist(),
            "examples": 1,
        }
        for row in ids
    ]
    assert all(list(row) == like for row in made)
    return made


def same_model(folder: str, model: str) -> None:
    """Both exports hold the same weights, up to the order of sums, and not those of the start."""
    one, other = (load_file(f"{folder}/zero_{n}/students/rsft/model.safetensors") for n in (0, 3))
    start = load_file(f"{model}/model.safetensors")
    assert one.keys() == other.keys() == start.keys()
    for name, weight in one.items():
        torch.testing.assert_close(other[name], weight, rtol=0.05, atol=1e-4)
    assert any(not torch.equal(weight, start[name]) for name, weight in one.items())


if __name__ == "__main__":
    main()
