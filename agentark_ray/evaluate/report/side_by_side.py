"""Several runs side by side, each on its own questions: their decisions, gates and robustness."""

from collections.abc import Mapping, Sequence
from typing import Any

from agentark_ray.evaluate.report.parts import DASH, Cell, Part, Table, cell, share_cell
from agentark_ray.evaluate.views import DECISIONS, GATE_MARKS, change_name, gate_row
from agentark_ray.page.form import number


def overview(names: Sequence[str], summaries: Sequence[Mapping[str, Any]]) -> Part:
    """Every run with its decision."""
    rows = [_run_row(name, found) for name, found in zip(names, summaries, strict=True)]
    columns = ("Run", "Decision", "Gates passed", "Student", "Debate", "Student's tokens")
    return Part(
        id="runs",
        title="Runs",
        intro="Each on its own questions; the student is the one that the gates were asked of.",
        tables=[Table(columns=(*columns, "Student's p95"), rows=rows, wide=True)],
    )


def _run_row(name: str, summary: Mapping[str, Any]) -> tuple[Cell, ...]:
    gates, arms = summary["gates"], summary["arms"]
    marks = {"adopt": "good", "hybridize": "warn", "continue": ""}
    student, debate = (arms.get(arm) for arm in (summary["student"], "debate"))
    p95 = student and student["latency_ms"]["p95"]
    return (
        cell(name),
        cell(DECISIONS[summary["decision"]][0], mark=marks[summary["decision"]]),
        cell(f"{sum(gate['passed'] for gate in gates)} of {len(gates)}"),
        *(_accuracy(arm) for arm in (student, debate)),
        cell(number(student["output_tokens_per_query"]) if student else DASH),
        cell(f"{number(p95)} ms" if p95 is not None else DASH),
    )


def _accuracy(arm: Mapping[str, Any] | None) -> Cell:
    if arm is None:
        return Cell(text=DASH)
    return share_cell(arm["accuracy"], arm["ci_low"], arm["ci_high"], f"n {arm['questions']:,}")


def gates(names: Sequence[str], summaries: Sequence[Mapping[str, Any]]) -> Part:
    """The gates of all runs side by side."""
    by_run = [{gate["name"]: gate for gate in found["gates"]} for found in summaries]
    used = [found.get("gate_settings", {}) for found in summaries]
    keys = dict.fromkeys(key for found in by_run for key in found)
    rows = []
    for key in keys:
        title = gate_row(next(found[key] for found in by_run if key in found))["label"]
        shown = (
            cell("off") if of.get(key, key) is None else _gate_cell(found.get(key))
            for found, of in zip(by_run, used, strict=True)
        )
        rows.append((cell(title), *shown))
    return Part(
        id="gates",
        title="Gates",
        tables=[Table(columns=("Gate", *names), rows=rows)],
        missing="No gate has a threshold.",
    )


def _gate_cell(gate: Mapping[str, Any] | None) -> Cell:
    if gate is None:
        return Cell(text=DASH)
    told = gate_row(gate)
    note = f"{GATE_MARKS[gate['status']][1]}; {told['asked']}; bound {told['bound']}"
    return cell(told["value"], mark=GATE_MARKS[gate["status"]][0], note=note)


def robustness(names: Sequence[str], summaries: Sequence[Mapping[str, Any]]) -> Part:
    """Flip rates of every run's student."""
    found = [(one.get("robustness") or {}).get(one["student"], {}) for one in summaries]
    changes = dict.fromkeys((k, s) for of in found for k, cells in of.items() for s in cells)
    rows = [
        (
            cell(change_name(*change)),
            *(_flips(of.get(change[0], {}).get(change[1])) for of in found),
        )
        for change in changes
    ]
    return Part(
        id="robustness",
        title="Robustness of the students",
        intro="Right answers that are wrong when the question is changed.",
        tables=[Table(columns=("Change", *names), rows=rows)],
        missing="Not measured in any of the runs.",
    )


def _flips(found: Mapping[str, Any] | None) -> Cell:
    if found is None or found["rate"] is None:
        return Cell(text=DASH)
    note = f"{found['flipped']:,} of {found['right_clean']:,}"
    return cell(f"{found['rate']:.1%}", note=note, heat=found["rate"])
