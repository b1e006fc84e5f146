"""Finding what occurs twice, in bounded memory."""

import hashlib
import sqlite3
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


class Seen:
    """What came by before, in bounded memory: beyond a few MB it is in a temporary file."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None)  # "": removed when closed
        self._database.execute(
            "create table seen (hash blob primary key, label text) without rowid"
        )
        self._database.execute("begin")

    def before(self, text: str, label: str) -> str | None:
        """The label that an equal text came with before; None, and it is noted, if it is new."""
        digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
        query = "insert or ignore into seen values (?, ?)"
        if self._database.execute(query, (digest, label)).rowcount:
            return None
        query = "select label from seen where hash = ?"
        return self._database.execute(query, (digest,)).fetchone()[0]

    def close(self) -> None:
        """Give the temporary file back."""
        self._database.close()
