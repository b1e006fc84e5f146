"""The report's charts of arms, beside those of page/charts.py."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from agentark_ray.evaluate.report.parts import level
from agentark_ray.evaluate.views import LABELS, change_name, label
from agentark_ray.page.charts import Json, chart, chart_layout

BESIDE = {"single": "bottom right", "student": "top right"}  # they cost the same: labels apart
WIDE = 20  # latencies further apart than this factor get a logarithmic axis
FURTHER = ("arm1", "arm2", "arm3", "arm4", "muted")  # colours of arms without one of their own
ARM_SYMBOLS = ("circle", "diamond", "square", "cross", "triangle-up")
ROW = 30  # px of a line of a chart with words at its side

Summary = Mapping[str, Any]
Colours = Mapping[str, str]


def colours(arms: Iterable[str]) -> dict[str, str]:
    """Arm -> its colour in the palette."""
    found, taken = {}, 0
    for arm in arms:
        if arm in LABELS:
            found[arm] = arm
        else:
            found[arm] = FURTHER[min(taken, len(FURTHER) - 1)]
            taken += 1
    return found


def accuracy_chart(summary: Summary) -> Json:
    """Accuracy against output tokens a query, with 95 % intervals."""
    of = colours(summary["arms"])
    traces = [_accuracy_point(name, arm, of[name]) for name, arm in summary["arms"].items()]
    bar = _adoption_bar(summary)
    most = max(arm["output_tokens_per_query"] for arm in summary["arms"].values()) or 1
    layout = chart_layout(
        xaxis={"title": {"text": "output tokens a query"}, "range": [0, 1.3 * most]},
        yaxis={"title": {"text": "accuracy"}, "tickformat": ".0%"},
        showlegend=False,
    )
    if bar is not None:
        layout |= line("y", bar, f"asked of the student: {bar:.1%}")
    return chart(
        "accuracy",
        "Accuracy against cost",
        "Up and to the left is better. Bars are Wilson 95% intervals.",
        {"data": traces, "layout": layout},
    )


def _accuracy_point(name: str, arm: Mapping[str, Any], colour: str) -> Json:
    return {
        "type": "scatter",
        "mode": "markers+text",
        "name": label(name),
        "x": [arm["output_tokens_per_query"]],
        "y": [arm["accuracy"]],
        "text": [label(name)],
        "textposition": BESIDE.get(name, "middle right"),
        "textfont": {"color": f"var:{colour}", "size": 13},
        "cliponaxis": False,
        "marker": {"size": 11, "color": f"var:{colour}"},
        "error_y": _error([(arm["ci_low"], arm["accuracy"], arm["ci_high"])], colour),
        "hovertemplate": "%{y:.1%} at %{x:,.1f} tokens<extra>%{fullData.name}</extra>",
    }


def _error(intervals: Sequence[tuple[float, float, float]], colour: str) -> Json:
    """Error bars of (low, value, high)."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [max(0.0, high - value) for _, value, high in intervals],
        "arrayminus": [max(0.0, value - low) for low, value, _ in intervals],
        "color": f"var:{colour}",
        "thickness": 1.5,
        "width": 4,
    }


def _adoption_bar(summary: Summary) -> float | None:
    """The accuracy the accuracy gate asks of the student."""
    debate, gate = summary["arms"].get("debate"), threshold(summary, "accuracy_ratio")
    return debate["accuracy"] * gate if debate and gate else None


def dots(
    rows: Sequence[tuple[str, float, float, float]], name: str, colour: str, symbol: str = "circle"
) -> Json:
    """Values with intervals, a line each: (words at the side, low, value, high)."""
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": [value for _, _, value, _ in rows],
        "y": [words for words, *_ in rows],
        "marker": {"size": 9, "symbol": symbol, "color": f"var:{colour}"},
        "error_x": _error([row[1:] for row in rows], colour),
        "cliponaxis": False,
        "customdata": [[low, high] for _, low, _, high in rows],
        "hovertemplate": "%{y}: %{x:.1%}, %{customdata[0]:.1%} to %{customdata[1]:.1%}"
        "<extra>%{fullData.name}</extra>",
    }


def dots_layout(words: Sequence[str], lines: int, **xaxis: Any) -> Json:
    """The layout of `dots`: the first line at the top, high enough for all lines."""
    return chart_layout(
        xaxis={"tickformat": ".0%", **xaxis},
        yaxis={
            "categoryorder": "array",
            "categoryarray": list(words)[::-1],
            "automargin": True,
            "showgrid": True,
        },
        height=max(240, 110 + ROW * lines),
        margin={"l": 16, "r": 16, "t": 28, "b": 48},
    )


def differences_chart(summary: Summary) -> Json:
    """Every arm's accuracy less the debate's."""
    of, found = colours(summary["arms"]), summary["against_debate"]
    traces = [
        dots([(label(arm), one["low"], one["difference"], one["high"])], label(arm), of[arm])
        for arm, one in found.items()
    ]
    words = [label(arm) for arm in found]
    layout = dots_layout(words, len(words), tickformat="+.0%", title={"text": "less the debate"})
    layout["showlegend"] = False
    layout |= line("x", 0.0, "as the debate")
    return chart(
        "differences",
        "Accuracy less the debate's",
        f"On the same questions, with the {level(summary['confidence'])} interval of the paired"
        " difference.",
        {"data": traces, "layout": layout} if found else None,
    )


