"""HTML pages that need no network: one look, charts by plotly, everything in one file.

Everything that a model or a user wrote goes through the templates' autoescaping; chart data is
embedded as JSON with <, > and & escaped. The pages' content security policy forbids them to load
anything.
"""

import base64
import zlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from plotly.offline import get_plotlyjs

from agentark_ray.page.form import fact, number, percent

TEMPLATES = Path(__file__).parent / "templates"

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
        "arm1": "#7a2f8f",
        "arm2": "#00706b",
        "arm3": "#9a6700",
        "arm4": "#b0256a",
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
        "arm1": "#cf93e3",
        "arm2": "#4cc9bf",
        "arm3": "#e3b341",
        "arm4": "#f58ab8",
        "good": "#5fd39a",
        "bad": "#ff8f84",
        "warn": "#f0c161",
        "good_tint": "#12271d",
        "bad_tint": "#301816",
        "warn_tint": "#2b220f",
    },
}


@cache
def packed_plotly() -> str:
    """The library of the charts, deflated and in base64: a third of its size."""
    return squeeze(get_plotlyjs())


def squeeze(text: str) -> str:
    """Deflated, in base64: its letters are harmless inside of HTML."""
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode("ascii")


def code_words(text: str) -> Markup:
    """Escaped text, in which what stands between backticks is code."""
    parts = str(escape(text.replace(" %", "\N{NO-BREAK SPACE}%"))).split("`")
    return Markup(
        "".join(f"<code>{part}</code>" if at % 2 else part for at, part in enumerate(parts))
    )


@cache
def environment(*folders: Path) -> Environment:
    """Templates of the folders and of this package; palettes and plotly are known to all."""
    found = Environment(
        loader=FileSystemLoader([*folders, TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for form in (percent, number, fact, code_words):
        found.filters[form.__name__] = form
    found.globals |= {"palettes": PALETTES, "plotly": Markup(packed_plotly())}
    found.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    return found


def charts_page(
    title: str, intro: str, facts: Mapping[str, Any], charts: Sequence[Mapping[str, Any]]
) -> str:
    """A page of charts (page.charts.chart) under a title, with a list of facts."""
    figures = {chart["id"]: chart["figure"] for chart in charts if chart["figure"]}
    template = environment().get_template("charts.html")
    return template.render(title=title, intro=intro, facts=facts, charts=charts, figures=figures)
