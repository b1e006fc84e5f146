"""Low-rank adapters by peft: put into a model, and merged out of it one weight at a time.

Adapters are put into the model in place, so that its class and the names of its weights stay. Heads
that an objective puts on a model are not frozen.
"""

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from agentark_ray.section import ConfigError
from agentark_ray.train_config import LoraConfig

ADAPTER = "default"


def add_adapters(model: nn.Module, lora: LoraConfig) -> None:
    """Put adapters into the transformers model that `model` is or holds; freeze its own weights.

    Their first product is zero: the model computes what it did before.

    Raises:
        ConfigError: a target module is not among the model's linear layers.
    """
    from peft import LoraConfig as PeftLora
    from peft import inject_adapter_in_model

    base = transformers_model(model)
    linear = {name.rsplit(".", 1)[-1] for name, found in base.named_modules() if is_linear(found)}
    if unknown := [name for name in lora.target_modules if name not in linear]:
        raise ConfigError(
            f"train.lora.target_modules: the model has no linear layers {unknown}; it has"
            f" {sorted(linear)}"
        )
    settings = PeftLora(
        r=lora.rank,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]  # peft computes with fractions too
        lora_dropout=lora.dropout,
        target_modules=list(lora.target_modules),
    )
    inject_adapter_in_model(settings, base, adapter_name=ADAPTER)
    dtype = next(p.dtype for p in base.parameters() if p.is_floating_point())
    for name, parameter in base.named_parameters():
        if ".lora_" in name:  # ZeRO keeps float32 copies of them in the optimizer
            parameter.data = parameter.data.to(dtype)


def transformers_model(model: nn.Module) -> nn.Module:
    """The outermost transformers model in a module."""
    from transformers import PreTrainedModel

    return next(found for found in model.modules() if isinstance(found, PreTrainedModel))


def is_linear(module: nn.Module) -> bool:
    """Whether a module multiplies by a matrix, in full precision or in 4 bits."""
    return isinstance(module, nn.Linear) or type(module).__name__ == "Linear4bit"


def adapted_layers(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """(name, layer) of every layer that has an adapter."""
    if not any(".lora_" in name for name, _ in model.named_parameters()):
        return
    from peft.tuners.lora import LoraLayer

    for name, module in model.named_modules():
        if isinstance(module, LoraLayer):
            yield name, module


def adapter_weights(layer: Any) -> tuple[nn.Parameter, nn.Parameter]:
    """The factors A [rank, in] and B [out, rank] of a layer's adapter."""
    return layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight


def merged(layer: Any) -> torch.Tensor:
    """W + B A alpha / rank of a layer whose weights are whole, summed in float32, in W's type.

    Source: LoRA (arXiv 2106.09685), section 4.1.
    """
    base = full_precision(layer.get_base_layer())
    a, b = (weight.detach().float() for weight in adapter_weights(layer))
    return (base.float() + (b @ a) * layer.scaling[ADAPTER]).to(base.dtype)


def full_precision(layer: nn.Module) -> torch.Tensor:
    """A layer's weight; one of 4 bits is widened."""
    from peft.utils.integrations import dequantize_module_weight

    return dequantize_module_weight(layer).detach()


def four_bit_settings(dtype: torch.dtype) -> dict[str, Any]:
    """Arguments of `from_pretrained` that load a model in 4 bits (NF4, QLoRA, arXiv 2305.14314).

    Raises:
        ConfigError: bitsandbytes or a GPU is missing.
    """
    missing = [] if find_spec("bitsandbytes") else ["the package bitsandbytes"]
    missing += [] if torch.cuda.is_available() else ["a CUDA device"]
    if missing:
        raise ConfigError(f"train.lora.base_bits=4 needs {' and '.join(missing)}")
    from transformers import BitsAndBytesConfig

    return {
        "quantization_config": BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
    }
