"""Which leaves of stored transcripts (rows of the trace schema) an evaluation reads."""

from collections.abc import Sequence
from typing import Any

from pyarrow import dataset

from agentark_ray.debate_rows import BATCH_ROWS, turn_leaves, vote_leaves

ROW = ("question_id", "arm", "kind", "replica", "status", "verdict")
FIGURES = ("wall_s", "output_tokens", "prompt_tokens", "cached_tokens")
VOTES = vote_leaves("round", "count", "agents", "verdict")
TURNS = turn_leaves("agent", "role", "round", "verdict")
COLUMNS = (*ROW, *FIGURES, *VOTES, *TURNS)


def full_rows(
    transcripts: Sequence[dataset.Dataset], question_ids: Sequence[str]
) -> list[dict[str, Any]]:
    """The main rows of a few questions, with all they say; reads with bounded memory.

    Of an arm that answered a question several times, the first answer.
    """
    wanted = (
        dataset.field("question_id").isin(list(question_ids))
        & (dataset.field("kind") == "main")
        & (dataset.field("replica") == 0)
    )
    return [
        row
        for transcript in transcripts
        for batch in transcript.to_batches(filter=wanted, batch_size=BATCH_ROWS)
        for row in batch.to_pylist()
    ]
