"""Charts as plain plotly figures (JSON), without colours of their own.

A colour is written `var:NAME`; the page replaces it by the NAME of the palette in force, so that
charts follow light, dark and print.
"""

from collections.abc import Mapping, Sequence
from typing import Any

Json = dict[str, Any]


def chart(id_: str, title: str, caption: str, figure: Json | None) -> Json:
    """A chart with its title and caption; figure is None if there is no data."""
    return {"id": id_, "title": title, "caption": caption, "figure": figure}


def chart_layout(xaxis: Json, yaxis: Json, **extra: Any) -> Json:
    """The layout all charts share; `extra` replaces parts of it."""
    axis = {
        "gridcolor": "var:line",
        "linecolor": "var:line",
        "zeroline": False,
        "ticks": "",
        "fixedrange": True,
    }
    return {
        "xaxis": axis | xaxis,
        "yaxis": axis | yaxis,
        "font": {"size": 12, "color": "var:muted"},
        "margin": {"l": 56, "r": 16, "t": 28, "b": 48},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "hoverlabel": {"bgcolor": "var:surface", "font": {"color": "var:ink"}},
        "height": 320,
        **extra,
    }


def rounds_chart(rows: Sequence[Mapping[str, Any]]) -> Json:
    """Agreement, vote accuracy and running debates; a row a round, numbered from 0."""
    series = (
        ("vote_accuracy", "vote accuracy", "debate", "solid", "circle"),
        ("agreement", "agreement", "ink", "dash", "diamond"),
        ("running", "still debating", "muted", "dot", "square"),
    )
    traces = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": name,
            "x": [row["round"] + 1 for row in rows],
            "y": [row[key] for row in rows],
            "line": {"color": f"var:{colour}", "width": 2, "dash": dash},
            "marker": {"size": 8, "symbol": symbol, "color": f"var:{colour}"},
            "cliponaxis": False,
            "hovertemplate": "%{y:.1%}<extra>%{fullData.name}, round %{x}</extra>",
        }
        for key, name, colour, dash, symbol in series
    ]
    layout = chart_layout(
        xaxis={"title": {"text": "round"}, "dtick": 1, "tick0": 1, "showgrid": False},
        yaxis={"title": {"text": "share"}, "tickformat": ".0%", "range": [0, 1.02]},
    )
    return chart(
        "rounds",
        "What a round of debate changes",
        "Every round by itself; a debate that has stopped keeps its last vote.",
        {"data": traces, "layout": layout} if rows else None,
    )
