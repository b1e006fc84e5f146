"""Training of the process reward model: cross-entropy, a supervised contrastive loss, and the
next-token loss of good steps, so that it knows what a right solution says (Cobbe et al.,
2110.14168, section 4.2).

Shapes: B sequences, T tokens, N labelled steps of a batch, S tokens of solutions, D projection.
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
from agentark_ray.train.prm import ABOUT, BAD, GOOD, GOOD_SAID, ProcessRewardModel
from agentark_ray.train.sft import Sft, load_model, save_model_config


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


def said_sum(logprobs_S: torch.Tensor, labels_S: torch.Tensor) -> torch.Tensor:
    """The next-token loss of good steps in nats: the mean over a step's tokens, summed over steps.

    A long step counts as much as a short one, as in the other losses.
    """
    ends_S = (labels_S == BAD) | (labels_S == GOOD)
    good_S = ((labels_S == GOOD) | (labels_S == GOOD_SAID)).float()
    step_S = ends_S.cumsum(0) - ends_S.long()  # its number in the batch
    lengths_N = torch.zeros(len(labels_S) + 1, device=good_S.device).index_add(0, step_S, good_S)
    return -(logprobs_S * good_S / lengths_N[step_S].clamp(min=1)).sum()


class Prm(Sft):
    """Packed rows whose labels are classes of step ends; `train.epochs` times.

    The contrastive loss sees the steps of one micro-batch.
    """

    def __init__(self, job: TrainJob) -> None:
        super().__init__(job)
        self._prm = prm_settings(job.config.distill)

    def build(self) -> torch.nn.Module:
        """Backbone with its weights, a new head and projector."""
        backbone: Any = load_model(self._job)
        backbone.requires_grad_(not self._prm.freeze_backbone)
        return ProcessRewardModel(backbone, self._prm.projector_dim)

    def weight(self, batch: Batch) -> float:
        """Labelled steps."""
        return int(step_ends(batch).sum())

    def loss(self, engine: Any, batch: Batch) -> tuple[torch.Tensor, Sums]:
        """Summed loss of a batch, in nats."""
        labels_B_T, at_B_T = batch["labels"], step_ends(batch)
        said_B_T = (labels_B_T != IGNORE) & (batch["position_ids"] > 0)
        logits_N_2, vectors_N_D, logprobs_S = engine(
            batch["input_ids"], batch["position_ids"], said_B_T, at_B_T
        )
        loss, parts = prm_loss_sum(logits_N_2, vectors_N_D, labels_B_T[at_B_T], self._prm)
        language = said_sum(logprobs_S, labels_B_T[said_B_T])
        parts = {**parts, "language": language.item()}
        return loss + self._prm.language_weight * language, parts

    def save_config(self, folder: str) -> None:
        """The backbone's configuration, the tokenizer, and what the head's classes mean."""
        save_model_config(self._job, folder)
        about = {
            "classes": {"bad": BAD, "good": GOOD},
            "base": self._job.model,
            "step_labels": self._prm.step_labels,
            "projector_dim": self._prm.projector_dim,
            "chat_template_kwargs": self._job.config.engine.chat_template_kwargs,
        }
        Path(folder, ABOUT).write_text(json.dumps(about, indent=2) + "\n")


def step_ends(batch: Batch) -> torch.Tensor:
    """[B, T]: where a step with a class ends."""
    return (batch["labels"] == BAD) | (batch["labels"] == GOOD)


def prm_settings(strategy: Any) -> PrmConfig:
    """The section `distill.prm`.

    Raises:
        ValueError: the strategy is another one.
    """
    if not isinstance(strategy, PadConfig):
        raise ValueError(f"distill.type={strategy.type}: only pad has a process reward model")
    return strategy.prm
