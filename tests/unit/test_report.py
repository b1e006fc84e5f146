"""The report: everything in it is escaped, honest and in one file."""

import io
import json
import re
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest
from plotly.offline import get_plotlyjs
from rich.console import Console

from agentark_ray.config import parse_config
from agentark_ray.evaluate.report import cost_charts, document
from agentark_ray.evaluate.report.cost_charts import thin
from agentark_ray.evaluate.report.page import parts_of
from agentark_ray.evaluate.summary import summarize
from agentark_ray.evaluate.table import render_table
from agentark_ray.evaluate.views import (
    answer_rule,
    example_views,
    flat,
    headlines,
    number,
    percent,
    reasons,
)
from agentark_ray.gates_config import DecideBy, GatesConfig
from agentark_ray.page.html import PALETTES
from tests.unit.reports import Page, manifest, render, run, without_plotly
from tests.unit.transcripts import ROWS, failed, row, summary_of, turn, write

EVIL = "</script><script>alert('evil')</script><img src=x onerror=alert(1)>"
CURVE = [{"step": i + 1, "loss": 2.0 - i / 10} for i in range(10)]
CARD = {"traces": 1500, "kept": 900, "dropped": {"wrong_consensus": 600}, "packing": 0.98765}


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    made = render(tmp_path_factory.mktemp("traces"), ROWS, data_card=CARD, loss_curve=CURVE)
    return without_plotly(made)


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_plotly_is_in_the_page_once_and_nothing_is_loaded(html: str, page: Page) -> None:
    assert html.count("PLOTLY") == 1
    assert "</script" not in get_plotlyjs()
    assert [a for _, attrs in page.tags for a in attrs if a in ("src", "srcset")] == []
    links = [attrs["href"] or "" for _, attrs in page.tags if "href" in attrs]
    assert links
    assert all(link.startswith("#") for link in links)
    assert "http" not in html.replace('http-equiv="Content-Security-Policy"', "")
    assert "default-src 'none'" in html


def test_decision_figures_and_reasons_are_in_the_text(page: Page) -> None:
    text = page.squeezed
    assert "Hybridize" in text
    assert "does not beat a single answer (" in text
    assert "75.0% 30.1% to 95.4%, n 4" in text
    assert "at most 0.2" in text
    assert "1 failed" in text
    assert "Against a single answer no difference of the student is shown: +50.0 points" in text
    assert "Difference, points, 95% interval" in text
    assert "wrong consensus 600" in text
    assert "debate.temperature" in text


def test_gates_are_marked_by_words_not_by_colour_alone(page: Page) -> None:
    text = page.squeezed
    assert re.search("Accuracy against the debate [^%]*%[^%]*%.{,90} pass 1.500", text)
    assert re.search("Output tokens against the debate .{,150} fail 0.222", text)


def test_turns_show_verdicts_and_changed_answers(html: str, page: Page) -> None:
    assert "<del>5</del>" in html
    assert html.count('class="turn changed"') == 2 + 1  # q2: two corrected, q3: one broken
    assert "Agent 3" in page.text
    assert "talks itself out of the right answer" in page.text


def test_text_of_models_and_users_is_escaped_everywhere(tmp_path: Path) -> None:
    debate = row("debate", EVIL, "wwr", "rrr", gold=EVIL, final_answer=EVIL)
    debate["question"] = EVIL
    debate["turns"] = [{**turn(0, r, "correct", EVIL), "answer": EVIL} for r in (0, 1)]
    debate["votes"][1]["answer"] = EVIL
    rows = [debate, failed("debate", "q2", error_message=EVIL), row(EVIL, "q2", "r")]
    html = render(tmp_path, rows, name=EVIL)
    clean = Page(render(tmp_path / "clean", ROWS))
    assert "evil" in html
    assert "alert('evil')" not in html.replace("alert(&#39;evil&#39;)", "")
    assert (Page(html).count("script"), Page(html).count("img")) == (clean.count("script"), 0)


