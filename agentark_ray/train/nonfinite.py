"""A training that meets a number that is not finite stops; what it met is kept to be looked at."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.distributed
from safetensors.torch import save_file

from agentark_ray.train.objective import Batch, TrainJob

TENSORS, ABOUT = "batches.safetensors", "batches.json"


class NonFinite(RuntimeError):
    """The loss or a gradient is not finite; the weights were not changed by it."""


def nonfinite(
    job: TrainJob, step: int, reason: str, batches: Sequence[Batch], losses: Sequence[float]
) -> NonFinite:
    """Save the micro-batches in question and say where they are. Every worker must call this.

    In question are those whose loss is not finite; if there is none (a gradient overflowed), all of
    the step. They are in `checkpoints/NAME/nonfinite/step-S-worker-W`: tensors named
    `NUMBER.TENSOR`, and a JSON file with step, reason, and rows and loss of each.

    Args:
        step: of the optimizer, from 0; files and messages count from 1.
        losses: of this worker's micro-batches, in nats, summed over what they count for.
    """
    rank, workers = torch.distributed.get_rank(), torch.distributed.get_world_size()
    mine = [number for number, loss in enumerate(losses) if not math.isfinite(loss)]
    found: list[list[int]] = [[] for _ in range(workers)]
    torch.distributed.all_gather_object(found, mine)
    suspects = mine if any(found) else list(range(len(batches)))

    def folder(worker: int) -> tuple[str, ...]:
        return ("checkpoints", job.name, "nonfinite", f"step-{step + 1}-worker-{worker}")

    def write(path: str) -> None:
        tensors = {
            f"{number}.{name}": tensor.detach().cpu().contiguous()
            for number in suspects
            for name, tensor in batches[number].items()
        }
        save_file(tensors, Path(path, TENSORS))
        about = {
            "step": step + 1,
            "worker": rank,
            "reason": reason,
            "data": job.data,
            "batches": [_about(n, batches[n], losses[n]) for n in suspects],
        }
        Path(path, ABOUT).write_text(json.dumps(about, indent=2) + "\n")

    if suspects:
        job.folder.write_directory(write, *folder(rank))
    torch.distributed.barrier()
    writers = [worker for worker in range(workers) if found[worker] or not any(found)]
    saved = ", ".join(job.folder.path(*folder(worker), TENSORS) for worker in writers)
    return NonFinite(f"step {step + 1}: {reason}; no weight was changed. Saved: {saved}")


def _about(number: int, batch: Batch, loss: float) -> dict[str, object]:
    rows = batch["rows"].tolist() if "rows" in batch else None
    return {
        "batch": number,
        "rows": rows and [row for row in rows if row >= 0],  # -1 fills the last batch of an epoch
        "loss": loss if math.isfinite(loss) else str(loss),  # JSON has no NaN
    }
