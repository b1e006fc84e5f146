"""The report in a real browser: it opens fast, filters, unfolds, draws, and runs nothing of others.

Skipped where there is no Chromium.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from agentark_ray.report_source import Asked
from agentark_ray.reporting import Format, Output, write_reports
from benchmarks.report import LIMIT_MB, LIMIT_MS, chromium, open_ms, synthetic_run
from tests.e2e import pdf
from tests.unit.reports import render
from tests.unit.transcripts import ROWS, failed, row, turn

EVIL = "</script><script>window.evil = 1</script><img src=x onerror='window.evil = 2'>\u202e\u2028"
QUESTIONS, LETTERS = 60, 200
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small run with its reports."""
    folder = synthetic_run(str(tmp_path_factory.mktemp("run") / "run"), QUESTIONS, LETTERS)
    write_reports([folder], Asked(), Output())
    return Path(folder.uri)


class Seen:
    """An open page, with all that went wrong in it and all that it asked for."""

    def __init__(self, browser: Browser, path: Path, viewport: Any = DESKTOP) -> None:
        self.page: Page = browser.new_page(viewport=viewport)
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda found: self._console(found.type, found.text))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("dialog", lambda dialog: self.errors.append(dialog.message))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(f"file://{path}")
        self.page.wait_for_selector("html[data-ready]", timeout=30_000)

    def _console(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.errors.append(text)

    def text(self, selector: str) -> str:
        return self.page.locator(selector).inner_text()

    def chip(self, title: str) -> None:
        self.page.locator(".chip", has_text=title).click()

    def shown(self) -> int:
        """Questions that the filters leave."""
        told = self.text("#question-count")
        return 0 if told.startswith("No") else int(told.split(" of ")[1].split()[0])


@pytest.fixture(scope="module")
def questions(written: Path) -> list[dict[str, Any]]:
    return json.loads((written / "report.json").read_text())["questions"]["list"]


def is_right(question: dict[str, Any], arm: int) -> bool:
    return question["answers"][arm]["verdict"] == "correct"


def test_filters_leave_the_questions_that_fit(
    browser: Browser, written: Path, questions: list[dict[str, Any]]
) -> None:
    seen = Seen(browser, written / "report.html")
    assert (seen.shown(), len(questions)) == (QUESTIONS, QUESTIONS)
    seen.chip("Student wrong, Debate right")
    lost = sum(not is_right(q, 3) and is_right(q, 2) for q in questions)
    assert 0 < lost < QUESTIONS
    assert seen.shown() == lost
    seen.page.locator("#question-columns select").nth(0).select_option(label="right")
    assert seen.shown() == sum(
        not is_right(q, 3) and is_right(q, 2) and is_right(q, 0) for q in questions
    )
    seen.chip("All")
    seen.page.locator("#question-columns select").nth(0).select_option(label="any")
    seen.page.fill("#question-search", questions[7]["id"][2:].upper())
    assert seen.shown() == 1
    assert questions[7]["text"][:60] in seen.text("#question-rows")
    seen.page.fill("#question-search", "no such words")
    assert seen.shown() == 0
    assert seen.errors == []


def test_a_question_unfolds_into_its_transcripts(
    browser: Browser, written: Path, questions: list[dict[str, Any]]
) -> None:
    seen = Seen(browser, written / "report.html")
    seen.page.locator("#question-pager button").nth(1).click()
    head = seen.page.locator(".question-head").nth(3)
    question = questions[25 + 3]
    head.click()
    body = seen.page.locator(".question-body")
    body.locator(".answer-box").first.wait_for()
    said = body.locator(".said")
    assert said.count() == (1 + 2) + 5 + 10 + (1 + 2)  # alone and checked, voted, debated
    assert question["id"] in body.inner_text()
    assert f"Right answer {question['gold']}" in body.inner_text()
    assert "then asked to check the answer" in body.inner_text()
    assert "typos 0.3" in body.inner_text()
    head.click()
    assert seen.page.locator(".question-body").count() == 0
    assert seen.errors == []


def test_every_chart_is_drawn_and_nothing_is_loaded(browser: Browser, written: Path) -> None:
    for scheme in ("light", "dark"):
        seen = Seen(browser, written / "report.html")
        seen.page.emulate_media(color_scheme=scheme)
        seen.page.evaluate("drawAll()")
        plots = seen.page.locator(".plot").count()
        assert plots >= 7
        for at in range(plots):
            seen.page.locator(".plot").nth(at).locator(".main-svg").first.wait_for(state="attached")
        assert [url for url in seen.requests if not url.startswith(("file:", "data:"))] == []
        assert seen.errors == []


def test_sections_fold_and_links_unfold_them(browser: Browser, written: Path) -> None:
    seen = Seen(browser, written / "report.html")
    seen.page.click("[data-fold='']")
    assert seen.page.locator("details.part[open]").count() == 0
    seen.page.click("nav.sections a[href='#robustness']")
    seen.page.locator("#robustness[open] table").wait_for()
    assert seen.page.locator("details.part[open]").count() == 1


def test_a_phone_shows_all_without_scrolling_sideways(browser: Browser, written: Path) -> None:
    seen = Seen(browser, written / "report.html", PHONE)
    seen.page.click("[data-fold='open']")
    seen.page.evaluate("drawAll()")
    seen.page.locator(".question-head").first.click()
    seen.page.locator(".answer-box").first.wait_for()
    assert seen.page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    assert seen.errors == []


def test_what_models_wrote_is_text(browser: Browser, tmp_path: Path) -> None:
    evil: dict[str, Any] = row("debate", EVIL, "wwr", "rrr", gold=EVIL, final_answer=EVIL)
    evil["question"] = EVIL
    evil["turns"] = [{**turn(0, r, "correct", EVIL), "answer": EVIL} for r in (0, 1)]
    evil["votes"][1]["answer"] = EVIL
    lost: dict[str, Any] = failed("student", EVIL, error_message=EVIL)
    lost["question"] = EVIL
    rows = [*ROWS, evil, lost]
    path = tmp_path / "evil.html"
    path.write_text(render(tmp_path / "rows", rows, name=EVIL))
    seen = Seen(browser, path)
    heads = seen.page.locator(".question-head")
    for at in range(heads.count()):
        heads.nth(at).click()
        seen.page.locator(".question-body").nth(at).locator(".answer-box").first.wait_for()
    assert seen.page.evaluate("typeof window.evil") == "undefined"
    assert seen.page.locator("img").count() == 0
    assert EVIL[:60] in seen.page.locator(".said", has_text="onerror").first.inner_text()
    assert seen.errors == []


def test_two_runs_are_compared_in_one_page(browser: Browser, written: Path, tmp_path: Path) -> None:
    from agentark_ray.run_folder import RunFolder

    other = synthetic_run(str(tmp_path / "other"), QUESTIONS + 10, LETTERS)
    found = write_reports(
        [RunFolder(str(written)), other], Asked(), Output(folder=str(tmp_path / "both"))
    )
    seen = Seen(browser, Path(found.paths[Format.HTML]))
    assert seen.shown() == QUESTIONS + 10
    assert f"{QUESTIONS} questions in common" in seen.text("#paired")
    seen.page.evaluate("drawAll()")
    assert seen.errors == []


MARGIN: Any = dict.fromkeys(("top", "right", "bottom", "left"), "12mm")
PAPER = {"width": 703, "height": 1032}  # A4 less MARGIN, in CSS pixels
LONG = """for (const text of document.querySelectorAll(".question > p:first-child, .text, .said"))
  text.textContent += " and so on".repeat(1000);"""
CAN_DRAW = """new Promise(ready => {
  const look = () => window.Plotly ? ready() : setTimeout(look, 50);
  look();
})"""
CUT_OFF = """() => [...document.body.querySelectorAll("*:not(svg, svg *)")].filter(one => {
  const style = getComputedStyle(one), box = one.getBoundingClientRect();
  return (style.overflowY !== "visible" && one.scrollHeight > one.clientHeight + 1)
    || (style.overflowX !== "visible" && one.scrollWidth > one.clientWidth + 1)
    || (box.height > 0 && box.right > innerWidth + 1);
}).map(one => `${one.tagName} ${one.className}`)"""
OVERLAP = """() => [...document.querySelectorAll(".plot")].filter(plot =>
  plot.querySelector(".main-svg").getBoundingClientRect().height > plot.clientHeight + 1).length"""
CONTROLS = """() => [...document.querySelectorAll("button, input, select, nav a")]
  .filter(one => one.checkVisibility()).map(one => one.className)"""


def test_nothing_is_cut_off_in_print_and_controls_are_hidden(
    browser: Browser, written: Path
) -> None:
    seen = Seen(browser, written / "report.html", PAPER)
    seen.page.locator(".question-head").first.click()
    seen.page.locator(".answer-box").first.wait_for()
    seen.page.evaluate(LONG)
    seen.page.evaluate(CAN_DRAW)
    seen.page.emulate_media(media="print")
    seen.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    plots = seen.page.locator(".plot")
    for at in range(plots.count()):
        plots.nth(at).locator(".main-svg").first.wait_for(state="visible")
    assert seen.page.evaluate(CUT_OFF) == []
    assert seen.page.evaluate(OVERLAP) == 0
    assert set(seen.page.evaluate(CONTROLS)) == {"question-head"}  # the questions themselves
    assert seen.page.locator("h1.decision").is_visible()
    assert seen.page.locator("#gates table").is_visible()
    assert seen.errors == []


def test_the_pdf_has_decision_gates_and_charts(browser: Browser, written: Path) -> None:
    seen = Seen(browser, written / "report.html")
    seen.page.evaluate(CAN_DRAW)
    seen.page.click("[data-fold='']")  # what is folded is printed, too
    made = seen.page.pdf(format="A4", margin=MARGIN)
    assert pdf.pages(made) > 3
    told = pdf.text(made)
    decision = seen.text("h1.decision .badge")
    for words in (
        *(decision, "Next step", "Accuracy against the debate", "Training debates"),
        *("asked of the student:", "less the debate", "p95 asked:"),  # of charts alone
        *("Debates, turn by turn", "Config"),
    ):
        assert words.replace(" ", "") in told, words
    assert "unfoldall" not in told
    assert seen.errors == []


@pytest.mark.slow
@pytest.mark.timeout(1_200)
def test_ten_thousand_questions_open_within_two_seconds(tmp_path: Path) -> None:
    path = chromium()
    if path is None:
        pytest.skip("no Chromium")
    folder = synthetic_run(str(tmp_path / "run"), 10_000, 300)
    found = write_reports([folder], Asked(), Output())
    assert found.sizes[Format.HTML] < LIMIT_MB * 1e6
    assert found.listed == 10_000
    assert min(open_ms(found.paths[Format.HTML], path) for _ in range(3)) < LIMIT_MS
