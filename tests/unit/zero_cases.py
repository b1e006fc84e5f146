"""Models split by ZeRO in two processes: what the workers of test_state.py do, and test_export.py.

Each case is a way to make the same steps.
"""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from agentark_ray.tiny.path import tiny_model_path
from agentark_ray.train.checkpoint import read, write
from agentark_ray.train.export import full_weights, write_model
from agentark_ray.train.loop import accumulate, ready_model, take_step
from agentark_ray.train.lora import ADAPTER, adapted_layers
from agentark_ray.train.zero import peak_memory_bytes, start_engine
from agentark_ray.train_config import LoraConfig, TrainConfig

TINY = str(tiny_model_path())
SHARD = 1_000_000
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
LORA = LoraConfig(rank=4, alpha=8, target_modules=("q_proj", "down_proj"))
BASE: dict[str, Any] = {"workers": 2, "batch_size": 8, "lr": 1e-3, "dtype": "fp32"}
CASES: Mapping[str, TrainConfig] = {
    name: TrainConfig(**{**BASE, **settings})
    for name, settings in {
        "zero_0": {"zero_stage": 0, "micro_batch_size": 4},
        "zero_1": {"zero_stage": 1, "micro_batch_size": 4},
        "zero_2": {"zero_stage": 2, "micro_batch_size": 2},
        "zero_3": {"zero_stage": 3, "micro_batch_size": 1},
        "again": {"zero_stage": 3, "micro_batch_size": 4, "gradient_checkpointing": True},
        "offload_2": {"zero_stage": 2, "micro_batch_size": 1, "offload": "optimizer"},
        "offload_all": {"zero_stage": 3, "micro_batch_size": 1, "offload": "all"},
        "lora_2": {"zero_stage": 2, "lora": LORA, "offload": "optimizer"},
        "lora_3": {"zero_stage": 3, "lora": LORA},
        "lora_again": {"zero_stage": 2, "lora": LORA, "gradient_checkpointing": True},
        "lora_bf16": {"zero_stage": 3, "lora": LORA, "dtype": "bf16"},
        "bf16": {"zero_stage": 3, "dtype": "bf16"},
        "bf16_0": {"zero_stage": 0, "dtype": "bf16"},
    }.items()
}


RESUMED = ("zero_2", "zero_3", "lora_3", "bf16_0")
RESIZED = ("zero_0", "zero_2", "zero_3", "lora_2", "lora_3", "bf16")
TRAINED = list(CASES)
HISTORY = [{"step": 3, "loss": 1.5}]


def train(rank: int, folder: str) -> None:
    """Three steps of each case; rank 0 writes models, factors of adapters and figures.

    Where a case is resumed three more follow, with the same engine and with a new one.
    """
    for name, case in CASES.items():
        out = Path(folder, name)
        out.mkdir(exist_ok=True)
        engine = start(case)
        found: dict[str, Any] = {"split": hasattr(next(engine.module.parameters()), "ds_id")}
        found["before"] = moved(full_weights(engine)) if rank == 0 else full_weights(engine)
        found["curve"] = steps(engine, case, 0)
        found["trained"] = sum(
            getattr(p, "ds_numel", p.numel()) for p in engine.module.parameters() if p.requires_grad
        )
        found["peak"] = peak_memory_bytes(engine)
        write_model(engine.module, str(out) if rank == 0 else None, SHARD)
        write_factors(engine, out, rank)
        if name in RESUMED:
            write(engine, case, HISTORY, str(out / "checkpoint"))
            found["uninterrupted"] = steps(engine, case, 3)
            found["resumed"] = resumed(case, str(out / "checkpoint"))
        if name == "zero_2":
            found["offloaded"] = resumed(CASES["offload_2"], str(out / "checkpoint"))
        if rank == 0:
            engine.module.config.save_pretrained(out)
            (out / "figures.json").write_text(json.dumps(found))
        engine.destroy()


def train_and_store(rank: int, folder: str) -> None:
    """All workers there are write checkpoints of three steps, and go on for three more."""
    for name in RESIZED:
        engine = start(CASES[name])
        curve = steps(engine, CASES[name], 0)
        out = Path(folder, name)
        write(engine, CASES[name], HISTORY, str(out))
        curve += steps(engine, CASES[name], 3)
        if rank == 0:
            (out / "curve.json").write_text(json.dumps(curve))
        engine.destroy()


def go_on(rank: int, folder: str, result: str) -> None:
    """Read what another number of workers has written, and do three more steps."""
    found = {
        name: resumed(case, str(Path(folder, name)), universal=case.zero_stage > 0)
        for name, case in CASES.items()
        if name in RESIZED
    }
    if rank == 0:
        Path(result).write_text(json.dumps(found))


def resumed(case: TrainConfig, checkpoint: str, universal: bool = False) -> list[list[float]]:
    """Three steps after a checkpoint."""
    engine = start(case, universal)
    assert read(engine, checkpoint) == HISTORY
    curve = steps(engine, case, 3)
    engine.destroy()
    return curve


def start(case: TrainConfig, universal: bool = False) -> Any:
    torch.manual_seed(0)
    workers = torch.distributed.get_world_size()
    load = partial(AutoModelForCausalLM.from_pretrained, TINY, dtype=DTYPES[case.dtype])
    model = ready_model(load, case, workers, on_gpu=False)
    return start_engine(model, case, workers, on_gpu=False, universal=universal)


def steps(engine: Any, case: TrainConfig, first: int) -> list[list[float]]:
    return [step(engine, case, number) for number in range(first, first + 3)]


def moved(weights: Mapping[str, torch.Tensor]) -> float:
    """The largest difference from the shipped model; names must be the same."""
    base = load_file(Path(TINY, "model.safetensors"))
    assert weights.keys() == base.keys()
    return max(float((weights[name].float() - base[name].float()).abs().max()) for name in base)


def step(engine: Any, case: TrainConfig, number: int) -> list[float]:
    """One optimizer step on eight rows of random tokens; mean loss and gradient norm."""
    rows = torch.randint(10, 90, (8, 32), generator=torch.Generator().manual_seed(number))
    mine = rows[engine.global_rank :: torch.distributed.get_world_size()]
    batches = [{"input_ids": part} for part in mine.split(case.micro_batch_size)]
    objective: Any = SimpleNamespace(loss=loss)
    means, _ = accumulate(engine, objective, batches, weight=8 * 31)
    return [means["loss"], take_step(engine)]


def loss(engine: Any, batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, float]]:
    logits = engine(input_ids=batch["input_ids"], use_cache=False).logits[:, :-1].float()
    targets = batch["input_ids"][:, 1:].flatten()
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets, reduction="sum"), {}


def write_factors(engine: Any, out: Path, rank: int) -> None:
    """The product of each adapter's factors, times its scale."""
    import deepspeed

    deltas = {}
    for name, layer in adapted_layers(engine.module):
        a, b = layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight
        with deepspeed.zero.GatheredParameters([a, b], enabled=hasattr(a, "ds_id")):
            deltas[name] = (b.double() @ a.double() * 2).detach()  # alpha / rank
    if rank == 0:
        torch.save(deltas, out / "deltas.pt")
