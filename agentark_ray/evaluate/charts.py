"""The report's charts, beside those of page/charts.py."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from agentark_ray.page.charts import Json, chart, chart_layout, rounds_chart

MAX_POINTS = 1_500  # of a curve
LABELS = {
    "single": "Single answer",
    "self_consistency": "Self-consistency",
    "debate": "Debate",
    "student": "Student",
}
BESIDE = {"single": "bottom right", "student": "top right"}  # they cost the same: labels apart
WIDE = 20  # latencies further apart than this factor get a logarithmic axis


def label(arm: str) -> str:
    """An arm's name for people."""
    return LABELS.get(arm, arm.replace("_", " ").capitalize())


def charts(summary: Mapping[str, Any], loss_curve: Sequence[Mapping[str, Any]]) -> list[Json]:
    """All charts: {"id", "title", "caption", "figure"}; figure is None if there is no data."""
    return [
        accuracy_chart(summary),
        latency_chart(summary),
        rounds_chart(summary["rounds"]),
        loss_chart(loss_curve),
    ]


def accuracy_chart(summary: Mapping[str, Any]) -> Json:
    """Accuracy against output tokens a query, with 95 % intervals."""
    traces = [_accuracy_point(name, arm) for name, arm in summary["arms"].items()]
    bar = _adoption_bar(summary)
    most = max(arm["output_tokens_per_query"] for arm in summary["arms"].values()) or 1
    layout = chart_layout(
        xaxis={"title": {"text": "output tokens a query"}, "range": [0, 1.25 * most]},
        yaxis={"title": {"text": "accuracy"}, "tickformat": ".0%"},
        showlegend=False,
    )
    if bar is not None:
        layout |= _line("y", bar, f"asked of the student: {bar:.1%}")
    return chart(
        "accuracy",
        "Accuracy against cost",
        "Up and to the left is better. Bars are Wilson 95% intervals.",
        {"data": traces, "layout": layout},
    )


def _accuracy_point(name: str, arm: Mapping[str, Any]) -> Json:
    return {
        "type": "scatter",
        "mode": "markers+text",
        "name": label(name),
        "x": [arm["output_tokens_per_query"]],
        "y": [arm["accuracy"]],
        "text": [label(name)],
        "textposition": BESIDE.get(name, "middle right"),
        "textfont": {"color": _colour(name), "size": 13},
        "cliponaxis": False,
        "marker": {"size": 11, "color": _colour(name)},
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [arm["ci_high"] - arm["accuracy"]],
            "arrayminus": [arm["accuracy"] - arm["ci_low"]],
            "color": _colour(name),
            "thickness": 1.5,
            "width": 4,
        },
        "hovertemplate": "%{y:.1%} at %{x:,.1f} tokens<extra>%{fullData.name}</extra>",
    }


def _adoption_bar(summary: Mapping[str, Any]) -> float | None:
    """The accuracy the accuracy gate asks of the student."""
    debate = summary["arms"].get("debate")
    gate = _threshold(summary, "accuracy_ratio")
    return debate["accuracy"] * gate if debate and gate else None


def latency_chart(summary: Mapping[str, Any]) -> Json:
    """p50, p95 and p99 of every arm that was measured."""
    found = {
        name: arm["latency_ms"] for name, arm in summary["arms"].items() if arm["latency_ms"]["n"]
    }
    values = [ms[q] for ms in found.values() for q in ("p50", "p95", "p99")]
    log = bool(values) and min(values) > 0 and max(values) / min(values) > WIDE
    layout = chart_layout(
        xaxis={
            "title": {"text": "milliseconds" + (", logarithmic" if log else "")},
            **({"type": "log", "dtick": "D2"} if log else {"rangemode": "tozero"}),
        },
        yaxis={"autorange": "reversed", "automargin": True, "showgrid": False},
        showlegend=False,
    )
    if gate := _threshold(summary, "p95_ms"):
        layout |= _line("x", math.log10(gate) if log else gate, f"p95 asked: {gate:g} ms", gate)
    traces = [_latency_range(name, ms) for name, ms in found.items()]
    return chart(
        "latency",
        "Latency by arm",
        "One query at a time on an idle engine: p50, p95 and p99, left to right.",
        {"data": traces, "layout": layout} if traces else None,
    )


def _latency_range(name: str, ms: Mapping[str, Any]) -> Json:
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": label(name),
        "x": [ms["p50"], ms["p95"], ms["p99"]],
        "y": [label(name)] * 3,
        "text": ["p50", "p95", "p99"],
        "line": {"color": _colour(name), "width": 2},
        "marker": {
            "size": [9, 9, 12],
            "symbol": ["circle", "diamond", "line-ns-open"],
            "color": _colour(name),
            "opacity": 1,
            "line": {"width": 2, "color": _colour(name)},
        },
        "hovertemplate": "%{text} %{x:,.1f} ms<extra>%{y}</extra>",
    }


def loss_chart(loss_curve: Sequence[Mapping[str, Any]]) -> Json:
    """Training loss by optimizer step, thinned to at most MAX_POINTS."""
    rows = thin(loss_curve, MAX_POINTS)
    trace = {
        "type": "scatter",
        "mode": "lines" if len(rows) > 1 else "markers",
        "x": [row["step"] for row in rows],
        "y": [row["loss"] if math.isfinite(row["loss"]) else None for row in rows],
        "line": {"color": "var:student", "width": 1.75},
        "hovertemplate": "step %{x:,}: %{y:.4f}<extra></extra>",
    }
    layout = chart_layout(
        xaxis={"title": {"text": "optimizer step"}},
        yaxis={"title": {"text": "loss, nats a token"}, "rangemode": "tozero"},
        showlegend=False,
    )
    thinned = f"; {len(rows):,} of {len(loss_curve):,} steps shown"
    return chart(
        "loss",
        "Training loss of the student",
        "Mean over the target tokens of a step"
        + (thinned if len(rows) < len(loss_curve) else "")
        + ".",
        {"data": [trace], "layout": layout} if rows else None,
    )


def thin(rows: Sequence[Mapping[str, Any]], most: int) -> list[Mapping[str, Any]]:
    """Every k-th row, so that at most `most` and the last one remain."""
    k = max(1, -(-len(rows) // most))
    kept = list(rows[::k])
    return kept if not kept or kept[-1] is rows[-1] else [*kept[:-1], rows[-1]]


def _threshold(summary: Mapping[str, Any], name: str) -> float | None:
    return next((gate["threshold"] for gate in summary["gates"] if gate["name"] == name), None)


def _colour(arm: str) -> str:
    return f"var:{arm}" if arm in LABELS else "var:muted"


def _line(axis: str, at: float, text: str, value: float | None = None) -> Json:
    """A dotted threshold across the chart with a note at its end."""
    other = "x" if axis == "y" else "y"
    ends = {f"{axis}0": value or at, f"{axis}1": value or at, f"{other}0": 0, f"{other}1": 1}
    middle = {"x": 0.5, "xanchor": "center", "yanchor": "bottom"}
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
                **(middle if axis == "y" else top),
            }
        ],
    }
