"""Stream stored transcripts (rows of the trace schema) without their texts.

Only the leaves named in COLUMNS leave the disk: a row costs bytes, however long its debate was.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow.parquet as pq
from pyarrow import dataset

BATCH_ROWS = 1_000
ROW = ("question_id", "arm", "kind", "status", "verdict")
FIGURES = ("wall_s", "output_tokens", "prompt_tokens")
VOTES = tuple(f"votes.list.element.{name}" for name in ("round", "count", "agents", "verdict"))
TURNS = tuple(f"turns.list.element.{name}" for name in ("agent", "round", "verdict"))
COLUMNS = (*ROW, *FIGURES, *VOTES, *TURNS)


def light_rows(
    transcripts: Sequence[dataset.Dataset], columns: Sequence[str] = COLUMNS
) -> Iterator[dict[str, Any]]:
    """Every row of Parquet datasets, with the given leaf columns only."""
    for transcript in transcripts:
        for fragment in transcript.get_fragments():
            with fragment.open() as source, pq.ParquetFile(source) as file:
                for batch in file.iter_batches(BATCH_ROWS, columns=list(columns)):
                    yield from batch.to_pylist()


def full_rows(
    transcripts: Sequence[dataset.Dataset], question_ids: Sequence[str]
) -> list[dict[str, Any]]:
    """The main rows of a few questions, with all they say; reads with bounded memory."""
    wanted = dataset.field("question_id").isin(list(question_ids)) & (
        dataset.field("kind") == "main"
    )
    return [
        row
        for transcript in transcripts
        for batch in transcript.to_batches(filter=wanted, batch_size=BATCH_ROWS)
        for row in batch.to_pylist()
    ]
