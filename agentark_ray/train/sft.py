"""Supervised fine-tuning: the batch and the loss; `loop.py` does the rest."""

from collections.abc import Sequence
from typing import Any

import torch

from agentark_ray.distill.packing import PackedRow
from agentark_ray.distill.tokens import IGNORE
from agentark_ray.train.losses import count_targets, next_token_loss_sum


def collate(rows: Sequence[PackedRow], device: torch.device) -> dict[str, torch.Tensor]:
    """int64 tensors of shape [B, T]: input_ids, position_ids, labels."""
    names = ("input_ids", "position_ids", "labels")
    return {name: torch.tensor([row[name] for row in rows], device=device) for name in names}


def empty_row(like: PackedRow) -> PackedRow:
    """A row without targets: it keeps workers in step and adds nothing to the loss."""
    return {**like, "labels": [IGNORE] * len(like["labels"])}


def targets(batch: dict[str, torch.Tensor]) -> int:
    """Target tokens of a batch."""
    return count_targets(batch["labels"])


def loss_sum(model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Summed loss of a batch, in nats.

    Without a mask and with position ids that restart, the model blocks attention between the
    examples of a packed row.
    """
    logits_B_T_V = model(
        input_ids=batch["input_ids"], position_ids=batch["position_ids"], use_cache=False
    ).logits
    return next_token_loss_sum(logits_B_T_V, batch["labels"])
