"""How much computing a step is, and what share of the hardware's peak it uses (MFU).

Floating point operations of forward and backward pass as PaLM counts them (arXiv 2204.02311,
appendix B): 6 a parameter and token, 12 x heads x head size a layer and pair of tokens that attend
to each other. Stricter in two places: only pairs that attend count, not the masked half of a square
nor other examples of a packed sequence, and the output layer counts where its logits are made.
Frozen parameters count 4, activations that are computed again nothing. Dense models only: of a
mixture of experts all experts would count.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

# Dense bfloat16 operations a second of one GPU, without sparsity, from NVIDIA's and AMD's data
# sheets, by a pattern of its name; the first that fits counts.
_PEAKS: Mapping[str, float] = {
    r"\bB200\b": 2250e12,
    r"\bH200 NVL\b|\bH100 NVL\b": 835e12,
    r"\bH100 PCIe\b": 756e12,
    r"\bGH200\b|\bH200\b|\bH100\b|\bH800\b": 989e12,
    r"\bA100\b|\bA800\b": 312e12,
    r"\bL40S\b": 362e12,
    r"\bL40\b": 181e12,
    r"\bL4\b": 121e12,
    r"\bA40\b": 150e12,
    r"\bA30\b": 165e12,
    r"\bA10G?\b": 125e12,
    r"\bRTX 4090\b": 165e12,
    r"\bRTX 3090\b": 71e12,
    r"\bMI300X\b": 1307e12,
    r"\bMI250X?\b": 383e12,
}


def peak_flops(gpu: str) -> float | None:
    """Dense bfloat16 operations a second of the GPU of this name; None if it is not known."""
    return next((flops for pattern, flops in _PEAKS.items() if re.search(pattern, gpu)), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Operations of a model's forward and backward pass."""

    token: float  # a token, in the layers
    target: float  # a token whose logits are made, in the output layer
    pair: float  # a pair of tokens that attend to each other

    def flops(self, tokens: float, targets: float, pairs: float) -> float:
        """Of a step."""
        return self.token * tokens + self.target * targets + self.pair * pairs


def work_of(model: nn.Module) -> Work:
    """The work of a transformers model, or of one that has it as a part."""
    head = _output_layer(model)
    layers = [m for m in model.modules() if isinstance(m, nn.Linear) and m is not head]
    part: Any = next(m for m in model.modules() if hasattr(m, "config"))
    config = part.config.get_text_config()
    heads = config.num_attention_heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    return Work(
        token=sum(map(_linear_flops, layers)),
        target=_linear_flops(head) if head is not None else 0.0,
        pair=12.0 * config.num_hidden_layers * heads * head_dim,
    )


def _output_layer(model: nn.Module) -> nn.Module | None:
    parts: list[Any] = [m for m in model.modules() if hasattr(m, "get_output_embeddings")]
    found = (part.get_output_embeddings() for part in parts)
    return next((layer for layer in found if layer is not None), None)


def _linear_flops(layer: Any) -> float:
    """By the layer's own sizes: ZeRO 3 leaves an empty weight, 4 bits a packed one."""
    each = 6.0 if layer.weight.requires_grad else 4.0
    return each * layer.in_features * layer.out_features


def pairs_of(batches: Sequence[Mapping[str, torch.Tensor]]) -> float:
    """Pairs of tokens that attend to each other: a token at position p sees p + 1."""
    return float(sum((batch["position_ids"] + 1).sum() for batch in batches))


def mfu(flops: float, seconds: float, gpus: int, gpu: str) -> float | None:
    """Share of the peak, 0 to 1; None if the GPU is not known."""
    peak = peak_flops(gpu)
    return None if peak is None else flops / (seconds * gpus * peak)
