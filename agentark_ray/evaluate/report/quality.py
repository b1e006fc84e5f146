"""How the arms' accuracy holds, and how they write: the parts on second turns, changed questions,
other sets and steps."""

from collections.abc import Mapping, Sequence
from typing import Any

from agentark_ray.evaluate.report import charts
from agentark_ray.evaluate.report.parts import (
    DASH,
    Cell,
    Part,
    Table,
    arm_cell,
    cell,
    plain,
    points,
    share_cell,
    without_empty,
)
from agentark_ray.evaluate.views import change_name, label

Summary = Mapping[str, Any]
TURNS = {
    "check": "“check your answer”",
    "peer": "a confident wrong peer",
    "debate": "reading peers",
}


def second_turns(summary: Summary) -> Part:
    """What a second turn did to first answers."""
    colours = charts.colours(summary["arms"])
    found = looks(summary)
    rows = [
        (
            arm_cell(name, colours, note=f"after {TURNS[turn]}"),
            _rate(one, "fixed", "wrong_before"),
            _rate(one, "kept", "right_before"),
            _rate(one, "broken", "right_before"),
        )
        for name, turn, one in found
    ]
    return Part(
        id="self-correction",
        title="Self-correction",
        intro="Does a second turn help? Wrong first answers may be fixed; right ones kept or"
        " broken.",
        tables=[
            Table(
                columns=("Arm", "Fixed, of wrong", "Kept, of right", "Broken, of right"), rows=rows
            )
        ],
        charts=[charts.second_turn_chart(found)],
        foot="A single model's first answers are drawn anew for its second turn: they are not those"
        " counted under Accuracy. Intervals are Wilson 95%. In the debate, an agent that spoke"
        " twice or more is compared with its own first answer: such answers depend on each other,"
        " so no interval is given.",
        missing="No arm had a second turn.",
    )


def looks(summary: Summary) -> list[tuple[str, str, Mapping[str, Any]]]:
    """(arm, turn, figures) of every second turn; agents of a debate have no intervals."""
    found = []
    for name, arm in summary["arms"].items():
        second = arm.get("second_turn", {})
        found += [(name, turn, second[turn]) for turn in ("check", "peer") if turn in second]
        if not second and (own := arm["self_correction"]):
            kept = None if own["broken"] is None else 1 - own["broken"]
            count = own["right_before"] - own["broken_count"]
            found.append((name, "debate", {**own, "kept": kept, "kept_count": count}))
    return found


def _rate(figures: Mapping[str, Any], name: str, of: str) -> Cell:
    note = f"{figures[f'{name}_count']:,} of {figures[of]:,}"
    return share_cell(figures[name], figures.get(f"{name}_low"), figures.get(f"{name}_high"), note)


def robustness(summary: Summary) -> Part:
    """Right answers that flip when the question is changed."""
    found = summary.get("robustness") or {}
    colours = charts.colours(summary["arms"])
    arms = [name for name in summary["arms"] if name in found]
    changes = list(dict.fromkeys(cell_ for arm in arms for cell_ in cells(found[arm])))
    rows = [
        (
            cell(change_name(kind, strength)),
            *(_flip(found[arm].get(kind, {}).get(strength)) for arm in arms),
        )
        for kind, strength in changes
    ]
    return Part(
        id="robustness",
        title="Robustness",
        intro="Of the answers that are right on the question as it is, the share that is wrong when"
        " the question is changed. Less is better.",
        tables=[Table(columns=("Change", *map(label, arms)), rows=rows)],
        charts=[charts.robustness_chart(summary, arms, changes, colours)],
        foot="Intervals are Wilson 95%. “Asked again” changes nothing: so much flips by sampling"
        " alone.",
        missing="Not measured: `agentark evaluate RUN` with `evaluate.robustness.questions=N` in"
        " the config of the run.",
    )


