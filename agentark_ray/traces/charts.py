"""Charts of the statistics of traces, for page.html.charts_page."""

from collections.abc import Mapping, Sequence
from typing import Any

from agentark_ray.page.charts import Json, chart, chart_layout, rounds_chart

COLOURS = {
    "kept_right": "good",
    "corrected": "debate",
    "corrupted": "bad",
    "stayed_wrong": "muted",
    "undecided": "warn",
}
WALL_BINS = 5  # bins of a LogHistogram in one of the chart
REASON_COLOURS = ("debate", "student", "self_consistency", "single", "warn", "muted")


def stats_charts(found: Mapping[str, Any], wall_s: Sequence[tuple[float, int]]) -> list[Json]:
    """All charts of what `stats.stats` returned.

    Args:
        found: the statistics.
        wall_s: (seconds, debates) of every bin of a histogram, in order.
    """
    return [
        rounds_chart(found["rounds"]),
        paths_chart(found["paths"]),
        stops_chart(found["stops"]),
        wall_chart(wall_s),
    ]


def paths_chart(paths: Mapping[str, int]) -> Json:
    """Agents by what happened between their first round and their last."""
    if not paths["undecided"]:  # a rare thing
        paths = {name: count for name, count in paths.items() if name != "undecided"}
    trace = {
        "type": "bar",
        "x": [name.replace("_", " ") for name in paths],
        "y": list(paths.values()),
        "marker": {"color": [f"var:{COLOURS[name]}" for name in paths]},
        "hovertemplate": "%{y:,} agents %{x}<extra></extra>",
    }
    layout = chart_layout(
        xaxis={"title": {"text": "first round to last"}, "showgrid": False},
        yaxis={"title": {"text": "agents"}, "rangemode": "tozero"},
        showlegend=False,
    )
    return chart(
        "paths",
        "What debating did to answers",
        "Every agent that spoke twice or more: its first answer against its last.",
        {"data": [trace], "layout": layout} if any(paths.values()) else None,
    )


def stops_chart(stops: Sequence[Mapping[str, Any]]) -> Json:
    """Debates by the number of rounds held, stacked by why they stopped."""
    reasons = sorted({stop["reason"] for stop in stops})
    traces = [
        {
            "type": "bar",
            "name": reason,
            "x": [stop["rounds"] for stop in stops if stop["reason"] == reason],
            "y": [stop["debates"] for stop in stops if stop["reason"] == reason],
            "marker": {"color": f"var:{REASON_COLOURS[index % len(REASON_COLOURS)]}"},
            "hovertemplate": "%{y:,} debates<extra>%{fullData.name}, round %{x}</extra>",
        }
        for index, reason in enumerate(reasons)
    ]
    layout = chart_layout(
        xaxis={"title": {"text": "rounds held"}, "dtick": 1, "showgrid": False},
        yaxis={"title": {"text": "debates"}, "rangemode": "tozero"},
        barmode="stack",
        showlegend=True,
    )
    return chart(
        "stops",
        "When debates stop, and why",
        "Debates that ended well, by the number of rounds they held.",
        {"data": traces, "layout": layout} if traces else None,
    )


def wall_chart(wall_s: Sequence[tuple[float, int]]) -> Json:
    """Debates by wall time, on a logarithmic axis."""
    trace = {
        "type": "scatter",
        "mode": "lines",
        "line": {"color": "var:debate", "width": 2, "shape": "hvh"},
        "fill": "tozeroy",
        "x": [seconds for seconds, _ in wall_s],
        "y": [debates for _, debates in wall_s],
        "hovertemplate": "%{y:,} debates around %{x:.3g} s<extra></extra>",
    }
    layout = chart_layout(
        xaxis={"title": {"text": "seconds, logarithmic"}, "type": "log", "dtick": "D2"},
        yaxis={"title": {"text": "debates"}, "rangemode": "tozero"},
        showlegend=False,
    )
    return chart(
        "wall",
        "Wall time of a debate",
        "From the first request to the last answer, under the load of the run.",
        {"data": [trace], "layout": layout} if wall_s else None,
    )