def test_json_in_script_tags_cannot_end_them(tmp_path: Path) -> None:
    html = render(
        tmp_path, [row("debate", "q", "r"), row("student", "q", "r"), row(EVIL, "q", "r")]
    )
    found = re.search(r'<script type="application/json" id="figures">(.*?)</script>', html, re.S)
    assert found
    assert "<" not in found[1]
    names = [trace["name"] for trace in json.loads(found[1])["accuracy"]["data"]]
    assert names[-1] == EVIL.replace("_", " ").capitalize()


def test_an_honest_page_for_a_model_that_cannot_solve_the_task(tmp_path: Path) -> None:
    rows = [row(arm, f"q{i}", "w") for arm in ("single", "debate", "student") for i in range(20)]
    text = Page(render(tmp_path, rows)).squeezed
    assert "Keep the debate; the student is not ready." in text
    assert "The model cannot solve this task" in text
    assert "Adopt" not in text


def test_what_was_not_measured_is_called_that(tmp_path: Path) -> None:
    rows = [r for r in ROWS if r["kind"] == "main"]
    text = Page(render(tmp_path, rows, examples=[])).squeezed
    assert "p95 latency not measured" in text
    assert "Latency nothing to show Not measured: evaluate.latency_queries=N ." in text
    assert "Robustness nothing to show Not measured" in text
    assert "Load nothing to show Not measured" in text
    assert "Return nothing to show Not known: no price." in text
    assert "Other distribution nothing to show" in text
    assert "No transcripts to show." in text
    assert "nan" not in re.findall(r"\w+", text.lower())


def test_a_failed_debate_shows_its_error(tmp_path: Path) -> None:
    rows = [failed("debate", "q1", "rw"), row("student", "q1", "r")]
    text = Page(render(tmp_path, rows)).squeezed
    assert "TimeoutError: too slow" in text
    assert "The debate failed" in text


def test_the_page_has_a_size_one_can_mail(tmp_path: Path) -> None:
    html = render(tmp_path, ROWS, data_card=CARD, loss_curve=CURVE)
    assert len(html.encode()) < 2_150_000
    assert len(without_plotly(html).encode()) < 180_000


def figures_of(parts: list[Any]) -> dict[str, Any]:
    return {chart["id"]: chart["figure"] for part in parts for chart in part.charts}


def test_charts_are_valid_plotly_figures_in_palette_colours(tmp_path: Path) -> None:
    found = figures_of(parts_of(run(summary_of(tmp_path, ROWS), loss_curve=CURVE)))
    drawn = {"accuracy", "differences", "second-turn", "latency", "tokens", "rounds", "loss"}
    assert {name for name, figure in found.items() if figure} == drawn
    for name in drawn:
        text = json.dumps(found[name], allow_nan=False)
        used = set(re.findall(r"var:(\w+)", text))
        assert used <= PALETTES["light"].keys()
        go.Figure(json.loads(re.sub(r"var:\w+", "#123456", text)))
    bars = found["accuracy"]["data"][3]["error_y"]
    assert bars["array"][0] == pytest.approx(0.954 - 0.75, abs=1e-3)


def test_palettes_name_the_same_colours() -> None:
    assert PALETTES["light"].keys() == PALETTES["dark"].keys()


def test_a_wide_range_of_latencies_gets_a_logarithmic_axis(tmp_path: Path) -> None:
    slow = [row("debate", "q1", "r", kind="latency", wall_s=5.0)]
    axis = cost_charts.latency_chart(summary_of(tmp_path, ROWS + slow))["figure"]["layout"]["xaxis"]
    assert axis["type"] == "log"


def test_a_long_loss_curve_is_thinned_and_keeps_its_ends() -> None:
    curve = [{"step": i, "loss": 1.0} for i in range(10_001)]
    kept = thin(curve, 100)
    assert (len(kept) <= 101, kept[0]["step"], kept[-1]["step"]) == (True, 0, 10_000)
    assert thin(CURVE, 100) == CURVE
    assert thin([], 100) == []


def test_a_loss_that_is_not_finite_is_a_gap() -> None:
    curve = [{"step": 1, "loss": 1.0}, {"step": 2, "loss": float("nan")}]
    assert cost_charts.loss_chart(curve)["figure"]["data"][0]["y"] == [1.0, None]


