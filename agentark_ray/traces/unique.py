"""Finding an id that occurs twice, in bounded memory."""

import zlib
from collections.abc import Callable, Iterator

IDS_IN_MEMORY = 5_000_000


def first_duplicate(
    read: Callable[[], Iterator[tuple[str, str]]], total: int, in_memory: int = IDS_IN_MEMORY
) -> tuple[str, str, str] | None:
    """An id that occurs twice, with the labels of its first and second occurrence, or None.

    `read` gives about `total` pairs (id, label) and is called once for every slice of ids that fits
    into memory.
    """
    slices = max(1, -(-total // in_memory))
    for part in range(slices):
        seen: dict[str, str] = {}
        for item, label in read():
            if zlib.crc32(item.encode()) % slices != part:
                continue
            if item in seen:
                return item, seen[item], label
            seen[item] = label
    return None
