"""The `train` section of a configuration: the step loop, its optimizer and its memory."""

from typing import Annotated

from pydantic import Field, model_validator

from agentark_ray.section import OPERATIONAL, Section


class TrainConfig(Section):
    """The training loop and its DeepSpeed engine."""

    workers: Annotated[int, Field(ge=1, le=1024, json_schema_extra=OPERATIONAL)] = 1
    cpus_per_worker: Annotated[int, Field(ge=1, json_schema_extra=OPERATIONAL)] = 1
    """Cores, and without a GPU threads, of a worker. More threads than idle cores are slower."""
    zero_stage: Annotated[int, Field(ge=0, le=3)] = 2
    epochs: Annotated[int, Field(ge=1)] = 2
    lr: Annotated[float, Field(gt=0, le=1)] = 1e-5
    warmup_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.05
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.0
    clip_norm: Annotated[float, Field(gt=0)] = 1.0
    batch_size: Annotated[int, Field(ge=1)] = 16
    """Packed sequences an optimizer step, over all workers."""
    micro_batch_size: Annotated[int, Field(ge=1)] = 4
    """Packed sequences a forward pass of one worker."""
    gradient_checkpointing: bool = False
    checkpoint_every: Annotated[int, Field(ge=1)] = 50
    """Optimizer steps between checkpoints."""
    max_failures: Annotated[int, Field(ge=0, json_schema_extra=OPERATIONAL)] = 2
    """Worker crashes after which training gives up."""

    @model_validator(mode="after")
    def _batches_divide(self) -> "TrainConfig":
        if self.batch_size % (self.micro_batch_size * self.workers):
            raise ValueError(
                f"batch_size={self.batch_size} must be a multiple of micro_batch_size x workers"
                f" = {self.micro_batch_size} x {self.workers}"
            )
        return self