def test_equal_right_answers_written_differently_are_no_change() -> None:
    trace = row("debate", "q", "r", "r")
    trace["turns"][1]["answer"] = "4.0"
    (example,) = example_views([trace])
    assert [t["changed"] for r in example["rounds"] for t in r["turns"]] == [False, False]


def test_of_many_agents_the_first_are_shown_and_the_rest_counted() -> None:
    (example,) = example_views([row("debate", "q", "r" * 12)])
    assert (len(example["rounds"][0]["turns"]), example["hidden"]) == (8, 4)


def test_reasons_of_passed_gates_are_told_in_the_gates_table_only(tmp_path: Path) -> None:
    summary = summary_of(tmp_path, ROWS)
    told = reasons(summary)
    for gate in summary["gates"]:
        assert (gate["reason"] in told) is not gate["passed"]
    assert not set(told) & set(summary["warnings"])


def test_headlines_set_the_student_beside_the_debate(tmp_path: Path) -> None:
    found = headlines(summary_of(tmp_path, ROWS))
    assert found[0] == {"label": "Accuracy", "value": "75.0%", "note": "debate: 50.0%"}
    assert found[2] == {"label": "p95 latency", "value": "29 ms", "note": "debate: not measured"}
    assert found[3]["note"] == "single answer: 66.7%"


def test_forms_of_figures() -> None:
    assert [number(v) for v in (1234.5, 12.34, 12.0, None)] == [
        "1,234",
        "12.3",
        "12",
        "not measured",
    ]
    assert percent(0.98765) == "98.8%"
    assert flat({"a": {"b": [1, 2], "c": None}}) == [("a.b", "1, 2"), ("a.c", "none")]


def test_the_terminal_table_tells_the_same(tmp_path: Path) -> None:
    out = io.StringIO()
    Console(file=out, width=100).print(render_table(summary_of(tmp_path, ROWS)))
    text = out.getvalue()
    assert max(map(len, text.splitlines())) <= 100
    assert re.search(r"Student +75\.0% +30\.1% - 95\.4% +4 +10 +20 +29 +29\.8", text)
    assert re.search(r"Output tokens against the debate +FAIL +0\.222 +0\.\d+ +at most 0\.2", text)
    assert text.lstrip().startswith("Hybridize")
    assert "! The debate, right on" in text
    assert "Against a single answer no difference of the student is shown" in text
    off = GatesConfig(decide_by=DecideBy.POINT, token_ratio=None)
    summary = summarize([write(tmp_path, ROWS)], off, train_traces=1500, seeds=[17])
    out = io.StringIO()
    Console(file=out, width=100).print(render_table(summary))
    assert re.search(r"Output tokens against the debate +off +- +- +-", out.getvalue())


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("debate.aggregate=vote", "last round"),
        ("debate.aggregate=vote_all_rounds", "all its rounds"),
        ("debate.protocol=judged", "the judge decides"),
    ],
)
def test_the_page_says_how_a_debate_gets_its_answer(override: str, words: str) -> None:
    config = parse_config({}, [override], "test")
    assert words in answer_rule({"config": config.snapshot()})


def test_the_page_tells_under_which_versions_a_run_went_on(tmp_path: Path) -> None:
    resumed = [{"at": "2026-02-04T10:00:00Z", "versions": {"ray": "2.61.0", "vllm": None}}]
    later = manifest() | {"resumed_versions": resumed}
    about = document._run(run(summary_of(tmp_path, ROWS), manifest=later))["about"]
    assert about["resumed_versions"] == resumed
    shown = Page(render(tmp_path, ROWS, manifest=later))
    at = resumed[0]["at"]
    assert f"Versions when resumed 2 {at}.ray 2.61.0 {at}.vllm none" in shown.squeezed
    assert "Versions when resumed" not in Page(render(tmp_path, ROWS)).text


def test_the_page_tells_what_self_consistency_was_given(tmp_path: Path) -> None:
    found = {"samples": 7, "measured": {"samples": 7}, "share_of_debate": 0.98}
    text = Page(render(tmp_path, ROWS, summary={"self_consistency": found})).squeezed
    assert "votes over 7 answers, as many as a debate was measured to cost; it wrote 98%" in text
