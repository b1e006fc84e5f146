"""The report's charts of time and money, and of the training."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from agentark_ray.evaluate.report.charts import colours, line, log_axis, log_line, threshold
from agentark_ray.evaluate.views import label
from agentark_ray.page.charts import Json, chart, chart_layout

MAX_POINTS = 1_500  # of a curve
LOAD = {  # figures of a rate of eval/load.json: title, axis, where they are
    "e2e": ("Latency under load", "p95, ms", ("e2e_ms", "p95")),
    "ttft": ("Time to the first token under load", "p95, ms", ("ttft_ms", "p95")),
    "tokens": ("Output tokens under load", "tokens a second", ("output_tokens_per_s",)),
    "goodput": ("Goodput under load", "good answers a second", ("goodput",)),
}


def latency_chart(summary: Mapping[str, Any]) -> Json:
    """p50, p95 and p99 of every arm that was measured."""
    of = colours(summary["arms"])
    found = {
        name: arm["latency_ms"] for name, arm in summary["arms"].items() if arm["latency_ms"]["n"]
    }
    log = log_axis([ms[q] for ms in found.values() for q in ("p50", "p95", "p99")])
    layout = chart_layout(
        xaxis={
            "title": {"text": "milliseconds" + (", logarithmic" if log else "")},
            **({"type": "log", "dtick": "D2"} if log else {"rangemode": "tozero"}),
        },
        yaxis={"autorange": "reversed", "automargin": True, "showgrid": False},
        showlegend=False,
    )
    if gate := threshold(summary, "p95_ms"):
        words = f"p95 asked: {gate:g} ms"
        layout |= log_line(gate, words) if log else line("x", gate, words)
    traces = [_latency_range(name, ms, of[name]) for name, ms in found.items()]
    return chart(
        "latency",
        "Latency of one query at a time",
        "On an idle engine: p50, p95 and p99, left to right.",
        {"data": traces, "layout": layout} if traces else None,
    )


def _latency_range(name: str, ms: Mapping[str, Any], colour: str) -> Json:
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": label(name),
        "x": [ms["p50"], ms["p95"], ms["p99"]],
        "y": [label(name)] * 3,
        "text": ["p50", "p95", "p99"],
        "line": {"color": f"var:{colour}", "width": 2},
        "marker": {
            "size": [9, 9, 12],
            "symbol": ["circle", "diamond", "line-ns-open"],
            "color": f"var:{colour}",
            "opacity": 1,
            "line": {"width": 2, "color": f"var:{colour}"},
        },
        "hovertemplate": "%{text} %{x:,.1f} ms<extra>%{y}</extra>",
    }


def load_charts(load: Mapping[str, Any]) -> list[Json]:
    """Curves over the offered rate, of eval/load.json; a rate not kept up with is hollow."""
    found = []
    of = colours(load["arms"])
    for name, (title, axis, keys) in LOAD.items():
        traces = [
            trace
            for arm, one in load["arms"].items()
            if (trace := _load_trace(arm, one["rates"], keys, of[arm]))
        ]
        if not traces:
            continue
        values = [y for trace in traces for y in trace["y"]]
        log = name in ("e2e", "ttft") and log_axis(values)
        layout = chart_layout(
            xaxis={"title": {"text": "requests a second, offered"}, "rangemode": "tozero"},
            yaxis={
                "title": {"text": axis + (", logarithmic" if log else "")},
                **({"type": "log", "dtick": "D2"} if log else {"rangemode": "tozero"}),
            },
        )
        caption = "By offered rate. Hollow: it did not keep up."
        found.append(chart(f"load-{name}", title, caption, {"data": traces, "layout": layout}))
    return found


def _load_trace(
    arm: str, rates: Sequence[Mapping[str, Any]], keys: Sequence[str], colour: str
) -> Json | None:
    rows = []
    for one in sorted(rates, key=lambda one: one["offered"]):
        value: Any = one
        for key in keys:
            value = value[key]
        if value is not None:
            rows.append((one["offered"], value, one["saturated"]))
    if not rows:
        return None
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": label(arm),
        "x": [x for x, _, _ in rows],
        "y": [y for _, y, _ in rows],
        "line": {"color": f"var:{colour}", "width": 2},
        "marker": {
            "size": 9,
            "color": f"var:{colour}",
            "symbol": ["circle-open" if bad else "circle" for _, _, bad in rows],
            "line": {"width": 2, "color": f"var:{colour}"},
        },
        "hovertemplate": "%{y:,.4g} at %{x:,.4g} a second<extra>%{fullData.name}</extra>",
    }


def tokens_chart(summary: Mapping[str, Any]) -> Json:
    """Tokens of a query, by kind."""
    arms = summary["arms"]
    kinds = (
        ("output", "ink", lambda arm: arm["output_tokens_per_query"]),
        (
            "prompt, not cached",
            "muted",
            lambda arm: arm["prompt_tokens_per_query"] - arm["cached_tokens_per_query"],
        ),
        ("prompt, cached", "line", lambda arm: arm["cached_tokens_per_query"]),
    )
    traces = [
        {
            "type": "bar",
            "orientation": "h",
            "name": name,
            "y": [label(arm) for arm in arms],
            "x": [value(arm) for arm in arms.values()],
            "marker": {"color": f"var:{colour}"},
            "hovertemplate": "%{x:,.1f}<extra>%{y}: %{fullData.name}</extra>",
        }
        for name, colour, value in kinds
    ]
    layout = chart_layout(
        xaxis={"title": {"text": "tokens a query"}},
        yaxis={"autorange": "reversed", "automargin": True, "showgrid": False},
        barmode="stack",
        bargap=0.45,
        height=max(240, 120 + 40 * len(arms)),
    )
    caption = "Means over all queries, failed ones included."
    return chart("tokens", "Tokens of a query", caption, {"data": traces, "layout": layout})


def break_even_chart(curves: Mapping[str, Sequence[tuple[float, int | None]]]) -> Json:
    """Days until a way to answer has paid for its making, by traffic: name -> (queries, days)."""
    traces = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": name,
            "x": [queries for queries, days in rows if days],
            "y": [days for _, days in rows if days],
            "line": {"color": f"var:{'student' if name == 'student' else 'arm1'}", "width": 2},
            "hovertemplate": "%{y:,} days at %{x:,.3g} queries a day"
            "<extra>%{fullData.name}</extra>",
        }
        for name, rows in curves.items()
        if any(days for _, days in rows)
    ]
    layout = chart_layout(
        xaxis={"title": {"text": "queries a day, logarithmic"}, "type": "log", "dtick": 1},
        yaxis={"title": {"text": "days, logarithmic"}, "type": "log", "dtick": 1},
    )
    return chart(
        "break-even",
        "Days until the distillation has paid for itself",
        "By today's traffic, with the growth and the further distillations of the forecast.",
        {"data": traces, "layout": layout} if traces else None,
    )


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
