"""The dashboard asks for metrics that are recorded."""

import json
import re
from pathlib import Path

from agentark_ray.serving.config import AUTO

ROOT = Path(__file__).parents[2]
DASHBOARD = ROOT / "cluster" / "grafana" / "serving.json"
ASKED = re.compile(r"ray_(agentark_[a-z_]+?)(?:_total|_bucket|_sum|_count)?(?=[\[{\)\s])")
MADE = re.compile(r'"(agentark_[a-z_]+)"')


def test_every_metric_of_the_dashboard_is_recorded() -> None:
    made = set(MADE.findall((ROOT / "agentark_ray/serving/metrics.py").read_text()))
    panels = json.loads(DASHBOARD.read_text())["panels"]
    asked = {
        name
        for panel in panels
        for target in panel["targets"]
        for name in ASKED.findall(target["expr"])
    }
    assert asked == made


def test_fallbacks_are_a_share_of_the_requests_that_can_fall_back() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    (panel,) = (panel for panel in panels if panel["title"] == "Fallbacks")
    (target,) = panel["targets"]
    counted, _, requests = target["expr"].partition(" / ")
    assert "agentark_serve_fallbacks_total" in counted
    assert f'agentark_serve_requests_total{{model="{AUTO}"}}' in requests
    assert panel["fieldConfig"]["defaults"]["unit"] == "percentunit"


def test_panels_do_not_overlap() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
    assert len(set(places)) == len(panels) == len({panel["id"] for panel in panels})
