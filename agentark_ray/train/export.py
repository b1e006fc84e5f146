"""A trained model as Hugging Face safetensors, from any ZeRO stage, one weight at a time.

No more of the model than one file of weights is in memory besides what the engine itself holds.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import split_state_dict_into_shards_factory
from safetensors.torch import save_file
from torch import nn

from agentark_ray.train import lora

INDEX = "model.safetensors.index.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A weight as it will be stored."""

    like: torch.Tensor  # its shape and type, without memory
    sources: tuple[nn.Parameter, ...]  # what must be whole to make it
    make: Callable[[], torch.Tensor]  # the weight, once its sources are whole


def stored_weights(model: nn.Module) -> dict[str, Stored]:
    """Name -> weight of all that belongs into a file: tied weights once, adapters merged."""
    adapters = {id(p) for _, layer in lora.adapted_layers(model) for p in _factors(layer)}
    merged = {f"{name}.base_layer.weight": layer for name, layer in lora.adapted_layers(model)}
    found = {}
    for name, parameter in _untied(model):
        if id(parameter) in adapters:
            continue
        entry = _merged(merged[name]) if name in merged else _plain(parameter)
        found[name.replace(".base_layer.", ".")] = entry
    return {**found, **dict(_buffers(model))}


def write_model(model: nn.Module, folder: str | None, shard_bytes: int) -> None:
    """Write all weights to a local folder, files of at most `shard_bytes` with an index.

    Every rank must call this; the one rank that writes gives a folder, the others None.
    """
    weights = stored_weights(model)
    split = split_state_dict_into_shards_factory(
        {name: weight.like for name, weight in weights.items()},
        get_storage_size=lambda tensor: tensor.nbytes,
        filename_pattern="model{suffix}.safetensors",
        max_shard_size=shard_bytes,
    )
    for file, names in split.filename_to_tensors.items():
        chosen = whole_weights({name: weights[name] for name in names})
        shard = _copies(chosen, keep=folder is not None)
        if folder is not None:
            save_file(shard, f"{folder}/{file}", metadata={"format": "pt"})
    if folder is not None and split.is_sharded:
        index = {"metadata": split.metadata, "weight_map": split.tensor_to_filename}
        Path(folder, INDEX).write_text(json.dumps(index, indent=2) + "\n")


def full_weights(engine: Any) -> dict[str, torch.Tensor]:
    """All weights in CPU memory on rank 0, an empty dict on other ranks. All ranks call this."""
    return _copies(whole_weights(stored_weights(engine.module)), keep=engine.global_rank == 0)


def whole_weights(weights: Mapping[str, Stored]) -> Iterator[tuple[str, torch.Tensor]]:
    """(name, weight) of each, on the model's device; to be used before the next is asked for.

    All ranks must iterate together: weights that ZeRO 3 has split are made whole one at a time.
    """
    import deepspeed

    for name, weight in weights.items():
        split = [parameter for parameter in weight.sources if hasattr(parameter, "ds_id")]
        with deepspeed.zero.GatheredParameters(split, enabled=bool(split)):
            yield name, weight.make()


def _copies(weights: Iterator[tuple[str, torch.Tensor]], keep: bool) -> dict[str, torch.Tensor]:
    copies = {}
    for name, weight in weights:
        if keep:
            copies[name] = weight.to("cpu", copy=True).contiguous()
    return copies


def _untied(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Parameters by name; of tied ones the name that transformers reads."""
    tied: Mapping[str, str] = getattr(model, "all_tied_weights_keys", None) or {}
    seen: set[int] = set()
    pairs = list(model.named_parameters(remove_duplicate=False))
    for name, parameter in sorted(pairs, key=lambda pair: pair[0] in tied):  # stable: tied last
        if id(parameter) not in seen:
            seen.add(id(parameter))
            yield name, parameter


def _factors(layer: Any) -> tuple[nn.Parameter, nn.Parameter]:
    return lora.adapter_weights(layer)


def _plain(parameter: nn.Parameter) -> Stored:
    return Stored(like=_like(parameter), sources=(parameter,), make=parameter.detach)


def _merged(layer: Any) -> Stored:
    base = layer.get_base_layer().weight
    return Stored(
        like=_like(base), sources=(base, *_factors(layer)), make=lambda: lora.merged(layer)
    )


def _like(parameter: Any) -> torch.Tensor:
    """Shape and type of the whole weight: ZeRO 3 leaves an empty tensor, 4 bits are packed."""
    state = getattr(parameter, "quant_state", None)
    shape, dtype = (state.shape, state.dtype) if state else (parameter.shape, parameter.dtype)
    return torch.empty(getattr(parameter, "ds_shape", shape), dtype=dtype, device="meta")


def _buffers(model: nn.Module) -> Iterator[tuple[str, Stored]]:
    for prefix, module in model.named_modules():
        if type(module).__name__ == "Linear4bit":
            continue
        for name, buffer in module.named_buffers(prefix, recurse=False):
            if name.rsplit(".", 1)[-1] not in module._non_persistent_buffers_set:
                yield name, Stored(like=buffer.to("meta"), sources=(), make=buffer.detach)
