"""The step loop that runs in every training worker.

It knows how to feed, step, checkpoint and resume; what a batch and a loss are is the objective's
(`sft.py`). The loss is normalised by the number of target tokens of the whole optimizer step, over
all micro-batches and workers.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ray.train
import torch
import torch.distributed

from agentark_ray.config import Config
from agentark_ray.distill.packing import PackedRow
from agentark_ray.run_folder import RunFolder
from agentark_ray.train import checkpoint, sft
from agentark_ray.train.dataset import PackedRows, epoch_order, load_tokenizer
from agentark_ray.train.schedule import learning_rate, micro_batches, total_steps
from agentark_ray.train.zero import full_weights, start_engine

LOSS_CURVE = ("checkpoints", "loss.json")


class NonFinite(RuntimeError):
    """The loss or a gradient is not finite; the weights were not changed by it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainJob:
    """What a worker needs to know. Pickled to every worker."""

    folder: RunFolder
    config: Config
    model: str  # resolved folder or Hugging Face id to start from
    on_gpu: bool
    progress: Any  # handle of a TrainProgress actor


def train_worker(job: TrainJob) -> None:
    """Train to the end, from the last checkpoint if there is one, and export the student.

    A worker whose training diverges says so to `progress` and returns: Ray Train would restart one
    that raises, and the same steps would diverge again.
    """
    try:
        _train(job)
    except NonFinite as error:  # every worker meets it, at the same step
        ray.get(job.progress.diverge.remote(str(error)))


def _train(job: TrainJob) -> None:
    folder, strategy = job.folder, job.config.distill.type
    rows = PackedRows(folder.filesystem, folder.inner("datasets", strategy, "packed"))
    engine = _start(job)
    history = checkpoint.resume(engine)
    train = job.config.train
    total = total_steps(len(rows), train.batch_size, train.epochs)
    for step in range(len(history), total):
        history.append(_step(engine, job, rows, step, total))
        if engine.global_rank == 0:
            ray.get(job.progress.put.remote(step + 1, total, history[-1]))
        if (step + 1) % train.checkpoint_every == 0 or step + 1 == total:
            checkpoint.save(engine, history)
    _export(engine, job, history)


def _start(job: TrainJob) -> Any:
    from transformers import AutoModelForCausalLM

    torch.manual_seed(job.config.seed)
    model = AutoModelForCausalLM.from_pretrained(
        job.model,
        dtype=torch.bfloat16,
        attn_implementation="sdpa",
        use_safetensors=True,
        trust_remote_code=job.config.engine.trust_remote_code,
    )
    if job.config.train.gradient_checkpointing:
        model.gradient_checkpointing_enable()
    model.train()
    return start_engine(model, job.config.train, torch.distributed.get_world_size(), job.on_gpu)


def _step(engine: Any, job: TrainJob, rows: PackedRows, step: int, total: int) -> dict[str, float]:
    """One optimizer step; its figures."""
    started = time.perf_counter()
    train = job.config.train
    batches = [sft.collate(micro, engine.device) for micro in _feed(engine, job, rows, step)]
    n_targets = _sum_over_workers(sum(map(sft.targets, batches)), engine)
    rate = learning_rate(step, total, train.lr, train.warmup_fraction)
    for group in engine.optimizer.param_groups:
        group["lr"] = rate
    loss = _accumulate(engine, batches, n_targets, step)
    engine.step()
    seconds = time.perf_counter() - started
    return {
        "step": step + 1,
        "loss": loss,
        "lr": rate,
        "grad_norm": _grad_norm(engine, step),
        "target_tokens": n_targets,
        "tokens_per_s": train.batch_size * job.config.distill.seq_len / seconds,
    }


def _accumulate(
    engine: Any, batches: Sequence[dict[str, torch.Tensor]], n_targets: float, step: int
) -> float:
    """All gradients of one optimizer step; the mean loss. The caller takes the step.

    Raises:
        NonFinite: the loss is not finite.
    """
    # DeepSpeed averages over micro-batches and workers; the loss is a sum over all of them.
    scale = len(batches) * torch.distributed.get_world_size() / n_targets
    summed = 0.0
    for number, batch in enumerate(batches):
        if number:
            engine.step()  # not at a boundary yet: only counts the micro-batch before
        loss = sft.loss_sum(engine, batch)
        engine.backward(loss * scale)
        summed += loss.item()
    mean = _sum_over_workers(summed, engine) / n_targets
    if not math.isfinite(mean):
        raise NonFinite(f"step {step + 1}: the loss is {mean}; no weight was changed")
    return mean


def _feed(engine: Any, job: TrainJob, rows: PackedRows, step: int) -> list[list[PackedRow]]:
    """This worker's micro-batches of a step."""
    train = job.config.train
    epoch, batch = divmod(step, -(-len(rows) // train.batch_size))
    order = epoch_order(len(rows), job.config.seed, epoch)
    indices = order[batch * train.batch_size : (batch + 1) * train.batch_size]
    plan = micro_batches(
        indices,
        train.batch_size,
        train.micro_batch_size,
        engine.global_rank,
        torch.distributed.get_world_size(),
    )
    return [[_row(rows, index) for index in micro] for micro in plan]


def _row(rows: PackedRows, index: int) -> PackedRow:
    return sft.empty_row(rows[0]) if index < 0 else rows[index]


def _sum_over_workers(value: float, engine: Any) -> float:
    tensor = torch.tensor(value, dtype=torch.float64, device=engine.device)
    torch.distributed.all_reduce(tensor)
    return tensor.item()


def _grad_norm(engine: Any, step: int) -> float:
    """The gradient's norm before clipping; DeepSpeed skips the step if it is not finite."""
    norm = float(engine.get_global_grad_norm() or 0.0)
    if engine.skipped_steps or not math.isfinite(norm):
        raise NonFinite(f"step {step + 1}: the gradient's norm is {norm}; the step was not taken")
    return norm


def _export(engine: Any, job: TrainJob, history: Sequence[Any]) -> None:
    """Write student/ as safetensors with its tokenizer, and the loss curve, from rank 0."""
    weights = full_weights(engine, job.config.train.zero_stage)
    if engine.global_rank == 0:

        def write(path: str) -> None:
            engine.module.save_pretrained(path, state_dict=weights)
            load_tokenizer(job.config, job.model).save_pretrained(path)

        job.folder.write_directory(write, "student")
        job.folder.write_json(list(history), *LOSS_CURVE)
    torch.distributed.barrier()
