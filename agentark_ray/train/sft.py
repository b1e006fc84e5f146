"""Supervised fine-tuning: packed rows, and the loss of every target token."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.distributed

from agentark_ray.distill.packing import PackedRow
from agentark_ray.distill.tokens import IGNORE
from agentark_ray.models import local_model
from agentark_ray.train.dataset import PackedRows, epoch_order, load_tokenizer
from agentark_ray.train.losses import token_loss_sum
from agentark_ray.train.objective import Batch, Sums, TrainJob
from agentark_ray.train.schedule import micro_batches, total_steps


class Sft:
    """The next-token loss on the targets of packed rows, `train.epochs` times."""

    def __init__(self, job: TrainJob) -> None:
        self._job = job
        self._rows = PackedRows(job.folder.filesystem, job.folder.inner(job.data))

    @property
    def steps(self) -> int:
        """Optimizer steps of all epochs."""
        train = self._job.config.train
        return total_steps(len(self._rows), train.batch_size, train.epochs)

    def build(self) -> torch.nn.Module:
        """The causal language model."""
        return load_model(self._job)

    def start(self, engine: Any, step: int) -> None:
        """Nothing to prepare."""

    def batches(self, engine: Any, step: int) -> Sequence[Batch]:
        """Rows of this epoch's order, as `collate` puts them together."""
        train = self._job.config.train
        epoch, batch = divmod(step, -(-len(self._rows) // train.batch_size))
        order = epoch_order(len(self._rows), self._job.config.seed, epoch)
        plan = micro_batches(
            order[batch * train.batch_size : (batch + 1) * train.batch_size],
            train.batch_size,
            train.micro_batch_size,
            engine.global_rank,
            torch.distributed.get_world_size(),
        )
        return [
            {
                **collate([self._row(index) for index in micro], engine.device),
                "rows": torch.tensor(micro),
            }
            for micro in plan
        ]

    def weight(self, batch: Batch) -> float:
        """Target tokens."""
        return len(batch["targets"])

    def loss(self, engine: Any, batch: Batch) -> tuple[torch.Tensor, Sums]:
        """Summed loss of a batch, in nats."""
        return loss_sum(engine, batch), {}

    def end_step(self, engine: Any, step: int) -> Mapping[str, float]:
        """Nothing more to tell."""
        return {}

    def save_config(self, folder: str) -> None:
        """Model configuration, generation settings, tokenizer with its chat template."""
        save_model_config(self._job, folder)

    def _row(self, index: int) -> PackedRow:
        return empty_row(self._rows[0]) if index < 0 else self._rows[index]


def load_model(job: TrainJob) -> torch.nn.Module:
    """The causal language model that a job starts from."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(local_model(job.model), **job.model_settings())


def save_model_config(job: TrainJob, folder: str) -> None:
    """config.json, generation settings and tokenizer of the model a job starts from."""
    from transformers import AutoConfig, GenerationConfig

    trust = job.config.engine.trust_remote_code
    local = local_model(job.model, weights=False)
    config = AutoConfig.from_pretrained(local, trust_remote_code=trust)
    config.dtype = job.dtype
    config.save_pretrained(folder)
    GenerationConfig.from_model_config(config).save_pretrained(folder)
    load_tokenizer(job.config, job.model).save_pretrained(folder)


def collate(rows: Sequence[PackedRow], device: torch.device) -> dict[str, torch.Tensor]:
    """The rows as one sequence without their padding: int64 tensors.

    input_ids, position_ids and labels [1, T], and `targets` [N]: where in T the tokens are that the
    token before them is to predict.
    """
    kept = [_without_padding(row) for row in rows]
    flat = {name: np.concatenate([row[name] for row in kept])[None] for name in kept[0]}
    learned = (flat["labels"] != IGNORE) & (flat["position_ids"] > 0)
    flat["targets"] = np.flatnonzero(learned)
    return {name: torch.from_numpy(values).to(device) for name, values in flat.items()}


def _without_padding(row: PackedRow) -> dict[str, np.ndarray]:
    """The examples of a row; padding begins where positions restart once more than there are."""
    names = ("input_ids", "position_ids", "labels")
    values = {name: np.asarray(row[name], dtype=np.int64) for name in names}
    starts = np.flatnonzero(values["position_ids"] == 0)
    end = starts[row["examples"]] if len(starts) > row["examples"] else None
    return {name: array[:end] for name, array in values.items()}


def empty_row(like: PackedRow) -> PackedRow:
    """A row without targets: it keeps workers in step and adds nothing to the loss."""
    return {
        "input_ids": like["input_ids"][:1],
        "position_ids": [0],
        "labels": [IGNORE],
        "examples": 1,
    }


def loss_sum(model: Any, batch: Batch) -> torch.Tensor:
    """Summed loss of a batch (`collate`), in nats."""
    return token_loss_sum(target_logits(model, batch), batch["input_ids"][0, batch["targets"]])


def target_logits(model: Any, batch: Batch) -> torch.Tensor:
    """What the model predicts at the targets of a batch (`collate`): [N, V].

    Without a mask and with position ids that restart, the model blocks attention between the
    examples of a packed row. Only the logits of targets are made.
    """
    targets_N = batch["targets"]
    logits_N_V = model(
        input_ids=batch["input_ids"],
        position_ids=batch["position_ids"],
        use_cache=False,
        logits_to_keep=targets_N - 1,
    ).logits[0]
    if len(logits_N_V) != len(targets_N):  # the model does not know logits_to_keep
        logits_N_V = logits_N_V[targets_N - 1]
    return logits_N_V
