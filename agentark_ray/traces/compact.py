"""Many small trace files -> few large ones, of the same rows.

A job writes a file a block, and blocks are small so that a lost one costs little; readers and
object stores want 64-512 MB. A large file takes the name of its first small one, for names say
which files belong to committed blocks. What is to be replaced is in a journal first: a compaction
that was killed is finished by the next, and no row is lost or double then.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow.parquet as pq
from pyarrow import fs

from agentark_ray.config import ConfigError
from agentark_ray.run_folder import RunFolder
from agentark_ray.traces.generate import drop_unfinished

JOURNAL = "compaction.json"
ROWS_AT_ONCE = 1_000  # in memory, and at least so many a row group
PENDING = "_compacting.parquet"  # the underscore hides it from readers of the folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Compaction:
    """What a compaction found and left."""

    files_before: int
    files: int
    bytes: int  # of all files now
    rows: int


def compact(folder: RunFolder, target_bytes: int, out: str = "traces") -> Compaction:
    """Merge neighbouring files of the folder `out` until each has `target_bytes`, but the last.

    Files of blocks that are not committed are dropped before, as the next run does: it would drop
    what is merged into one of them, too.

    Raises:
        ConfigError: there are no traces, or another process works in the run folder.
    """
    if not folder.exists(out):
        raise ConfigError(f"{folder.uri}: no traces; {out}/ is missing")
    with folder.locked():
        _finish(folder, out)
        if folder.exists(f"{out}_checkpoint"):  # else nothing says which blocks are committed
            drop_unfinished(folder, out)
        before = _files(folder, out)
        for group in groups([info.size or 0 for info in before], target_bytes):
            _merge(folder, out, [before[index].base_name for index in group])
        after = _files(folder, out)
        return Compaction(
            files_before=len(before),
            files=len(after),
            bytes=sum(info.size or 0 for info in after),
            rows=sum(_metadata(folder, out, info.base_name).num_rows for info in after),
        )


def groups(sizes: Sequence[int], target_bytes: int) -> Iterator[list[int]]:
    """Indices of neighbouring files to be merged: two and more, up to the target together.

    A file of half the target and more is left as it is: compacting again does nothing.
    """
    group: list[int] = []
    total = 0
    for index, size in enumerate(sizes):
        if group and (total + size > target_bytes or 2 * size >= target_bytes):
            if len(group) > 1:
                yield group
            group, total = [], 0
        if 2 * size < target_bytes:
            group.append(index)
            total += size
    if len(group) > 1:
        yield group


def _merge(folder: RunFolder, out: str, names: Sequence[str]) -> None:
    schema = _metadata(folder, out, names[0]).schema.to_arrow_schema()
    # Without the metadata of pandas or of a single file; the schema's own stays.
    with pq.ParquetWriter(
        folder.inner(out, PENDING), schema, filesystem=folder.filesystem, compression="zstd"
    ) as writer:
        for name in names:
            with folder.filesystem.open_input_file(folder.inner(out, name)) as stream:
                for batch in pq.ParquetFile(stream).iter_batches(ROWS_AT_ONCE):
                    writer.write_batch(batch.cast(schema))
    folder.write_json({"out": out, "files": list(names)}, JOURNAL)
    _finish(folder, out)


def _finish(folder: RunFolder, out: str) -> None:
    """Put the merged file into the place of the small ones, if one was left."""
    if not folder.exists(JOURNAL):
        if folder.exists(out, PENDING):  # killed while it was written
            folder.filesystem.delete_file(folder.inner(out, PENDING))
        return
    journal = folder.read_json(JOURNAL)
    first, *others = journal["files"]
    out = journal["out"]
    if folder.exists(out, PENDING):
        folder.filesystem.move(folder.inner(out, PENDING), folder.inner(out, first))
    for name in others:
        if folder.exists(out, name):
            folder.filesystem.delete_file(folder.inner(out, name))
    folder.filesystem.delete_file(folder.inner(JOURNAL))


def _metadata(folder: RunFolder, out: str, name: str) -> pq.FileMetaData:
    return pq.read_metadata(folder.inner(out, name), filesystem=folder.filesystem)


def _files(folder: RunFolder, out: str) -> list[fs.FileInfo]:
    """Trace files by name, which is the order of the blocks that were written."""
    found = folder.filesystem.get_file_info(fs.FileSelector(folder.inner(out)))
    kept = [info for info in found if info.is_file and not info.base_name.startswith(("_", "."))]
    return sorted(kept, key=lambda info: info.base_name)
