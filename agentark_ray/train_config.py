"""The `train` section of a configuration: the step loop, its optimizer and its memory."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from agentark_ray.section import OPERATIONAL, Section

NodeLabel = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([\w.-]{0,61}[A-Za-z0-9])?$")]


class LoraConfig(Section):
    """Low-rank adapters (peft) that are trained in place of the model, and merged on export."""

    rank: Annotated[int, Field(ge=1, le=1024)] = 16
    alpha: Annotated[float, Field(gt=0)] = 32.0
    """The adapters' product counts alpha / rank times."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    target_modules: Annotated[tuple[str, ...], Field(min_length=1)] = (
        *("q_proj", "k_proj", "v_proj", "o_proj"),
        *("gate_proj", "up_proj", "down_proj"),
    )
    """Last names of the linear layers that get an adapter."""
    base_bits: Literal[4] | None = None
    """4 holds the frozen model in NF4 (QLoRA): needs bitsandbytes, a GPU and ZeRO below 3."""


class TrainConfig(Section):
    """The training loop and its DeepSpeed engine.

    Where a field decides only how much memory and time a step takes it is operational: a stopped
    training may go on with another value, as far as its checkpoint can be read with it.
    """

    workers: Annotated[int, Field(ge=1, le=1024, json_schema_extra=OPERATIONAL)] = 1
    cpus_per_worker: Annotated[int, Field(ge=1, json_schema_extra=OPERATIONAL)] = 1
    """Cores, and without a GPU threads, of a worker. More threads than idle cores are slower."""
    label_selector: dict[str, NodeLabel] = Field(
        default_factory=dict, json_schema_extra=OPERATIONAL
    )
    """Labels that a worker's node must have, e.g. {ray.io/market-type: on-demand}."""
    zero_stage: Annotated[int, Field(ge=0, le=3, json_schema_extra=OPERATIONAL)] = 2
    """What is split among the workers: 0 nothing, 1 optimizer, 2 also gradients, 3 also weights."""
    offload: Annotated[
        Literal["none", "optimizer", "all"], Field(json_schema_extra=OPERATIONAL)
    ] = "none"
    """What lives in CPU memory: the optimizer and its step (ZeRO 1-3); `all`: weights too (3)."""
    lora: LoraConfig | None = None
    """Adapters to train; null trains all weights."""
    epochs: Annotated[int, Field(ge=1)] = 2
    lr: Annotated[float, Field(gt=0, le=1)] = 1e-5
    warmup_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.05
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.0
    clip_norm: Annotated[float, Field(gt=0)] = 1.0
    batch_size: Annotated[int, Field(ge=1)] = 16
    """Packed sequences an optimizer step, over all workers."""
    micro_batch_size: Annotated[int, Field(ge=1, json_schema_extra=OPERATIONAL)] = 4
    """Packed sequences a forward pass of one worker."""
    dtype: Literal["bf16", "fp32"] = "bf16"
    """Of weights and activations; the optimizer's own weights are float32 in either case."""
    attention: Annotated[
        Literal["varlen", "sdpa", "eager"], Field(json_schema_extra=OPERATIONAL)
    ] = "varlen"
    """`varlen` cuts a packed sequence at its examples; `sdpa` and `eager` are of transformers, for
    models whose attention has more than causality and a window."""
    gradient_checkpointing: Annotated[bool, Field(json_schema_extra=OPERATIONAL)] = False
    """Compute activations again in the backward pass instead of holding them."""
    checkpoint_every: Annotated[int, Field(ge=1)] = 50
    """Optimizer steps between checkpoints."""
    trackers: Annotated[
        tuple[Literal["tensorboard", "wandb", "mlflow"], ...],
        Field(json_schema_extra=OPERATIONAL),
    ] = ("tensorboard",)
    """Where figures of steps go besides steps.jsonl; keys and servers come from the environment."""
    max_failures: Annotated[int, Field(ge=0, json_schema_extra=OPERATIONAL)] = 2
    """Worker crashes after which training gives up."""
    export_shard_gb: Annotated[float, Field(gt=0, json_schema_extra=OPERATIONAL)] = 4.0
    """Largest file of the exported weights, in 10^9 bytes; a single larger tensor has its own."""

    @model_validator(mode="after")
    def _batches_divide(self) -> "TrainConfig":
        if self.batch_size % (self.micro_batch_size * self.workers):
            raise ValueError(
                f"batch_size={self.batch_size} must be a multiple of micro_batch_size x workers"
                f" = {self.micro_batch_size} x {self.workers}"
            )
        return self

    @model_validator(mode="after")
    def _memory_settings_agree(self) -> "TrainConfig":
        if self.offload == "all" and self.zero_stage != 3:
            raise ValueError(
                f"offload=all moves split weights and needs zero_stage=3, got {self.zero_stage};"
                " offload=optimizer needs zero_stage 1, 2 or 3"
            )
        if self.offload == "optimizer" and self.zero_stage == 0:
            raise ValueError("offload=optimizer needs zero_stage 1, 2 or 3, got 0")
        if self.lora and self.lora.base_bits and self.zero_stage == 3:
            raise ValueError(
                "lora.base_bits=4 needs zero_stage 0, 1 or 2, got 3 (4-bit weights are not split)"
            )
        return self
