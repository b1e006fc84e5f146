"""The data card: what a training set was made of, from the stored rows (record.py).

Counting is a sum over rows, so that parts can be counted anywhere and added up. A key is a group
and a name; the names of groups that begin with `n:` are values that were counted.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from agentark_ray.debate_rows import PathClass
from agentark_ray.distill.facts import Difficulty
from agentark_ray.distill.recommend import STRUCTURED, Figures, recommend
from agentark_ray.distill.rows import Drop, RowKind

Counts = Counter[tuple[str, str]]
Row = Mapping[str, Any]
PERCENTILES = {"p5": 5, "p50": 50, "p95": 95, "max": 100}
COLUMNS = (  # of CURATED_SCHEMA that are counted; token lists are left on the disk
    *("task", "debates", "dropped", "difficulty", "right", "wrong", "different_right", "steps"),
    *("paths", "diversity_before", "diversity_after", "sampling"),
    *("solutions.list.element.dropped",),
    *(
        f"rows.list.element.{name}"
        for name in ("kind", "dropped", "words", "tokens", "target_tokens")
    ),
)


def count(rows: Iterable[Row]) -> Counts:
    """Sums over rows of CURATED_SCHEMA that have COLUMNS."""
    counts: Counts = Counter()
    for row in rows:
        _count_debates(counts, row)
        counts["questions", row["dropped"] or "kept"] += 1
        counts.update(("solutions", one["dropped"] or "kept") for one in row["solutions"])
        for when in ("before", "after"):
            if (value := row[f"diversity_{when}"]) is not None:
                counts.update({("diversity", when): value, ("diversity", f"of_{when}"): 1})
        if row["sampling"]:
            counts.update({("sampling", name): n for name, n in row["sampling"].items()})
        _count_rows(counts, row["rows"])
    return counts


def count_debates(rows: Iterable[Row]) -> Counts:
    """Sums over `record.debates_row`s: all that a recommendation needs."""
    counts: Counts = Counter()
    for row in rows:
        _count_debates(counts, row)
    return counts


def _count_debates(counts: Counts, row: Row) -> None:
    """What holds of a question's debates, whatever is learned from them."""
    counts["tasks", row["task"]] += 1
    counts["difficulty", row["difficulty"]] += 1
    counts["debates", "all"] += row["debates"]
    counts.update(("paths", path["path"]) for path in row["paths"])
    corrected = sum(path["path"] == PathClass.CORRECTED for path in row["paths"])
    counts["debates", "corrected"] += corrected
    if row["right"]:
        counts["debates", "solved"] += 1
        counts["debates", "different"] += row["different_right"]
        counts["debates", "step_level"] += bool(corrected) and row["steps"] >= STRUCTURED
        _measure(counts, "steps", row["steps"])


def _count_rows(counts: Counts, rows: Sequence[Row]) -> None:
    for row in rows:
        if row["dropped"]:
            counts["rows", row["dropped"]] += 1
            continue
        counts["rows", row["kind"]] += 1
        for name in ("words", "tokens", "target_tokens"):
            counts["sums", name] += row[name]
            _measure(counts, name, row[name])


def _measure(counts: Counts, name: str, value: int) -> None:
    counts[f"n:{name}", str(value)] += 1


def card(counts: Counts) -> dict[str, Any]:
    """The data card as plain JSON."""
    questions, solutions = _group(counts, "questions"), _group(counts, "solutions")
    rows = _group(counts, "rows")
    return {
        "traces": counts["debates", "all"],
        "questions": sum(questions.values()),
        "kept": questions.pop("kept", 0),
        "dropped": questions,
        "rows": {kind.value: rows[kind] for kind in RowKind if kind in rows},
        "rows_too_long": counts["rows", Drop.TOO_LONG],
        "tokens": counts["sums", "tokens"],
        "target_tokens": counts["sums", "target_tokens"],
        "tasks": _group(counts, "tasks"),
        "difficulty": {level.value: counts["difficulty", level] for level in Difficulty},
        "paths": {path.value: counts["paths", path] for path in PathClass},
        "solutions": {
            "right": sum(solutions.values()),
            "kept": solutions.pop("kept", 0),
            "dropped": solutions,
        },
        "duplicates": {
            "questions": questions.get(Drop.DUPLICATE_QUESTION, 0),
            "solutions": solutions.get(Drop.DUPLICATE, 0),
            "near_solutions": solutions.get(Drop.NEAR_DUPLICATE, 0),
        },
        "diversity": {when: _mean(counts, when) for when in ("before", "after")},
        "lengths": {
            name: {label: _percentile(counts, name, q) for label, q in PERCENTILES.items()}
            for name in ("words", "tokens", "target_tokens", "steps")
        },
        "sampling": _group(counts, "sampling") or None,
        "recommended": recommend(figures(counts)).to_json(),
    }


def figures(counts: Counts) -> Figures:
    """What a recommendation rests on."""
    solved = int(counts["debates", "solved"])
    return Figures(
        questions=sum(_group(counts, "difficulty").values()),
        solved=solved,
        median_steps=_percentile(counts, "steps", 50),
        different=counts["debates", "different"] / solved if solved else None,
        corrected=int(counts["debates", "corrected"]),
        step_level=int(counts["debates", "step_level"]),
    )


def _group(counts: Counts, group: str) -> dict[str, Any]:
    """Names of a group with their sums, the largest first."""
    found = {name: n for (of, name), n in counts.items() if of == group and n}
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def _mean(counts: Counts, when: str) -> float | None:
    of = counts["diversity", f"of_{when}"]
    return counts["diversity", when] / of if of else None


def _percentile(counts: Counts, name: str, q: float) -> int | None:
    """The nearest rank: the least value that at least q % of all do not exceed."""
    found = sorted((int(value), n) for value, n in _group(counts, f"n:{name}").items())
    rank = max(1, math.ceil(sum(n for _, n in found) * q / 100))
    for value, n in found:
        rank -= n
        if rank <= 0:
            return value
    return None
