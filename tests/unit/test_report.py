"""The report: everything in it is escaped, honest and in one file."""

import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest
from plotly.offline import get_plotlyjs
from rich.console import Console

from agentark_ray.config import Config, parse_config
from agentark_ray.evaluate.charts import charts, thin
from agentark_ray.evaluate.report import render_report
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
from agentark_ray.page.html import PALETTES
from tests.unit.test_summary import BY_POINT, ROWS, failed, row, summary_of, turn, write

EVIL = "</script><script>alert('evil')</script><img src=x onerror=alert(1)>"
CURVE = [{"step": i + 1, "loss": 2.0 - i / 10} for i in range(10)]
CARD = {"traces": 1500, "kept": 900, "dropped": {"wrong_consensus": 600}, "packing": 0.98765}


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


def render(folder: Path, rows: list[dict[str, Any]], name: str = "my-run") -> str:
    summary = summarize([write(folder, rows)], BY_POINT, train_traces=1500, seeds=[17])
    html = render_report(summary, manifest(name), CARD, CURVE, rows)
    return html.replace(get_plotlyjs(), "PLOTLY")  # 4.8 MB that are not ours to look at


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    return render(tmp_path_factory.mktemp("traces"), ROWS)


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def squeezed(page: Page) -> str:
    return re.sub(r"\s+", " ", page.text)


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
    text = squeezed(page)
    assert "Hybridize" in text
    assert "The debate does not beat a single answer" in text
    assert "75.0% 30.1% to 95.4%, n 4" in text
    assert "at most 0.2" in text
    assert "1 failed" in text
    assert "wrong consensus 600" in text
    assert "debate.temperature" in text


def test_gates_are_marked_by_words_not_by_colour_alone(page: Page) -> None:
    text = squeezed(page)
    assert "pass Accuracy against the debate" in text
    assert "fail Output tokens against the debate" in text


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
    text = squeezed(Page(render(tmp_path, rows)))
    assert "Keep the debate; the student is not ready." in text
    assert "The model cannot solve this task" in text
    assert "Adopt" not in text


def test_what_was_not_measured_is_called_that(tmp_path: Path) -> None:
    rows = [r for r in ROWS if r["kind"] == "main"]
    summary = summary_of(tmp_path, rows)
    html = render_report(summary, manifest(), {}, [], [])
    text = squeezed(Page(html.replace(get_plotlyjs(), "")))
    assert "p95 latency not measured" in text
    assert text.count("Not measured in this run.") == 2  # latency, training loss
    assert "No transcripts to show." in text
    assert "nan" not in re.findall(r"\w+", text.lower())


def test_a_failed_debate_shows_its_error(tmp_path: Path) -> None:
    text = squeezed(
        Page(render(tmp_path, [failed("debate", "q1", "rw"), row("student", "q1", "r")]))
    )
    assert "TimeoutError: too slow" in text
    assert "The debate failed" in text


def test_the_page_has_a_size_one_can_mail(tmp_path: Path) -> None:
    summary = summary_of(tmp_path, ROWS)
    size = len(render_report(summary, manifest(), CARD, CURVE, ROWS).encode())
    assert size - len(get_plotlyjs().encode()) < 150_000


def test_charts_are_valid_plotly_figures_in_palette_colours(tmp_path: Path) -> None:
    found = charts(summary_of(tmp_path, ROWS), CURVE)
    assert [chart["id"] for chart in found] == ["accuracy", "latency", "rounds", "loss"]
    for chart in found:
        text = json.dumps(chart["figure"], allow_nan=False)
        used = set(re.findall(r"var:(\w+)", text))
        assert used <= PALETTES["light"].keys()
        go.Figure(json.loads(re.sub(r"var:\w+", "#123456", text)))
    bars = found[0]["figure"]["data"][3]["error_y"]
    assert bars["array"][0] == pytest.approx(0.954 - 0.75, abs=1e-3)


def test_palettes_name_the_same_colours() -> None:
    assert PALETTES["light"].keys() == PALETTES["dark"].keys()


def test_a_wide_range_of_latencies_gets_a_logarithmic_axis(tmp_path: Path) -> None:
    slow = [row("debate", "q1", "r", kind="latency", wall_s=5.0)]
    axis = charts(summary_of(tmp_path, ROWS + slow), [])[1]["figure"]["layout"]["xaxis"]
    assert axis["type"] == "log"


def test_a_long_loss_curve_is_thinned_and_keeps_its_ends() -> None:
    curve = [{"step": i, "loss": 1.0} for i in range(10_001)]
    kept = thin(curve, 100)
    assert (len(kept) <= 101, kept[0]["step"], kept[-1]["step"]) == (True, 0, 10_000)
    assert thin(CURVE, 100) == CURVE
    assert thin([], 100) == []


def test_a_loss_that_is_not_finite_is_a_gap(tmp_path: Path) -> None:
    curve = [{"step": 1, "loss": 1.0}, {"step": 2, "loss": float("nan")}]
    assert charts(summary_of(tmp_path, ROWS), curve)[3]["figure"]["data"][0]["y"] == [1.0, None]


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
    assert "! The debate does not beat a single answer" in text


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
