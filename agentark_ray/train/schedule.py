"""Learning-rate schedule and batch plan: pure functions of the step."""

import math
from collections.abc import Sequence

FINAL_SHARE = 0.1  # of the peak learning rate, at the end


def learning_rate(step: int, total: int, peak: float, warmup_fraction: float) -> float:
    """Linear warm-up, then a cosine down to FINAL_SHARE of the peak; step counts from 0."""
    warmup = max(1, round(total * warmup_fraction)) if warmup_fraction else 0
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = (step - warmup) / max(1, total - warmup)
    return peak * (FINAL_SHARE + (1 - FINAL_SHARE) * 0.5 * (1 + math.cos(math.pi * progress)))


def total_steps(rows: int, batch_size: int, epochs: int) -> int:
    """Optimizer steps; the last batch of an epoch may be smaller."""
    return -(-rows // batch_size) * epochs


def micro_batches(
    batch: Sequence[int], batch_size: int, micro: int, rank: int, workers: int
) -> list[list[int]]:
    """A worker's micro-batches of one optimizer step, as row indices.

    All workers get the same number of micro-batches of the same size; missing rows of a smaller
    last batch are -1 and carry no target.
    """
    padded = [*batch, *([-1] * (batch_size - len(batch)))]
    mine = padded[rank::workers]
    return [list(mine[i : i + micro]) for i in range(0, len(mine), micro)]
