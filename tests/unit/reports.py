"""Reports of a few rows, without a run folder."""

import json
import re
import zlib
from base64 import b64decode
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from agentark_ray.config import Config
from agentark_ray.evaluate.report import page
from agentark_ray.evaluate.report.cost import Return
from agentark_ray.evaluate.report.pack import pack
from agentark_ray.evaluate.report.page import Run
from agentark_ray.evaluate.report.questions import Source, list_questions
from agentark_ray.page.html import packed_plotly
from tests.unit.transcripts import summary_of, write

BUDGET = 1_000_000
Rows = list[dict[str, Any]]


class Page(HTMLParser):
    """Tags with their attributes, and the text outside of scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._raw = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._raw = tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self._raw = False

    def handle_data(self, data: str) -> None:
        if not self._raw:
            self.text += f" {data}"

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)

    @property
    def squeezed(self) -> str:
        return re.sub(r"\s+", " ", self.text)


def manifest(name: str = "my-run") -> dict[str, Any]:
    config = Config(name=name)
    return {
        "created": "2026-02-03T10:00:00Z",
        "config": config.snapshot(),
        "config_hash": config.hash(),
        "model": "tiny",
        "seed": 17,
        "versions": {"ray": "2.60.0"},
        "stages": {"generate": {"rows": 1500, "failed": 2}},
    }


def run(summary: dict[str, Any], name: str = "my-run", **changes: Any) -> Run:
    """A run of which only the summary is known."""
    values = {
        "name": name,
        "summary": summary,
        "manifest": manifest(name),
        "data_card": {},
        "loss_curve": [],
        "examples": [],
        "students": [],
        "load": None,
        "prices": None,
        "returns": Return(roi=None, forecast=None, why_not="no price"),
        "checklist": [],
        "triggers": None,
    }
    return Run(**(values | changes))


def source(folder: Path, rows: Rows, summary: dict[str, Any], name: str = "my-run") -> Source:
    """The rows as the transcripts of a run."""
    return Source(
        name=name,
        transcripts=[write(folder, rows)],
        arms=list(summary["arms"]),
        student=summary["student"],
    )


def render(
    folder: Path, rows: Rows, name: str = "my-run", budget: int = BUDGET, **changes: Any
) -> str:
    """The page of a run with these transcripts."""
    summary = summary_of(folder, rows) | changes.pop("summary", {})
    of = source(folder, rows, summary, name)
    listed = list_questions([of], ["Student", "Debate"], 1_000, frozenset())
    packed = pack([of], listed, budget)
    shown = run(summary, name, **({"examples": rows} | changes))
    return page.render([shown], [], listed, packed, ["show ID"] * len(listed.columns))


def without_plotly(html: str) -> str:
    """The page without two megabytes that are not ours to look at."""
    return html.replace(packed_plotly(), "PLOTLY")


def unpacked(html: str, id_: str) -> Any:
    """The value of one of the page's compressed pieces."""
    found = re.search(rf'<script type="text/plain" id="{id_}">(.*?)</script>', html, re.S)
    assert found, id_
    return json.loads(zlib.decompress(b64decode(found[1])))
