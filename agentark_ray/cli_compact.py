"""`agentark traces compact`: few large files."""

from dataclasses import asdict
from typing import Annotated

import typer

from agentark_ray.cli_base import JsonFlag, RunFolderArgument, clear_errors, print_json

COMPACT_HELP = """Merge the small files of a run's traces into large ones, of the same rows.

A job writes a file a block (engine.rows_per_block debates). Readers and object stores do better
with 64 to 512 MB. The run can still be resumed, evaluated and distilled; nothing else may read or
write the folder meanwhile. If it is killed, the same command finishes it.

Examples:

  agentark traces compact runs/demo

  agentark traces compact s3://bucket/runs/gsm8k --mb 512
"""


def compact(
    run: RunFolderArgument,
    mb: Annotated[int, typer.Option(min=1, help="Megabytes of a file, but the last.")] = 256,
    as_json: JsonFlag = False,
) -> None:
    """Merge small trace files."""
    with clear_errors():
        from agentark_ray.run_folder import RunFolder
        from agentark_ray.traces.compact import compact as merge

        done = merge(RunFolder(run), mb * 1_000_000)
        if as_json:
            print_json(asdict(done))
        else:
            print(
                f"{done.files_before:,} files -> {done.files:,}, {done.rows:,} debates,"
                f" {done.bytes / 1e6:,.1f} MB"
            )
