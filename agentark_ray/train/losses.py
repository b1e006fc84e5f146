"""Losses as pure functions of tensors: no rank, no engine, no I/O.

Shapes: N targets, V vocabulary.
"""

import torch
from torch.nn.functional import cross_entropy


def token_loss_sum(logits_N_V: torch.Tensor, targets_N: torch.Tensor) -> torch.Tensor:
    """Sum of the negative log-likelihoods of all targets, in nats (a float32 scalar).

    A sum, not a mean: the caller divides by the number of targets of the whole batch, so that
    packing, micro-batches and workers do not change the result.
    """
    return cross_entropy(logits_N_V.float(), targets_N, reduction="sum")
