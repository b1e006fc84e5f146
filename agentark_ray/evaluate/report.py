"""The report of a run: one HTML file that needs no network.

Everything that a model or a user wrote goes through the template's autoescaping; chart data is
embedded as JSON with <, > and & escaped. The page's content security policy forbids it to load
anything.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from agentark_ray.evaluate import views
from agentark_ray.evaluate.charts import charts

TEMPLATES = Path(__file__).parent / "templates"
FEW_QUERIES = 100  # below it, a p99 is little more than the slowest query
SECTIONS = ("model", "seed", "created", "config_hash")  # of the manifest, shown first

# One palette for the page's CSS and its charts; names of arms are theirs.
PALETTES = {
    "light": {
        "page": "#ffffff",
        "surface": "#f6f7f9",
        "ink": "#14171c",
        "muted": "#5c6470",
        "line": "#dfe3e8",
        "single": "#747c88",
        "self_consistency": "#0b7285",
        "debate": "#3049c6",
        "student": "#c2410c",
        "good": "#18794e",
        "bad": "#b42318",
        "warn": "#8a5a00",
        "good_tint": "#e9f6ef",
        "bad_tint": "#fdeeec",
        "warn_tint": "#fdf5e2",
    },
    "dark": {
        "page": "#0f1216",
        "surface": "#171b21",
        "ink": "#e8ebef",
        "muted": "#9aa3af",
        "line": "#2a3038",
        "single": "#98a1ae",
        "self_consistency": "#3bc0d3",
        "debate": "#8ea2ff",
        "student": "#ff9a5c",
        "good": "#5fd39a",
        "bad": "#ff8f84",
        "warn": "#f0c161",
        "good_tint": "#12271d",
        "bad_tint": "#301816",
        "warn_tint": "#2b220f",
    },
}


def render_report(
    summary: Mapping[str, Any],
    manifest: Mapping[str, Any],
    data_card: Mapping[str, Any],
    loss_curve: Sequence[Mapping[str, Any]],
    examples: Sequence[Mapping[str, Any]],
) -> str:
    """The page as text.

    Args:
        summary: what `summary.summarize` returned.
        manifest: the run folder's manifest; `config`, `model`, `seed`, `versions`, `stages`.
        data_card: counts of the training set; nested mappings become tables of their own.
        loss_curve: one {"step", "loss", ...} a step.
        examples: trace rows, texts included, of a few questions and all arms, as
            `examples.read_examples` returns them.
    """
    figures = charts(summary, loss_curve)
    return (
        _environment()
        .get_template("report.html")
        .render(
            name=manifest.get("config", {}).get("name", "run"),
            summary=summary,
            decision=views.DECISIONS[summary["decision"]],
            reasons=views.reasons(summary),
            headlines=views.headlines(summary),
            arms=[views.arm_row(summary, name) for name in summary["arms"]],
            gates=[views.gate_row(gate) for gate in summary["gates"]],
            few_queries=_few_queries(summary),
            charts=figures,
            figures={chart["id"]: chart["figure"] for chart in figures if chart["figure"]},
            vote_rule=views.vote_rule(manifest),
            examples=views.example_views(examples),
            data_card=data_card,
            facts=views.flat({key: manifest[key] for key in SECTIONS if key in manifest}),
            provenance={
                title: views.flat(manifest[key])
                for title, key in (
                    ("Versions", "versions"),
                    ("Stages", "stages"),
                    ("Config", "config"),
                )
                if manifest.get(key)
            },
            palettes=PALETTES,
            plotly=Markup(get_plotlyjs()),
        )
    )


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for form in (views.percent, views.number, views.fact):
        environment.filters[form.__name__] = form
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    return environment


def _few_queries(summary: Mapping[str, Any]) -> bool:
    """Whether some arm's p99 rests on few queries."""
    measured = [arm["latency_ms"]["n"] for arm in summary["arms"].values()]
    return any(0 < n < FEW_QUERIES for n in measured)
