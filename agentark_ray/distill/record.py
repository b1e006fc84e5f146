"""What is stored of a curated question: one row with its training rows and every fate in it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from agentark_ray.distill.asked import Asked, Trace, asked
from agentark_ray.distill.curate import Curated
from agentark_ray.distill.facts import Facts, facts
from agentark_ray.distill.solutions import Solution

_MESSAGE = pa.struct([("role", pa.string()), ("content", pa.string())])
_PATH = pa.struct([("agent", pa.int32()), ("path", pa.string()), ("turns", pa.int32())])
_SOLUTION = pa.struct(
    [
        ("debate_id", pa.string()),
        ("agent", pa.int32()),
        ("round", pa.int32()),
        ("dropped", pa.string()),  # a Drop; null if it is a row
    ]
)
_ROW = pa.struct(
    [
        ("kind", pa.string()),  # a RowKind
        ("dropped", pa.string()),  # too_long, or null if it is learned
        ("messages", pa.list_(_MESSAGE)),
        ("target", pa.string()),
        ("words", pa.int32()),  # of the target
        ("tokens", pa.int32()),  # of prompt and target
        ("target_tokens", pa.int32()),
        ("input_ids", pa.list_(pa.int32())),  # empty if dropped
        ("labels", pa.list_(pa.int32())),
    ]
)
_SAMPLING = pa.struct([("budget", pa.int64()), ("spent", pa.int64()), ("samples", pa.int32())])
CURATED_SCHEMA = pa.schema(
    [
        ("question_id", pa.string()),
        ("task", pa.string()),
        ("debates", pa.int32()),
        ("dropped", pa.string()),  # a Drop; null if there is a row to learn
        ("difficulty", pa.string()),
        ("paths", pa.list_(_PATH)),
        ("right", pa.int32()),  # solvers' turns
        ("wrong", pa.int32()),
        ("different_right", pa.int32()),
        ("steps", pa.int32()),
        ("solutions", pa.list_(_SOLUTION)),
        ("diversity_before", pa.float32()),
        ("diversity_after", pa.float32()),
        ("sampling", _SAMPLING),
        ("rows", pa.list_(_ROW)),
    ]
)


def record(
    curated: Curated, rows: Sequence[Mapping[str, Any]], dropped: str | None
) -> dict[str, Any]:
    """A row of CURATED_SCHEMA; `rows` are tokenized, as _ROW has them."""
    return {
        "question_id": curated.question.question_id,
        **debates_row(curated.question, curated.facts),
        "dropped": dropped,
        "solutions": [_solution(solution) for solution in curated.solutions],
        "diversity_before": curated.diversity_before,
        "diversity_after": curated.diversity_after,
        "sampling": None if curated.sampling is None else asdict(curated.sampling),
        "rows": rows,
    }


def debates_row_of(trace: Trace) -> dict[str, Any]:
    """`debates_row` of one debate that has `facts.COLUMNS`."""
    question = asked([trace])
    return debates_row(question, facts(question))


def debates_row(question: Asked, found: Facts) -> dict[str, Any]:
    """The columns that do not depend on what is learned."""
    return {
        "task": question.task,
        "debates": len(question.debates),
        "difficulty": found.difficulty.value,
        "paths": [asdict(path) for path in found.paths],
        "right": found.right,
        "wrong": found.wrong,
        "different_right": found.different_right,
        "steps": found.steps,
    }


def _solution(solution: Solution) -> dict[str, Any]:
    said = solution.said
    return {
        "debate_id": said.debate_id,
        "agent": said.turn["agent"],
        "round": said.turn["round"],
        "dropped": solution.dropped,
    }
