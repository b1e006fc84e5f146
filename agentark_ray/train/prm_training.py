"""Training of the process reward model: cross-entropy plus a supervised contrastive loss.

Shapes: B sequences, T tokens, N labelled steps of a batch, D projection.
"""

import json
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from agentark_ray.distill.tokens import IGNORE
from agentark_ray.strategy import PadConfig, PrmConfig
from agentark_ray.train.contrastive import supcon_sum
from agentark_ray.train.objective import Batch, Sums, TrainJob
from agentark_ray.train.prm import ABOUT, BAD, GOOD, ProcessRewardModel
from agentark_ray.train.sft import Sft, save_model_config


def prm_loss_sum(
    logits_N_2: torch.Tensor, vectors_N_D: torch.Tensor, classes_N: torch.Tensor, prm: PrmConfig
) -> tuple[torch.Tensor, Sums]:
    """Cross-entropy plus the weighted contrastive loss of all steps, in nats, and their parts.

    Sums: divided by the number of steps they are means.
    """
    entropy = cross_entropy(logits_N_2.float(), classes_N, reduction="sum")
    contrastive = supcon_sum(vectors_N_D, classes_N, prm.temperature)
    parts = {
        "cross_entropy": entropy.item(),
        "contrastive": contrastive.item(),
        "accuracy": float((logits_N_2.argmax(dim=-1) == classes_N).sum()),
    }
    return entropy + prm.contrastive_weight * contrastive, parts


class Prm(Sft):
    """Packed rows whose labels are classes of step ends; `train.epochs` times.

    The contrastive loss sees the steps of one micro-batch.
    """

    def __init__(self, job: TrainJob) -> None:
        super().__init__(job)
        self._prm = prm_settings(job.config.distill)

    def build(self) -> torch.nn.Module:
        """Backbone with its weights, a new head and projector."""
        from transformers import AutoModel

        backbone = AutoModel.from_pretrained(self._job.model, **self._job.model_settings())
        backbone.requires_grad_(not self._prm.freeze_backbone)
        return ProcessRewardModel(backbone, self._prm.projector_dim)

    def weight(self, batch: Batch) -> float:
        """Labelled steps."""
        return int((batch["labels"] != IGNORE).sum())

    def loss(self, engine: Any, batch: Batch) -> tuple[torch.Tensor, Sums]:
        """Summed loss of a batch, in nats."""
        at_B_T = batch["labels"] != IGNORE
        logits_N_2, vectors_N_D = engine(batch["input_ids"], batch["position_ids"], at_B_T)
        return prm_loss_sum(logits_N_2, vectors_N_D, batch["labels"][at_B_T], self._prm)

    def save_config(self, folder: str) -> None:
        """The backbone's configuration, the tokenizer, and what the head's classes mean."""
        save_model_config(self._job, folder)
        about = {
            "classes": {"bad": BAD, "good": GOOD},
            "base": self._job.model,
            "step_labels": self._prm.step_labels,
            "projector_dim": self._prm.projector_dim,
            "chat_template_kwargs": self._job.config.engine.chat_template_kwargs,
            "trust_remote_code": self._job.config.engine.trust_remote_code,
        }
        Path(folder, ABOUT).write_text(json.dumps(about, indent=2) + "\n")


def prm_settings(strategy: Any) -> PrmConfig:
    """The section `distill.prm`.

    Raises:
        ValueError: the strategy is another one.
    """
    if not isinstance(strategy, PadConfig):
        raise ValueError(f"distill.type={strategy.type}: only pad has a process reward model")
    return strategy.prm
