"""Packing: several examples in one training sequence, without letting them see each other.

Position ids restart at 0 with every example; the model's attention is blocked at each restart.
"""

import bisect
from collections.abc import Sequence
from typing import TypedDict

from agentark_ray.distill.tokens import IGNORE, Example


class PackedRow(TypedDict):
    """A training sequence of `seq_len` tokens: lists of T integers."""

    input_ids: list[int]
    position_ids: list[int]
    labels: list[int]  # IGNORE on prompts and padding
    examples: int


def plan_packs(lengths: Sequence[int], seq_len: int) -> list[list[int]]:
    """Best-fit decreasing: indices of `lengths` grouped so that each group fits into `seq_len`.

    Raises:
        ValueError: a length is larger than `seq_len`.
    """
    packs: list[list[int]] = []
    room: list[tuple[int, int]] = []  # (tokens left, pack), sorted
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if lengths[index] > seq_len:
            raise ValueError(f"example {index} has {lengths[index]} tokens, at most {seq_len} fit")
        slot = bisect.bisect_left(room, (lengths[index], -1))
        if slot == len(room):
            packs.append([])
            left, pack = seq_len, len(packs) - 1
        else:
            left, pack = room.pop(slot)
        packs[pack].append(index)
        bisect.insort(room, (left - lengths[index], pack))
    return packs


def pack(examples: Sequence[Example], seq_len: int, pad_id: int) -> list[PackedRow]:
    """Packed rows that hold every example once, padded to `seq_len`."""
    plans = plan_packs([len(example.input_ids) for example in examples], seq_len)
    return [_row([examples[i] for i in plan], seq_len, pad_id) for plan in plans]


def _row(examples: Sequence[Example], seq_len: int, pad_id: int) -> PackedRow:
    ids = [token for example in examples for token in example.input_ids]
    labels = [label for example in examples for label in example.labels]
    positions = [t for example in examples for t in range(len(example.input_ids))]
    padding = seq_len - len(ids)
    return {
        "input_ids": ids + [pad_id] * padding,
        "position_ids": positions + list(range(padding)),
        "labels": labels + [IGNORE] * padding,
        "examples": len(examples),
    }