def cells(of_arm: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Kinds and strengths."""
    return [(kind, strength) for kind, found in of_arm.items() for strength in found]


def _flip(found: Mapping[str, Any] | None) -> Cell:
    if found is None:
        return Cell(text=DASH)
    if found["rate"] is None:
        return Cell(text=DASH, note="no right answer to flip")
    note = f"{found['flipped']:,} of {found['right_clean']:,}"
    note += f"; {found['low']:.0%} to {found['high']:.0%}"
    return Cell(text=f"{found['rate']:.1%}", note=note, heat=found["rate"])


def other_sets(summary: Summary) -> Part:
    """Accuracy on questions of another distribution."""
    found = summary.get("ood") or {}
    colours = charts.colours(summary["arms"])
    tables = [
        Table(
            title=f"Set {name}",
            columns=("Arm", "Accuracy, 95% interval", "Drop, points, 95% interval"),
            rows=[_drop(arm, of, colours) for arm, of in in_order(arms, summary)],
        )
        for name, arms in found.items()
    ]
    return Part(
        id="ood",
        title="Other distribution",
        intro="Accuracy on questions of other sets, and how much less it is than on the held-out"
        " ones.",
        tables=tables,
        charts=[charts.ood_chart(found, summary, colours)] if found else [],
        foot="The drop has Newcombe's 95% interval of two independent shares.",
        missing="Not measured: `evaluate.ood.NAME` or `tasks.ood_path` gives a set of another"
        " distribution.",
    )


def in_order(arms: Mapping[str, Any], summary: Summary) -> list[tuple[str, Any]]:
    """Figures by arm, in the order in which arms are shown."""
    known = [name for name in summary["arms"] if name in arms]
    return [(name, arms[name]) for name in known]


def _drop(name: str, of: Mapping[str, Any], colours: Mapping[str, str]) -> tuple[Cell, ...]:
    within = "" if of["drop"] is None else f"{points(of['drop_low'])} to {points(of['drop_high'])}"
    return (
        arm_cell(name, colours),
        share_cell(of["accuracy"], of["low"], of["high"], f"n {of['n']:,}"),
        cell(points(of["drop"]), note=within),
    )


def steps(summary: Summary) -> Part:
    """How solutions are written."""
    colours = charts.colours(summary["arms"])
    rows: list[Sequence[Cell]] = []
    for name, arm in summary["arms"].items():
        if found := arm.get("steps"):
            rows.append(_quality(name, found, colours))
    return Part(
        id="steps",
        title="Step quality",
        intro="How the last solution of every solver is written, whether its answer is right or"
        " not.",
        tables=[
            without_empty(
                Table(
                    columns=(
                        "Arm",
                        "Steps",
                        "With verification",
                        "With revision",
                        "Equations that hold",
                        "Solutions without a wrong equation",
                        "Reward model, mean",
                        "Reward model, least",
                        "Perplexity of gold",
                    ),
                    rows=rows,
                    wide=True,
                )
            )
        ],
        foot="Equations are those that can be read beyond doubt. The reward model is that of a"
        " student of this run: p(good) of the steps, on the same few questions. Perplexity is that"
        " of worked solutions of held-out questions under the arm's model.",
        missing="Not measured.",
    )


def _quality(name: str, found: Mapping[str, Any], colours: Mapping[str, str]) -> tuple[Cell, ...]:
    prm, gold = found.get("prm") or {}, found.get("gold") or {}
    perplexity = gold.get("perplexity")
    if "solutions" in found:
        own = (
            arm_cell(name, colours, note=f"{found['solutions']:,} solutions"),
            plain(found["steps"]),
            share_cell(found["verifying"]),
            share_cell(found["revising"]),
            share_cell(found["equations_holding"], note=f"of {found['equations']:,}"),
            share_cell(found["consistent"], note=f"of {found['checkable']:,}"),
        )
    else:  # all of the arm's answers failed
        own = (arm_cell(name, colours), *[Cell(text=DASH)] * 5)
    return (
        *own,
        plain(prm.get("mean"), "{:.3f}"),
        plain(prm.get("min"), "{:.3f}"),
        cell(
            DASH if perplexity is None else f"{perplexity:,.2f}",
            note=f"{gold['solutions']:,} solutions, {gold['left_out']:,} too long" if gold else "",
        ),
    )
