"""Finding ids that occur twice, in bounded memory."""

import zlib
from collections.abc import Callable, Iterator
from typing import TypeVar

IDS_IN_MEMORY = 1_000_000  # about 250 MB

Label = TypeVar("Label")


def duplicates(
    read: Callable[[], Iterator[tuple[str, Label]]], total: int, in_memory: int = IDS_IN_MEMORY
) -> Iterator[tuple[str, Label, Label]]:
    """Every further occurrence of an id: the id, the label of its first occurrence, and its own.

    `read` gives about `total` pairs (id, label) and is called once for every slice of ids that fits
    into memory.
    """
    slices = max(1, -(-total // in_memory))
    for part in range(slices):
        seen: dict[str, Label] = {}
        for item, label in read():
            if zlib.crc32(item.encode()) % slices != part:
                continue
            if item in seen:
                yield item, seen[item], label
            else:
                seen[item] = label
