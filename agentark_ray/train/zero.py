"""DeepSpeed: its config, its engine, and getting the weights out of any ZeRO stage."""

from typing import Any

import torch

from agentark_ray.config import TrainConfig


def zero_config(train: TrainConfig, workers: int, on_gpu: bool) -> dict[str, Any]:
    """DeepSpeed's configuration. bf16 weights with float32 masters in the optimizer."""
    return {
        "train_batch_size": train.batch_size,
        "train_micro_batch_size_per_gpu": train.micro_batch_size,
        "gradient_accumulation_steps": train.batch_size // (train.micro_batch_size * workers),
        "gradient_clipping": train.clip_norm,
        "bf16": {"enabled": True},
        "zero_optimization": {
            "stage": train.zero_stage,
            "overlap_comm": on_gpu,
            "contiguous_gradients": True,
        },
        "zero_allow_untested_optimizer": True,
        "steps_per_print": 2**31,
    }


def start_engine(model: torch.nn.Module, train: TrainConfig, workers: int, on_gpu: bool) -> Any:
    """A DeepSpeed engine around the model; torch.distributed must be initialised."""
    import deepspeed

    optimizer = torch.optim.AdamW(
        model.parameters(), lr=train.lr, betas=(0.9, 0.95), weight_decay=train.weight_decay
    )
    engine, *_ = deepspeed.initialize(
        model=model,
        optimizer=optimizer,
        config=zero_config(train, workers, on_gpu),
        dist_init_required=False,
    )
    return engine


def full_weights(engine: Any, stage: int) -> dict[str, torch.Tensor]:
    """The whole model's weights in CPU memory on rank 0, an empty dict on other ranks.

    Every rank must call this. One parameter at a time is gathered.
    """
    import deepspeed

    weights = {}
    for name, parameter in engine.module.named_parameters():
        with deepspeed.zero.GatheredParameters([parameter], enabled=stage == 3):
            if engine.global_rank == 0:
                weights[name] = parameter.detach().to("cpu", copy=True)
    return weights
