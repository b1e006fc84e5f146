"""Attention of packed sequences: an example sees itself alone, and costs what its length costs.

A dense block mask over a packed sequence of T tokens would cost T x T, most of it masked away.
`varlen` cuts the sequence at the starts of its examples instead: on a GPU one call of PyTorch's
variable-length flash attention, in bfloat16 or float16; otherwise one causal call an example.
Other names are implementations of transformers, which builds the mask from the position ids.

Shapes: B sequences, H heads, T tokens, D head size.
"""

import itertools
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.weak import WeakTensorKeyDictionary

VARLEN = "varlen"
_KERNEL_DTYPES = (torch.bfloat16, torch.float16)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Where the examples of a flattened batch are."""

    lengths: tuple[int, ...]
    edges: torch.Tensor  # int32 [examples + 1], from 0 to the sum of the lengths


_known: Any = WeakTensorKeyDictionary()  # position ids -> Bounds: once a batch, not once a layer


def implementation(name: str) -> str:
    """What transformers is to be given as `attn_implementation` for `train.attention`."""
    from transformers import AttentionInterface

    if name == VARLEN:
        AttentionInterface.register(VARLEN, varlen_attention)
    return name


def bounds(position_ids_B_T: torch.Tensor) -> Bounds:
    """An example begins with every row, and where positions do not go on by one."""
    if position_ids_B_T not in _known:
        starts = torch.ones_like(position_ids_B_T, dtype=torch.bool)
        starts[:, 1:] = position_ids_B_T.diff(dim=1) != 1
        found = starts.flatten().nonzero().flatten().tolist()
        edges = [*found, starts.numel()]
        _known[position_ids_B_T] = Bounds(
            lengths=tuple(b - a for a, b in itertools.pairwise(edges)),
            edges=torch.tensor(edges, dtype=torch.int32, device=position_ids_B_T.device),
        )
    return _known[position_ids_B_T]


def varlen_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    position_ids: torch.Tensor | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """An attention function of transformers: [B, H, T, D] -> [B, T, H, D], and no weights.

    Raises:
        ValueError: the model needs what this attention has not; `train.attention` has others.
    """
    _refuse(module, attention_mask, position_ids, dropout, kwargs)
    assert position_ids is not None
    if len(position_ids) != len(query):
        position_ids = position_ids.expand(len(query), -1)
    where = bounds(position_ids)
    shape = (query.shape[0], query.shape[2], query.shape[1], value.shape[3])
    flat = [x.transpose(1, 2).flatten(0, 1) for x in (query, key, value)]  # [B T, H, D]
    attend = _kernel if query.is_cuda and query.dtype in _KERNEL_DTYPES else _one_by_one
    return attend(flat, where, scaling, sliding_window).view(shape), None


def _refuse(
    module: torch.nn.Module,
    mask: torch.Tensor | None,
    position_ids: torch.Tensor | None,
    dropout: float,
    others: dict[str, Any],
) -> None:
    has = {
        "an attention mask": mask is not None,
        "no position ids": position_ids is None,
        "attention dropout": dropout > 0,
        **{name: others.get(name) is not None for name in ("softcap", "s_aux", "position_bias")},
    }
    if found := [name for name, there in has.items() if there]:
        raise ValueError(
            f"train.attention={VARLEN}: {type(module).__name__} comes with {', '.join(found)},"
            " expected position ids alone; set train.attention to sdpa or eager"
        )


def _kernel(
    flat: list[torch.Tensor], where: Bounds, scale: float | None, window: int | None
) -> torch.Tensor:
    from torch.nn.attention.varlen import varlen_attn

    query, key, value = flat
    longest = max(where.lengths)
    out = varlen_attn(
        query,
        key,
        value,
        where.edges,
        where.edges,
        longest,
        longest,
        scale=scale,
        window_size=(-1 if window is None else window - 1, 0),
        enable_gqa=query.shape[1] != key.shape[1],
    )
    assert isinstance(out, torch.Tensor)
    return out


def _one_by_one(
    flat: list[torch.Tensor], where: Bounds, scale: float | None, window: int | None
) -> torch.Tensor:
    gqa = flat[0].shape[1] != flat[1].shape[1]
    parts = zip(*(x.transpose(0, 1)[None].split(where.lengths, dim=2) for x in flat), strict=True)
    outs = [
        scaled_dot_product_attention(q, k, v, **_mask(q, window), scale=scale, enable_gqa=gqa)
        for q, k, v in parts
    ]
    return torch.cat(outs, dim=2)[0].transpose(0, 1).contiguous()


def _mask(query: torch.Tensor, window: int | None) -> dict[str, Any]:
    """Causal; a query sees `window` tokens, itself among them."""
    length = query.shape[2]
    if window is None or length <= window:
        return {"is_causal": True}
    ones = torch.ones(length, length, dtype=torch.bool, device=query.device)
    return {"attn_mask": ones.tril() & ones.triu(1 - window)}
