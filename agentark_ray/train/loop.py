"""The step loop that runs in every training worker, whatever the objective.

The loss of an optimizer step is a sum over all micro-batches and workers over what they count for
(target tokens), so neither packing, micro-batches nor workers change it.
"""

import math
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import ray.train
import torch
import torch.distributed

from agentark_ray.train import checkpoint
from agentark_ray.train.export import write_model
from agentark_ray.train.lora import add_adapters
from agentark_ray.train.objective import Batch, Objective, TrainJob
from agentark_ray.train.schedule import learning_rate
from agentark_ray.train.zero import peak_memory_bytes, split_from_the_start, start_engine


class NonFinite(RuntimeError):
    """The loss or a gradient is not finite; the weights were not changed by it."""


def train_worker(job: TrainJob) -> None:
    """Train to the end, from the last checkpoint if there is one, and export the model.

    A worker whose training diverges says so to `progress` and returns: Ray Train would restart one
    that raises, and the same steps would diverge again.
    """
    try:
        _train(job)
    except NonFinite as error:  # every worker meets it, at the same step
        ray.get(job.progress.diverge.remote(str(error)))


def _train(job: TrainJob) -> None:
    torch.manual_seed(job.config.seed)
    train, objective = job.config.train, job.objective(job)
    workers = torch.distributed.get_world_size()
    with split_from_the_start(train, workers, job.on_gpu):
        model: Any = objective.build()
    if train.lora:
        add_adapters(model, train.lora)
    if train.gradient_checkpointing:
        model.gradient_checkpointing_enable()
    model.train()
    engine = start_engine(model, train, workers, job.on_gpu, universal=checkpoint.resized())
    history = checkpoint.resume(engine)
    objective.start(engine, len(history))
    for step in range(len(history), objective.steps):
        history.append(_step(engine, job, objective, step))
        if engine.global_rank == 0:
            ray.get(job.progress.put.remote(step + 1, objective.steps, history[-1]))
        if (step + 1) % train.checkpoint_every == 0 or step + 1 == objective.steps:
            checkpoint.save(engine, train, history)
    _export(engine, job, objective, history)


def _step(engine: Any, job: TrainJob, objective: Objective, step: int) -> dict[str, float]:
    """One optimizer step; its figures."""
    started = time.perf_counter()
    train = job.config.train
    rate = learning_rate(step, objective.steps, train.lr, train.warmup_fraction)
    for group in engine.optimizer.param_groups:
        group["lr"] = rate
    batches = objective.batches(engine, step)
    tokens = sum(batch["input_ids"].numel() for batch in batches)
    tokens, weight = _over_workers([tokens, sum(map(objective.weight, batches))], engine)
    means = _accumulate(engine, objective, batches, weight, step)
    engine.step()
    figures = {
        "step": step + 1,
        **means,
        "lr": rate,
        "grad_norm": _grad_norm(engine, step),
        "weight": weight,
        "peak_memory_gb": peak_memory_bytes(engine) / 1e9,
        **objective.end_step(engine, step),
    }
    return {**figures, "tokens_per_s": tokens / (time.perf_counter() - started)}


def _accumulate(
    engine: Any, objective: Objective, batches: Sequence[Batch], weight: float, step: int
) -> dict[str, float]:
    """All gradients of one optimizer step; the mean loss and figures. The caller takes the step.

    Raises:
        NonFinite: the loss is not finite.
    """
    # DeepSpeed averages over workers and divides by its accumulation steps; ours is a sum.
    scale = engine.gradient_accumulation_steps() * torch.distributed.get_world_size() / weight
    sums: Counter[str] = Counter()
    for number, batch in enumerate(batches, start=1):
        engine.set_gradient_accumulation_boundary(number == len(batches))
        loss, figures = objective.loss(engine, batch)
        engine.backward(loss * scale)
        sums.update({"loss": loss.item(), **figures})
    means = {k: v / weight for k, v in zip(sums, _over_workers(sums.values(), engine), strict=True)}
    if not math.isfinite(means["loss"]):
        raise NonFinite(f"step {step + 1}: the loss is {means['loss']}; no weight was changed")
    return means


def _over_workers(values: Iterable[float], engine: Any) -> list[float]:
    """The sums of these values over all workers."""
    tensor = torch.tensor(list(values), dtype=torch.float64, device=engine.device)
    torch.distributed.all_reduce(tensor)
    return tensor.tolist()


def _grad_norm(engine: Any, step: int) -> float:
    """The gradient's norm before clipping; DeepSpeed skips the step if it is not finite."""
    norm = float(engine.get_global_grad_norm() or 0.0)
    if engine.skipped_steps or not math.isfinite(norm):
        raise NonFinite(f"step {step + 1}: the gradient's norm is {norm}; the step was not taken")
    return norm


def _export(engine: Any, job: TrainJob, objective: Objective, history: Sequence[Any]) -> None:
    """Write the model as safetensors with its configuration, and the loss curve, from rank 0."""
    shard_bytes = int(job.config.train.export_shard_gb * 1e9)
    if engine.global_rank == 0:

        def write(path: str) -> None:
            write_model(engine.module, path, shard_bytes)
            objective.save_config(path)

        job.folder.write_directory(write, job.out)
        job.folder.write_json(list(history), *job.curve)
    else:
        write_model(engine.module, None, shard_bytes)
    torch.distributed.barrier()
