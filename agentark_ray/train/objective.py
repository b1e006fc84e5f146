"""What a training worker is told, and what it asks of an objective (sft.py, prm.py, grpo.py).

The step loop knows how to accumulate, step, checkpoint, resume and export; the objective brings the
model, the batches and the loss.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from agentark_ray.config import Config
from agentark_ray.run_folder import RunFolder
from agentark_ray.train.attention import implementation
from agentark_ray.train.lora import four_bit_settings

# Of one forward pass, on the worker's device. `input_ids` and `position_ids` are there, [B, T] and
# without padding: the rate and the work of a step are counted by them. `rows`, if there, says what
# it was made of, in places of the data.
Batch = Mapping[str, torch.Tensor]
Sums = Mapping[str, float]  # figures summed over what a batch is weighed by


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainJob:
    """What a worker needs to know. Pickled to every worker."""

    folder: RunFolder
    config: Config
    model: str  # resolved folder, URI or Hugging Face id to start from
    objective: "Callable[[TrainJob], Objective]"
    name: str  # of what is trained, unique in the run: checkpoints/NAME
    data: str  # what is learned from, as a path in the run folder
    out: str  # where the trained model goes, likewise
    on_gpu: bool
    progress: Any  # handle of a TrainProgress actor

    @property
    def curve(self) -> tuple[str, ...]:
        """Where the figures of all steps are."""
        return loss_curve(self.name)

    @property
    def dtype(self) -> torch.dtype:
        """Of the model's weights."""
        return {"bf16": torch.bfloat16, "fp32": torch.float32}[self.config.train.dtype]

    def model_settings(self) -> dict[str, Any]:
        """Arguments of `from_pretrained` that the configuration decides.

        Raises:
            ConfigError: 4 bits are asked for and cannot be had here.
        """
        lora = self.config.train.lora
        return {
            **(four_bit_settings(self.dtype) if lora and lora.base_bits else {}),
            "dtype": self.dtype,
            "attn_implementation": implementation(self.config.train.attention),
            "use_safetensors": True,
            "trust_remote_code": self.config.engine.trust_remote_code,
        }


def loss_curve(name: str) -> tuple[str, ...]:
    """The file of a training's figures: a list with one dict a step."""
    return ("checkpoints", name, "loss.json")


class Objective(Protocol):
    """One instance a worker, made after torch.distributed is up."""

    @property
    def steps(self) -> int:
        """Optimizer steps in all; the same on every worker."""
        ...

    def build(self) -> torch.nn.Module:
        """The model to train, with its starting weights."""
        ...

    def start(self, engine: Any, step: int) -> None:
        """Called once, when weights are loaded, with the first step to do (0 unless resumed)."""
        ...

    def batches(self, engine: Any, step: int) -> Sequence[Batch]:
        """This worker's micro-batches of an optimizer step; all workers have equally many, >= 1."""
        ...

    def weight(self, batch: Batch) -> float:
        """What the batch counts for: the loss is the sum over all batches over their weights."""
        ...

    def loss(self, engine: Any, batch: Batch) -> tuple[torch.Tensor, Sums]:
        """The batch's summed loss, and other figures summed in the same way."""
        ...

    def end_step(self, engine: Any, step: int) -> Mapping[str, float]:
        """Called on every worker after the weights changed; more figures of this step."""
        ...

    def save_config(self, folder: str) -> None:
        """Write what belongs to the model beside its weights: configuration, tokenizer."""
        ...
