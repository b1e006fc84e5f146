"""Where a run stands: the parts on gates, students, the checklist and monitoring."""

from collections.abc import Mapping, Sequence
from typing import Any

from agentark_ray.evaluate.report.parts import DASH, Part, Table, cell, level, without_empty
from agentark_ray.evaluate.views import GATE_MARKS, flat, gate_row, off_gates
from agentark_ray.page.form import fact

Summary = Mapping[str, Any]


def gates(summary: Summary, of_run: Mapping[str, Any] | None = None) -> Part:
    """The thresholds, what was measured and what is certain of it.

    Args:
        of_run: the section `gates` of the run's config, whose values may not be those used.
    """
    rows = []
    for gate in summary["gates"]:
        told = gate_row(gate)
        mark, word = GATE_MARKS[gate["status"]]
        more = gate["more"]
        rows.append(
            (
                cell(told["label"], note=told["reason"]),
                cell(word, mark=mark),
                cell(told["value"]),
                cell(told["bound"]),
                cell(told["asked"]),
                cell(DASH if more is None else f"{more:,} {gate['unit']}"),
            )
        )
    rows += [(cell(title), cell("off"), *[cell(DASH)] * 4) for title in off_gates(summary)]
    bound = f"{level(summary['confidence'])} bound"
    by = "its bound" if summary["decide_by"] == "bound" else "its value"
    return Part(
        id="gates",
        title="Gates",
        intro=f"All gates must pass for a student to be adopted; a gate passes by {by}."
        " An open one is neither passed nor failed: the sample is too small.",
        tables=[
            without_empty(
                Table(
                    columns=("Gate", "Result", "Measured", bound, "Asked", "More needed"),
                    rows=rows,
                )
            )
        ],
        notes=_settings(summary.get("gate_settings", {}), of_run or {}),
        missing="No gate has a threshold.",
    )


def _settings(used: Mapping[str, Any], of_run: Mapping[str, Any]) -> list[str]:
    """What else decided, and what of all differs from the run's config."""
    told = []
    if "hybrid_accuracy_ratio" in used:
        told.append(f"A hybrid needs {used['hybrid_accuracy_ratio']:g} of the debate's accuracy.")
    before, now = dict(flat(of_run)), dict(flat(used))
    return told + [
        f"`gates.{name}` is {now[name]} here, and {before[name]} in the run's config."
        for name in now
        if name in before and before[name] != now[name]
    ]


def students(rows: Sequence[Mapping[str, Any]]) -> Part:
    """What every student learned from; the table is empty if there is only one."""
    shown = [
        (
            cell(one["name"], note="the gates are its" if one["chosen"] else ""),
            cell(one["strategy"]),
            cell(one["parent"] or "the model"),
            *(
                cell(DASH if one[key] is None else fact(one[key]))
                for key in ("kept", "target_tokens", "steps", "last_loss", "seconds")
            ),
            cell(DASH if one["accuracy"] is None else f"{one['accuracy']:.1%}"),
        )
        for one in rows
    ]
    columns = ("Student", "Strategy", "Started from", "Questions learned from", "Target tokens")
    columns += ("Steps", "Last loss", "Seconds", "Accuracy")
    return Part(
        id="students",
        title="Students",
        intro="All learned from the same debates. Decision, gates, charts of the training and the"
        " data card are those of the marked one.",
        tables=[Table(columns=columns, rows=shown, wide=True)],
        missing="No student.",
    )


def checklist(items: Sequence[Mapping[str, Any]]) -> Part:
    """The checklist of a pilot."""
    marks = {"done": "good", "partly": "warn", "missing": "bad"}
    done = sum(one["state"] == "done" for one in items)
    rows = [
        (cell(one["item"]), cell(one["state"], mark=marks[one["state"]]), cell(one["evidence"]))
        for one in items
    ]
    return Part(
        id="checklist",
        title="Checklist of the pilot",
        intro=f"{done} of {len(items)} done, by what the run folder contains.",
        tables=[Table(columns=("Item", "State", "Found"), rows=rows)],
    )


def triggers(found: Sequence[Mapping[str, Any]] | None) -> Part:
    """What monitoring data say of the student."""
    marks = {"quiet": "good", "fired": "bad"}
    rows = [
        (
            cell(one["name"]),
            cell(one["state"], mark=marks.get(one["state"], "warn")),
            cell(one["reason"]),
        )
        for one in found or ()
    ]
    fired = sum(one["state"] == "fired" for one in found or ())
    return Part(
        id="monitoring",
        title="Monitoring",
        intro="Make a new student." if fired else "No need for a new student.",
        tables=[Table(columns=("Trigger", "State", "Found"), rows=rows)],
        missing="No monitoring data were given (`--monitoring PATH`).",
    )
