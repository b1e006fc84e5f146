"""DeepSpeed: its config, models that are split from the start, its engine, peaks of memory."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from agentark_ray.config import TrainConfig


def zero_config(train: TrainConfig, workers: int, on_gpu: bool) -> dict[str, Any]:
    """DeepSpeed's configuration. The optimizer's own weights are float32."""
    return {
        "train_batch_size": train.batch_size,
        "train_micro_batch_size_per_gpu": train.micro_batch_size,
        "gradient_accumulation_steps": train.batch_size // (train.micro_batch_size * workers),
        "gradient_clipping": train.clip_norm,
        "bf16": {"enabled": train.dtype == "bf16"},
        "zero_optimization": {
            "stage": train.zero_stage,
            "overlap_comm": on_gpu,
            "contiguous_gradients": True,
            **_offload(train, on_gpu),
        },
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,  # torch's fused AdamW needs no compiler
        "steps_per_print": 2**31,
    }


def _offload(train: TrainConfig, on_gpu: bool) -> dict[str, Any]:
    cpu = {"device": "cpu", "pin_memory": on_gpu}
    moved = {"none": [], "optimizer": ["optimizer"], "all": ["optimizer", "param"]}
    return {f"offload_{what}": cpu for what in moved[train.offload]}


@contextmanager
def split_from_the_start(train: TrainConfig, workers: int, on_gpu: bool) -> Iterator[None]:
    """With ZeRO 3 no worker holds a whole model that transformers loads in the body.

    `from_pretrained` then builds it under `deepspeed.zero.Init`; rank 0 reads the files and hands
    the layers out. For other stages nothing changes.
    """
    if train.zero_stage != 3:
        yield
        return
    import deepspeed
    from transformers.integrations.deepspeed import HfDeepSpeedConfig, unset_hf_deepspeed_config

    deepspeed.init_distributed(dist_init_required=False)
    known = HfDeepSpeedConfig(zero_config(train, workers, on_gpu))  # for as long as it is alive
    try:
        yield
    finally:
        del known
        unset_hf_deepspeed_config()


def start_engine(
    model: torch.nn.Module, train: TrainConfig, workers: int, on_gpu: bool, universal: bool = False
) -> Any:
    """A DeepSpeed engine around the model; torch.distributed must be initialised.

    With `universal` it reads checkpoints in that form (checkpoint.py).
    """
    import deepspeed

    optimizer = torch.optim.AdamW(
        [parameter for parameter in model.parameters() if parameter.requires_grad],
        lr=0.0,
        betas=(0.9, 0.95),
        weight_decay=train.weight_decay,
        fused=True,
    )
    engine: Any = deepspeed.initialize(
        model=model,
        optimizer=optimizer,
        config={
            **zero_config(train, workers, on_gpu),
            "checkpoint": {"load_universal": universal},
        },
        dist_init_required=False,
    )[0]
    if train.zero_stage == 0:
        # In bfloat16 DeepSpeed has taken a step without gradients, which Adam would count.
        optimizer.state.clear()
    for group in engine.optimizer.param_groups:
        group["lr"] = train.lr
    return engine


def peak_memory_bytes(engine: Any) -> float:
    """The most memory any worker has held so far: of its GPU, without one of its process."""
    on_gpu = engine.device.type == "cuda"
    kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    mine = torch.cuda.max_memory_allocated() if on_gpu else 1024 * kib
    peak = torch.tensor([float(mine)], dtype=torch.float64, device=engine.device)
    torch.distributed.all_reduce(peak, op=torch.distributed.ReduceOp.MAX)
    return peak.item()
