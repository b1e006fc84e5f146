"""The dashboard asks for metrics that are recorded."""

import json
import re
from pathlib import Path

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


def test_panels_do_not_overlap() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
    assert len(set(places)) == len(panels) == len({panel["id"] for panel in panels})
