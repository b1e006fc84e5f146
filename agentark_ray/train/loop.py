"""The step loop that runs in every training worker, whatever the objective.

The loss of an optimizer step is a sum over all micro-batches and workers over what they count for
(target tokens), so neither packing, micro-batches nor workers change it.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from typing import Any

import ray.train
import torch
import torch.distributed

from agentark_ray.train import checkpoint
from agentark_ray.train.export import write_model
from agentark_ray.train.lora import add_adapters
from agentark_ray.train.nonfinite import NonFinite, nonfinite
from agentark_ray.train.objective import Batch, Objective, TrainJob
from agentark_ray.train.schedule import learning_rate
from agentark_ray.train.tracking import start_trackers
from agentark_ray.train.work import Work, mfu, pairs_of, work_of
from agentark_ray.train.zero import peak_memory_bytes, split_from_the_start, start_engine
from agentark_ray.train_config import TrainConfig


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
    model = ready_model(objective.build, train, workers, job.on_gpu)
    work = work_of(model)
    engine = start_engine(model, train, workers, job.on_gpu, universal=checkpoint.resized())
    history = checkpoint.resume(engine)
    objective.start(engine, len(history))
    with ExitStack() as closing:  # also when training diverges: its last steps tell how
        trackers = start_trackers(job, history) if engine.global_rank == 0 else []
        for tracker in trackers:
            closing.callback(tracker.close)
        for step in range(len(history), objective.steps):
            history.append(_step(engine, job, objective, work, step))
            for tracker in trackers:
                tracker.log(history[-1])
            if engine.global_rank == 0:
                ray.get(job.progress.put.remote(step + 1, objective.steps, history[-1]))
            if (step + 1) % train.checkpoint_every == 0 or step + 1 == objective.steps:
                checkpoint.save(engine, train, history)
                for tracker in trackers:
                    tracker.flush()
    _export(engine, job, objective, history)


def ready_model(build: Callable[[], Any], train: TrainConfig, workers: int, on_gpu: bool) -> Any:
    """The model that `build` loads, with what the configuration adds to it."""
    with split_from_the_start(train, workers, on_gpu):
        model = build()
    if train.lora:
        add_adapters(model, train.lora)
    if train.gradient_checkpointing:
        model.gradient_checkpointing_enable()
    return model.train()


def _step(
    engine: Any, job: TrainJob, objective: Objective, work: Work, step: int
) -> dict[str, float]:
    """One optimizer step; its figures."""
    started = time.perf_counter()
    train = job.config.train
    rate = learning_rate(step, objective.steps, train.lr, train.warmup_fraction)
    for group in engine.optimizer.param_groups:
        group["lr"] = rate
    batches = objective.batches(engine, step)
    weight, tokens, targets, pairs = sizes(objective, batches, engine)
    means, losses = accumulate(engine, objective, batches, weight)
    if not math.isfinite(means["loss"]):
        raise nonfinite(job, step, f"the loss is {means['loss']}", batches, losses)
    norm = take_step(engine)
    if not math.isfinite(norm):
        raise nonfinite(job, step, f"the gradient's norm is {norm}", batches, losses)
    figures = {
        "step": step + 1,
        **means,
        "lr": rate,
        "grad_norm": norm,
        "weight": weight,
        "peak_memory_gb": peak_memory_bytes(engine) / 1e9,
        **objective.end_step(engine, step),
    }
    seconds = time.perf_counter() - started
    return figures | _rates(job, tokens, work.flops(tokens, targets, pairs), seconds)


def sizes(objective: Objective, batches: Sequence[Batch], engine: Any) -> list[float]:
    """What the batches of all workers count for, their tokens, targets and attended pairs."""
    mine = [
        sum(map(objective.weight, batches)),
        sum(batch["input_ids"].numel() for batch in batches),
        sum(len(batch["targets"]) for batch in batches if "targets" in batch),
        pairs_of(batches),
    ]
    return _over_workers(mine, engine)


def _rates(job: TrainJob, tokens: float, flops: float, seconds: float) -> dict[str, float]:
    """Seconds, tokens a second of all workers and, on a known GPU in bfloat16, MFU."""
    rates = {"seconds": seconds, "tokens_per_s": tokens / seconds}
    if job.on_gpu and job.config.train.dtype == "bf16":
        workers = torch.distributed.get_world_size()
        share = mfu(flops, seconds, workers, torch.cuda.get_device_name())
        return rates if share is None else {**rates, "mfu": share}
    return rates


def accumulate(
    engine: Any, objective: Objective, batches: Sequence[Batch], weight: float
) -> tuple[dict[str, float], list[float]]:
    """All gradients of one optimizer step. The caller takes the step.

    Returns:
        The means of loss and figures over all workers, and this worker's losses, one a batch.
    """
    scale = torch.distributed.get_world_size() / weight  # DeepSpeed averages over workers
    sums: Counter[str] = Counter()
    losses = []
    for number, batch in enumerate(batches, start=1):
        engine.set_gradient_accumulation_boundary(number == len(batches))
        loss, figures = objective.loss(engine, batch)
        engine.backward(loss * scale, scale_wrt_gas=False)
        losses.append(loss.item())
        sums.update({"loss": losses[-1], **figures})
    means = {k: v / weight for k, v in zip(sums, _over_workers(sums.values(), engine), strict=True)}
    return means, losses


def _over_workers(values: Iterable[float], engine: Any) -> list[float]:
    """The sums of these values over all workers."""
    tensor = torch.tensor(list(values), dtype=torch.float64, device=engine.device)
    torch.distributed.all_reduce(tensor)
    return tensor.tolist()


def take_step(engine: Any) -> float:
    """The gradient's norm before clipping. If it is not finite the step is not taken."""
    norm = 0.0
    if not hasattr(engine.optimizer, "overflow"):  # ZeRO 0 in float32: DeepSpeed does not look
        grads = [p.grad for p in engine.module.parameters() if p.grad is not None]
        norm = float(torch.nn.utils.get_total_norm(grads))
        if not math.isfinite(norm):
            return norm
    engine.step()
    norm = float(engine.get_global_grad_norm() or norm)
    return math.nan if engine.skipped_steps and math.isfinite(norm) else norm


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
