"""What a version of labels says as a whole: verdicts, what changed, how judge and grader agree.

One pass over the label files; memory does not grow with their number.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from agentark_ray.label_rows import Labels, part_file
from agentark_ray.traces.generate import Incomplete
from agentark_ray.types import Verdict

NONE = "none"  # no verdict
RIGHT = {Verdict.CORRECT: True, Verdict.INCORRECT: False}


def count_labels(labels: Labels) -> dict[str, Any]:
    """Check that every part has its file with its rows, and count.

    Returns {"debates", "failed", "labels", "verdicts", "final_verdicts", "changed",
    "final_changed", "judge"}: `changed` counts "stored -> new" verdicts that differ; `judge` is
    None if nothing was judged.

    Raises:
        Incomplete: a file is missing or has not its part's rows.
    """
    _drop_pending(labels)
    totals: Counter[str] = Counter(debates=0, failed=0)
    turns: Counter[tuple[Any, ...]] = Counter()
    finals: Counter[tuple[Any, ...]] = Counter()
    for part in labels.parts():
        rows = 0
        for batch in _batches(labels, part):
            rows += batch.num_rows
            totals["failed"] += batch.num_rows - batch["error"].null_count
            finals.update(zip(*(batch[n].to_pylist() for n in ("verdict", "stored")), strict=True))
            turns.update(_turn_keys(batch["turns"].flatten()))
        if rows != part["rows"]:
            raise Incomplete(
                f"{labels.store.path(part_file(part))}: expected the labels of {part['rows']}"
                f" debates, found {rows}"
            )
        totals["debates"] += rows
    return {
        **totals,
        "labels": turns.total(),
        "verdicts": _sums(turns, lambda key: key[0] or NONE),
        "final_verdicts": _sums(finals, lambda key: key[0] or NONE),
        "changed": _sums(turns, _change),
        "final_changed": _sums(finals, _change),
        "judge": _judge(turns),
    }


def _drop_pending(labels: Labels) -> None:
    """Delete what writers that were killed left behind."""
    selector = fs.FileSelector(labels.store.inner())
    for info in labels.store.filesystem.get_file_info(selector):
        if info.extension == "tmp":
            labels.store.filesystem.delete_file(info.path)


def _batches(labels: Labels, part: Mapping[str, Any]) -> list[pa.RecordBatch]:
    path = labels.store.inner(part_file(part))
    try:
        with labels.store.filesystem.open_input_file(path) as source:
            return pq.read_table(source).to_batches()
    except FileNotFoundError:
        raise Incomplete(f"{path}: there is no such label file") from None


def _turn_keys(turns: pa.StructArray) -> list[tuple[Any, ...]]:
    """(verdict, stored, graded, judged, cut, failed) of every turn."""
    fields = {
        name: turns.field(name).to_pylist() for name in ("verdict", "stored", "graded", "cut")
    }
    judged = turns.field("share").is_valid().to_pylist()
    failed = turns.field("error").is_valid().to_pylist()
    return list(
        zip(
            *(fields[name] for name in ("verdict", "stored", "graded")),
            *(judged, fields["cut"], failed),
            strict=True,
        )
    )


def _sums(counts: Counter[tuple[Any, ...]], name: Any) -> dict[str, int]:
    sums: Counter[str] = Counter()
    for key, count in counts.items():
        label = name(key)
        if label is not None:
            sums[label] += count
    return dict(sorted(sums.items()))


def _change(key: tuple[Any, ...]) -> str | None:
    verdict, stored = (value or NONE for value in key[:2])
    return None if verdict == stored else f"{stored} -> {verdict}"


def _judge(turns: Counter[tuple[Any, ...]]) -> dict[str, Any] | None:
    """Counts of what was judged, and how it agrees with the grader where that has a verdict."""
    totals: Counter[str] = Counter(judged=0, failed=0, cut=0)
    pairs: Counter[tuple[str, str]] = Counter()
    for key, count in turns.items():
        verdict, _, graded, judged, cut, failed = key
        totals.update(judged=judged * count, failed=failed * count, cut=bool(cut) * count)
        if judged and graded:
            pairs[graded, verdict] += count
    if not totals["judged"] and not totals["failed"]:
        return None
    return {**totals, "agreement": agreement(pairs)}


def agreement(pairs: Mapping[tuple[str, str], int]) -> dict[str, Any]:
    """How often a judge says what the grader says.

    `confusion` has all pairs, by the grader's verdict and then the judge's. The figures are of the
    `compared` ones: the judge said correct or incorrect, the grader correct, incorrect or, which is
    not correct, unparsable. `kappa` is Cohen's: (p_o - p_e) / (1 - p_e), with p_o the accuracy and
    p_e what two independent raters with these shares of correct would reach; None where p_e is 1.
    """
    confusion: dict[str, dict[str, int]] = {}
    table: Counter[tuple[bool, bool]] = Counter()
    for (graded, judged), count in sorted(pairs.items()):
        confusion.setdefault(graded, {})[judged] = count
        if judged in RIGHT and graded != Verdict.TIMEOUT:
            table[graded == Verdict.CORRECT, RIGHT[Verdict(judged)]] += count
    compared = table.total()
    if not compared:
        return {"compared": 0, "accuracy": None, "kappa": None, "confusion": confusion}
    observed = (table[True, True] + table[False, False]) / compared
    graded_right = (table[True, True] + table[True, False]) / compared
    judged_right = (table[True, True] + table[False, True]) / compared
    expected = graded_right * judged_right + (1 - graded_right) * (1 - judged_right)
    return {
        "compared": compared,
        "accuracy": observed,
        "kappa": None if expected == 1 else (observed - expected) / (1 - expected),
        "confusion": confusion,
    }
