"""What a training will need of memory, before it starts: DeepSpeed's own estimate, and activations.

Nothing is loaded: a model's shape is read from its configuration.

Activations, in bytes a token of a micro-batch: a layer of a model with gated feed-forward layers
keeps 24 x hidden + 4 x (query + key-value width) + 8 x intermediate, of which 8 x hidden are
float32 copies in its two norms, everything else 16-bit inputs of products; attention keeps no
matrix of scores. With gradient checkpointing each layer keeps its input (2 x hidden) and one layer
at a time the rest. The logits take 10 x vocabulary: 16 bit, float32, and their gradient.
"""

import math
from dataclasses import dataclass
from typing import Any

from agentark_ray.train_config import TrainConfig

GPUS_A_NODE = 8
BUFFERS_BYTES = 4_000_000_000  # DeepSpeed's default buckets (3 GB), CUDA's own memory (1 GB)
GB = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """What the memory of a training depends on."""

    parameters: int
    largest_layer: int  # parameters of the largest single module
    trained: int  # parameters with a gradient: all, or those of adapters
    layers: int
    hidden: int
    intermediate: int
    query_width: int  # heads x head size
    kv_width: int
    vocabulary: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryEstimate:
    """Bytes that a training needs, of each GPU and of each node's CPUs."""

    states: int  # weights, gradients, optimizer: DeepSpeed's estimate
    activations: int
    buffers: int
    cpu: int  # of a node

    @property
    def gpu(self) -> int:
        """Of each GPU."""
        return self.states + self.activations + self.buffers

    def words(self) -> str:
        """For people."""
        return (
            f"about {self.gpu / GB:.1f} GB of each GPU (weights, gradients and optimizer"
            f" {self.states / GB:.1f}, activations {self.activations / GB:.1f}, buffers"
            f" {self.buffers / GB:.1f}) and {self.cpu / GB:.0f} GB of each node's memory"
        )


def model_shape(config: Any, train: TrainConfig, trust_remote_code: bool = False) -> ModelShape:
    """The shape of a causal language model from its transformers configuration.

    Raises:
        ConfigError: an adapter's target is not in the model.
    """
    import torch
    from transformers import AutoModelForCausalLM

    from agentark_ray.train.lora import add_adapters

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)
        parameters = sum(p.numel() for p in model.parameters())
        if train.lora:
            add_adapters(model, train.lora)
    text = config.get_text_config()
    heads = text.num_attention_heads
    head_size = getattr(text, "head_dim", None) or text.hidden_size // heads
    return ModelShape(
        parameters=parameters,
        largest_layer=max(
            sum(p.numel() for p in module.parameters(recurse=False)) for module in model.modules()
        ),
        trained=sum(p.numel() for p in model.parameters() if p.requires_grad),
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        intermediate=getattr(text, "intermediate_size", None) or 4 * text.hidden_size,
        query_width=heads * head_size,
        kv_width=(getattr(text, "num_key_value_heads", None) or heads) * head_size,
        vocabulary=text.vocab_size,
    )


def estimate_memory(shape: ModelShape, train: TrainConfig, seq_len: int) -> MemoryEstimate:
    """What each GPU and node needs with `train.workers` GPUs, GPUS_A_NODE of them in a node."""
    cpu, states = _states(shape, train)
    return MemoryEstimate(
        states=states,
        activations=activation_bytes(shape, train, seq_len),
        buffers=BUFFERS_BYTES,
        cpu=cpu,
    )


def activation_bytes(shape: ModelShape, train: TrainConfig, seq_len: int) -> int:
    """Bytes that the backward pass of a micro-batch needs; the formula is at the top."""
    wide = 24 * shape.hidden + 4 * (shape.query_width + shape.kv_width) + 8 * shape.intermediate
    layers = wide * shape.layers
    if train.gradient_checkpointing:
        layers = 2 * shape.hidden * shape.layers + wide
    width = 2 if train.dtype == "fp32" else 1
    return train.micro_batch_size * seq_len * (layers + 10 * shape.vocabulary) * width


def _states(shape: ModelShape, train: TrainConfig) -> tuple[int, int]:
    """Bytes of a node's CPU memory and of a GPU, for weights, gradients and optimizer.

    DeepSpeed's estimators are for 16-bit training at stages 2 and 3. Stage 0 is stage 2 on one GPU,
    stage 1 has whole 16-bit gradients. Weights that are not trained are added at 2 bytes (half a
    byte in 4 bits), 32-bit weights at 2 more.
    """
    gpus = min(train.workers, GPUS_A_NODE)
    nodes = math.ceil(train.workers / GPUS_A_NODE)
    offload, stage = train.offload != "none", train.zero_stage
    if stage == 3:
        cpu, gpu = _stage_3(shape, train, gpus, nodes)
    else:
        cpu, gpu = _stage_2(shape.trained, gpus, nodes if stage else 0, offload)
    if stage == 1:
        gpu += int(2 * shape.trained * (1 - 1 / train.workers))
    frozen = shape.parameters - shape.trained if train.lora else 0
    width = 0.5 if train.lora and train.lora.base_bits else 2
    more = max(frozen, 0) * width + (2 * shape.parameters if train.dtype == "fp32" else 0)
    if train.offload == "all":
        return cpu + int(more / nodes), gpu
    return cpu, gpu + int(more / (train.workers if stage == 3 else 1))


def _stage_3(shape: ModelShape, train: TrainConfig, gpus: int, nodes: int) -> tuple[int, int]:
    from deepspeed.runtime.zero.stage3 import estimate_zero3_model_states_mem_needs

    cpu, gpu, _ = estimate_zero3_model_states_mem_needs(
        shape.trained,
        shape.largest_layer,
        num_gpus_per_node=gpus,
        num_nodes=nodes,
        cpu_offload=train.offload != "none",
        cpu_offload_params=train.offload == "all",
    )
    return cpu, gpu


def _stage_2(trained: int, gpus: int, nodes: int, offload: bool) -> tuple[int, int]:
    from deepspeed.runtime.zero.stage_1_and_2 import estimate_zero2_model_states_mem_needs

    split = {"num_gpus_per_node": gpus, "num_nodes": nodes} if nodes else {}
    return estimate_zero2_model_states_mem_needs(trained, **split, cpu_offload=offload)
