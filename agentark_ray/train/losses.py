"""Losses as pure functions of tensors: no rank, no engine, no I/O.

Shapes: B sequences, T tokens, V vocabulary.
"""

import torch
from torch.nn.functional import cross_entropy

from agentark_ray.distill.tokens import IGNORE


def next_token_loss_sum(logits_B_T_V: torch.Tensor, labels_B_T: torch.Tensor) -> torch.Tensor:
    """Sum of the negative log-likelihoods of all targets, in nats (a float32 scalar).

    `labels_B_T[b, t]` is the token at t where it is a target, else IGNORE; position t-1 predicts
    it. A sum, not a mean: the caller divides by the number of targets of the whole batch, so that
    packing, micro-batches and workers do not change the result.
    """
    predicted = logits_B_T_V[:, :-1].float().flatten(0, 1)
    return cross_entropy(
        predicted, labels_B_T[:, 1:].flatten(), ignore_index=IGNORE, reduction="sum"
    )


def count_targets(labels_B_T: torch.Tensor) -> int:
    """Targets that `next_token_loss_sum` sums over."""
    return int((labels_B_T[:, 1:] != IGNORE).sum())
