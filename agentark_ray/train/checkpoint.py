"""Checkpoints of a training run: DeepSpeed's shards plus the step and the loss curve so far."""

import json
import tempfile
from pathlib import Path
from typing import Any

import ray.train
import torch.distributed

TAG = "state"
HISTORY = "history.json"

History = list[dict[str, float]]  # one dict a step: step, loss, lr, grad_norm, tokens_per_s


def save(engine: Any, history: History) -> None:
    """Every rank writes its shard; Ray Train merges and commits them. Blocks until all wrote."""
    with tempfile.TemporaryDirectory() as folder:
        engine.save_checkpoint(folder, tag=TAG, client_state={"step": len(history)})
        if engine.global_rank == 0:
            (Path(folder) / HISTORY).write_text(json.dumps(history))
        torch.distributed.barrier()
        ray.train.report(
            {"step": len(history), "loss": history[-1]["loss"]},
            checkpoint=ray.train.Checkpoint.from_directory(folder),
        )


def resume(engine: Any) -> History:
    """Load the last committed checkpoint, if there is one; the history so far, else an empty one.

    Raises:
        RuntimeError: DeepSpeed could not load it, e.g. it was written by another number of workers.
    """
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        return []
    with checkpoint.as_directory() as folder:
        loaded, _ = engine.load_checkpoint(folder, tag=TAG)
        if loaded is None:
            raise RuntimeError(f"checkpoint {checkpoint.path} could not be loaded by DeepSpeed")
        return json.loads((Path(folder) / HISTORY).read_text())
