"""How right the arms are: every arm, each against the debate, and the student against rivals."""

from collections.abc import Mapping
from typing import Any

from agentark_ray.evaluate.decision import p_text
from agentark_ray.evaluate.report import charts
from agentark_ray.evaluate.report.parts import (
    DASH,
    Cell,
    Part,
    Table,
    arm_cell,
    cell,
    level,
    points,
    share_cell,
)
from agentark_ray.evaluate.rivals import CONTROL, NAMES, Standing
from agentark_ray.evaluate.views import label
from agentark_ray.page.form import number

Summary = Mapping[str, Any]


def accuracy(summary: Summary) -> Part:
    """Every arm, and every arm against the debate on the same questions."""
    colours = charts.colours(summary["arms"])
    rows = [_arm(summary, name, colours) for name in summary["arms"]]
    compared = [_difference(summary, name, colours) for name in summary["against_debate"]]
    columns = ("Arm", "Accuracy, 95% interval", "Output tokens", "Prompt tokens", "of them cached")
    difference = f"Difference, points, {level(summary['confidence'])} interval"
    return Part(
        id="accuracy",
        title="Accuracy",
        intro=f"{summary['questions']:,} held-out questions, the same for every arm. Tokens are"
        " those of one query.",
        tables=[
            Table(columns=columns, rows=rows),
            Table(
                title="Against the debate, question by question",
                columns=(
                    "Arm",
                    difference,
                    "Only this arm right",
                    "Only the debate right",
                    "McNemar",
                    "Least visible, points",
                ),
                rows=compared,
            ),
            _rivals(summary, difference, colours),
        ],
        charts=[charts.accuracy_chart(summary), charts.differences_chart(summary)],
        notes=_budget(summary),
        foot="Failed queries and unreadable answers count as wrong. Differences have the score"
        f" interval of Tango at {level(summary['confidence'])}; the least visible one would be"
        " found in 80% of such evaluations.",
    )


def _rivals(summary: Summary, difference: str, colours: Mapping[str, str]) -> Table:
    """The student against what needs no debate."""
    marks = {Standing.BETTER: "good", Standing.NO_DIFFERENCE: "warn", Standing.WORSE: "bad"}
    rows = [
        (
            cell(f"{label(arm)}{_control(arm)}", colour=colours[arm]),
            cell(
                found["standing"],
                mark=marks[found["standing"]],
                note=f"n {found['questions']:,}",
            ),
            _points(found),
            cell(f"{found['only_student']:,.4g}"),
            cell(f"{found['only_rival']:,.4g}"),
        )
        for arm, found in summary.get("against_rivals", {}).items()
    ]
    columns = ("Rival", "The student is", difference, "Only the student right")
    return Table(
        title="Is the student better than what needs no debate?",
        columns=(*columns, "Only the rival right"),
        rows=rows,
    )


def _control(arm: str) -> str:
    return "" if arm in NAMES else f", {CONTROL}"


def _points(found: Mapping[str, Any]) -> Cell:
    note = f"{points(found['low'])} to {points(found['high'])}"
    return cell(points(found["difference"]), note=note)


def _budget(summary: Summary) -> list[str]:
    """What self-consistency was given, beside the debate."""
    found = summary.get("self_consistency")
    if not found or found["share_of_debate"] is None:
        return []
    why = ", as many as a debate was measured to cost" if found["measured"] else ""
    return [
        f"Self-consistency votes over {found['samples']} answers{why}; it wrote"
        f" {found['share_of_debate']:.0%} of the debate's output tokens."
    ]


def _arm(summary: Summary, name: str, colours: Mapping[str, str]) -> tuple[Cell, ...]:
    arm = summary["arms"][name]
    lost = [f"{arm[key]:,} {key}" for key in ("failed", "unparsable") if arm[key]]
    n = f"n {arm['questions']:,}"
    if arm["n"] != arm["questions"]:
        n += f", {arm['n'] / arm['questions']:g} answers each"
    return (
        arm_cell(name, colours, ", ".join(lost)),
        share_cell(arm["accuracy"], arm["ci_low"], arm["ci_high"], n),
        cell(number(arm["output_tokens_per_query"])),
        cell(number(arm["prompt_tokens_per_query"])),
        cell(number(arm["cached_tokens_per_query"])),
    )


def _difference(summary: Summary, name: str, colours: Mapping[str, str]) -> tuple[Cell, ...]:
    found, test = summary["against_debate"][name], summary["mcnemar"][name]
    return (
        arm_cell(name, colours),
        _points(found),
        cell(f"{test['only_first']:,.4g}"),
        cell(f"{test['only_second']:,.4g}"),
        cell(p_text(test["p"])),
        cell(DASH if found["detectable"] is None else f"{100 * found['detectable']:.1f}"),
    )
