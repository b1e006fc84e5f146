"""Rows that nobody asks for any more are set aside, and come back when they are asked for again.

The transcripts of an arm are those that its requests name and no others: with other settings, or
another version of this package, an evaluation asks for other rows. What it asked for before is kept
in OUT_earlier, away from readers of the folder. Ids of all requests are in memory, so this is for
evaluations.
"""

from collections.abc import Callable
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from agentark_ray.run_folder import RunFolder
from agentark_ray.traces.generate import (
    drop_doubles,
    drop_unfinished,
    file_names,
    replace_file,
    stored_ids,
)

KEY = "debate_id"


def earlier(out: str) -> str:
    """Where the rows of the folder `out` are that are not asked for."""
    return f"{out}_earlier"


def keep_asked(folder: RunFolder, requests: str, out: str) -> dict[str, int]:
    """Leave in `out` only rows of requests/`requests`, and bring back those that were set aside.

    Must not run while somebody writes to `out`. Stopped anywhere, it goes on when it is run again.

    Returns:
        How many rows came `back` and how many were set `aside`.
    """
    drop_unfinished(folder, out)
    aside = earlier(out)
    asked = stored_ids(folder, f"requests/{requests}.parquet")
    there = stored_ids(folder, out)
    if folder.exists(aside):
        drop_doubles(folder, aside)
    elif there <= asked:
        return {"back": 0, "aside": 0}

    def bring_back(rows: pa.Table) -> int:
        lacking = [one not in there for one in rows[KEY].to_pylist()]
        return _add_block(folder, out, rows.filter(pa.array(lacking, pa.bool_())))

    def set_aside(rows: pa.Table) -> int:
        return _write(folder, aside, uuid4().hex, rows)

    back = _move(folder, aside, lambda one: one in asked, bring_back)
    away = _move(folder, out, lambda one: one not in asked, set_aside)
    _move(folder, f"{out}_checkpoint", lambda one: one not in asked, lambda rows: 0)
    return {"back": back, "aside": away}


def _move(
    folder: RunFolder, source: str, leaves: Callable[[str], bool], take: Callable[[pa.Table], int]
) -> int:
    """Let `take` have the rows of the folder `source` that leave it; the sum of what it returns."""
    moved = 0
    for name in file_names(folder, source):
        path = folder.inner(source, name)
        ids = pq.read_table(path, filesystem=folder.filesystem, columns=[KEY])[0].to_pylist()
        leaving = [leaves(one) for one in ids]
        if not any(leaving):
            continue
        table = pq.read_table(path, filesystem=folder.filesystem)
        moved += take(table.filter(pa.array(leaving)))
        replace_file(folder, path, table.filter(pa.array([not one for one in leaving])))
    return moved


def _add_block(folder: RunFolder, out: str, rows: pa.Table) -> int:
    """Rows as a finished block of `out`, as Ray Data's checkpointing knows it."""
    if rows.num_rows:
        block = f"back_{uuid4().hex}"
        _write(folder, out, f"{block}-0", rows)
        _write(folder, f"{out}_checkpoint", block, rows.select([KEY]))
    return rows.num_rows


def _write(folder: RunFolder, out: str, name: str, rows: pa.Table) -> int:
    folder.filesystem.create_dir(folder.inner(out))
    replace_file(folder, folder.inner(out, f"{name}.parquet"), rows)
    return rows.num_rows