def second_turn_chart(looks: Sequence[tuple[str, str, Mapping[str, Any]]]) -> Json:
    """Fixed and broken, by arm and kind of second turn."""
    words = {"check": "check", "peer": "wrong peer", "debate": "peers"}
    lines = [f"{label(arm)}, {words[turn]}" for arm, turn, _ in looks]
    traces = []
    for name, of_what, colour, symbol in (
        ("fixed", "wrong", "good", "circle"),
        ("broken", "right", "bad", "x"),
    ):
        rows = [
            (lines[at], *_interval(one, name))
            for at, (_, _, one) in enumerate(looks)
            if one[name] is not None
        ]
        if rows:
            traces.append(dots(rows, f"{name}, of {of_what}", colour, symbol))
    layout = dots_layout(lines, len(lines), range=[-0.02, 1.02])
    return chart(
        "second-turn",
        "What a second turn changes",
        "Wrong answers fixed, right answers broken; bars are Wilson 95% intervals.",
        {"data": traces, "layout": layout} if traces else None,
    )


def _interval(found: Mapping[str, Any], name: str) -> tuple[float, float, float]:
    """(low, value, high); the value alone where there is no interval."""
    value = found[name]
    return found.get(f"{name}_low", value), value, found.get(f"{name}_high", value)


def robustness_chart(
    summary: Summary, arms: Sequence[str], changes: Sequence[tuple[str, str]], of: Colours
) -> Json:
    """Flip rates by kind and strength, every arm beside the others."""
    found = summary.get("robustness") or {}
    figures = {
        arm: {
            change_name(kind, strength): (one["low"], one["rate"], one["high"])
            for kind, strength in changes
            if (one := found[arm].get(kind, {}).get(strength)) and one["rate"] is not None
        }
        for arm in arms
    }
    lines = [change_name(*change) for change in changes]
    figure = side_by_side(figures, lines, of, "answers that flip")
    gate = threshold(summary, "adversarial_failure")
    if figure and gate is not None:
        layout = figure["layout"]
        layout |= line("x", gate, f"asked: less than {gate:.3g}")
        layout["legend"] = {**layout["legend"], "y": 1.1}  # above the note
        layout["margin"] = {**layout["margin"], "t": 56}
    return chart(
        "robustness",
        "Right answers that flip, by change of the question",
        "Bars are Wilson 95% intervals.",
        figure,
    )


def ood_chart(found: Mapping[str, Any], summary: Summary, of: Colours) -> Json:
    """Accuracy on every set, with that on the held-out questions."""
    figures = {}
    for arm, one in summary["arms"].items():
        others = {name: arms[arm] for name, arms in found.items() if arm in arms}
        if others:
            figures[arm] = {"held out": (one["ci_low"], one["accuracy"], one["ci_high"])}
            figures[arm] |= {
                name: (far["low"], far["accuracy"], far["high"]) for name, far in others.items()
            }
    return chart(
        "ood",
        "Accuracy by set of questions",
        "Bars are Wilson 95% intervals.",
        side_by_side(figures, ["held out", *found], of, "accuracy"),
    )


def side_by_side(
    figures: Mapping[str, Mapping[str, tuple[float, float, float]]],
    lines: Sequence[str],
    of: Colours,
    title: str,
) -> Json | None:
    """`dots` of several arms, one below the other on every line: arm -> line -> interval."""
    traces = []
    for place, (arm, rows) in enumerate(figures.items()):
        if not rows:
            continue
        symbol = ARM_SYMBOLS[place % len(ARM_SYMBOLS)]
        trace = dots(
            [(words, *found) for words, found in rows.items()], label(arm), of[arm], symbol
        )
        shift = (place - (len(figures) - 1) / 2) * 0.7 / max(len(figures), 2)
        trace["text"] = trace["y"]
        trace["y"] = [lines.index(words) + shift for words in rows]
        trace["hovertemplate"] = trace["hovertemplate"].replace("%{y}", "%{text}")
        traces.append(trace)
    if not traces:
        return None
    layout = dots_layout(lines, 0, range=[-0.02, 1.02], title={"text": title})
    layout["yaxis"] |= {
        "tickvals": list(range(len(lines))),
        "ticktext": lines,
        "range": [len(lines) - 0.5, -0.5],
        "categoryorder": "trace",
    }
    layout["height"] = 120 + max(ROW, 13 * len(figures) + 8) * len(lines)
    return {"data": traces, "layout": layout}


def threshold(summary: Summary, name: str) -> float | None:
    """What a gate asks."""
    return next((gate["threshold"] for gate in summary["gates"] if gate["name"] == name), None)


def log_axis(values: Sequence[float]) -> bool:
    """Whether the values are so far apart that they need a logarithmic axis."""
    return bool(values) and min(values) > 0 and max(values) / min(values) > WIDE


def line(axis: str, at: float, text: str, value: float | None = None) -> Json:
    """A dotted threshold across the chart with a note at its end."""
    other = "x" if axis == "y" else "y"
    value = at if value is None else value
    ends = {f"{axis}0": value, f"{axis}1": value, f"{other}0": 0, f"{other}1": 1}
    right = {"x": 1, "xanchor": "right", "yanchor": "bottom"}
    top = {"y": 1, "yanchor": "bottom", "xanchor": "left"}
    return {
        "shapes": [
            {
                "type": "line",
                f"{axis}ref": axis,
                f"{other}ref": "paper",
                "line": {"color": "var:muted", "width": 1, "dash": "dot"},
                "layer": "below",
                **ends,
            }
        ],
        "annotations": [
            {
                axis: at,
                f"{axis}ref": axis,
                f"{other}ref": "paper",
                "text": text,
                "showarrow": False,
                "font": {"size": 11, "color": "var:muted"},
                **(right if axis == "y" else top),
            }
        ],
    }


def log_line(at: float, text: str) -> Json:
    """`line` across a logarithmic x axis, where a note's place is an exponent."""
    return line("x", math.log10(at), text, at)
