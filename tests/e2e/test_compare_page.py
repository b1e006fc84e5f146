"""The compare page in a real browser, before a server that says what the test wants.

Skipped where there is no Chromium.
"""

import json
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, Route

from agentark_ray.serving.events import (
    DONE,
    Answered,
    HandedOver,
    Said,
    Usage,
    Voted,
    chunks,
    error_body,
)
from agentark_ray.serving.guard import SECURITY_HEADERS

PAGE = Path(__file__).parents[2] / "agentark_ray/serving/page"
URL = "http://compare.test"
EVIL = "<img src=x onerror='document.title = \"evil\"'></script><script>alert(1)</script>"
TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript"}
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


def answer(text: str, **values: Any) -> Answered:
    usage = Usage(prompt_tokens=1200, cached_tokens=1000, completion_tokens=345)
    return Answered(text=text, answer="7", usage=usage, finish_reason="stop", **values)


def stream(model: str) -> str:
    """What a model says: the debate two agents, two rounds and something hostile."""
    told: list[Any] = []
    if model == "debate":
        for round_, answers in enumerate((("7", "8"), ("7", "7"))):
            told += [
                Said(
                    round=round_,
                    agent=agent,
                    role="agent",
                    answer=said,
                    prompt_tokens=9,
                    cached_tokens=0,
                    output_tokens=20,
                    latency_ms=10.0,
                    text=f"{EVIL} so {said}",
                )
                for agent, said in enumerate(answers)
            ]
            told.append(Voted(round=round_, answer="7", count=1 + round_, agents=2))
        told.append(answer(f"{EVIL} 3 + 4 = 7", path="debate", rounds=2, stop_reason="unanimous"))
    elif model == "hybrid":
        told = [HandedOver(confidence=-0.7, threshold=-0.2), answer("7", path="debate")]
    else:
        told = [answer("3 + 4 = 7", path="student")]
    pieces = [
        piece
        for event in told
        for piece in chunks(event, request_id="chatcmpl-1", model=model, with_usage=True)
    ]
    return "".join([*pieces, DONE])


RECENT = {
    "prices": {"prompt": 0.1, "cached": 0.01, "output": 0.4},
    "rollout": {"weights": {"student": 0.1, "debate": 0.9}, "shadow": None, "fallback": True},
    "requests": [
        {
            "time": number,
            "arm": ("student", "debate", "hybrid")[number % 3],
            "path": "student",
            "latency_ms": 50 * (1 + number % 3 * 20) + number,
            "tokens": 60,
            "agreement": None if number % 3 else number % 2 == 0 or number > 30,
        }
        for number in range(90)
    ],
}


class Opened:
    """The page, and what it asked for. Without a key the server refuses if `keyed`."""

    def __init__(self, browser: Browser, viewport: Any = DESKTOP, keyed: bool = False) -> None:
        self.errors: list[str] = []
        self.asked: list[Any] = []
        self._keyed = keyed
        self.page: Page = browser.new_page(viewport=viewport)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("dialog", lambda dialog: self.errors.append(dialog.message))
        self.page.route("**/*", self._respond)
        self.page.goto(f"{URL}/compare")
        if not keyed:
            self.page.locator("#model-1 option").nth(1).wait_for(state="attached")

    def _respond(self, route: Route) -> None:
        path = route.request.url.removeprefix(URL)
        if path.startswith("/compare"):
            name = "compare.html" if path == "/compare" else path.strip("/")
            kind = TYPES[name.rpartition(".")[2]]
            route.fulfill(path=PAGE / name, headers={**SECURITY_HEADERS, "content-type": kind})
            return
        if self._keyed and route.request.headers.get("authorization") != "Bearer secret":
            route.fulfill(status=401, json=error_body(401, "expected an API key"))
            return
        if path == "/v1/models":
            names = ["agentark", "student", "debate", "hybrid"]
            route.fulfill(json={"data": [{"id": name} for name in names]})
        elif path == "/v1/agentark/recent":
            route.fulfill(json=RECENT)
        elif path == "/v1/agentark/agreement":
            route.fulfill(json={"answers": ["7", "7"], "agree": True})
        else:
            body = json.loads(route.request.post_data or "{}")
            self.asked.append(body)
            if body["messages"][0]["content"] == "too much":
                error = error_body(429, "too many requests wait already")
                route.fulfill(status=429, json=error)
                return
            headers = {"content-type": "text/event-stream", "x-agentark-arm": body["model"]}
            route.fulfill(body=stream(body["model"]), headers=headers)

    def ask(self, question: str) -> None:
        """With the keyboard alone."""
        self.page.locator("#question").focus()
        self.page.keyboard.insert_text(question)
        self.page.keyboard.press("Control+Enter")
        self.page.locator("#go:enabled").wait_for()

    def text(self, selector: str) -> str:
        return self.page.locator(selector).inner_text()


def test_both_answer_and_the_debate_shows_its_rounds(browser: Browser) -> None:
    opened = Opened(browser)
    opened.ask("3 + 4 = ?")
    opened.page.locator("#agreement.yes").wait_for()
    assert opened.text("#agreement") == "Both answer 7"
    assert [body["model"] for body in opened.asked] == ["student", "debate"]
    assert opened.text("#answer-0") == "3 + 4 = 7"
    rounds = opened.page.locator("#rounds-1 > li")
    assert rounds.count() == 2
    assert rounds.nth(0).locator("span").inner_text() == "Round 1: 1 of 2 for 7"
    assert rounds.nth(1).locator("details").count() == 2
    figures = opened.text("#figures-1")
    for told in ("345", "1,200", "$0.00017", "debate", "unanimous", "latency"):
        assert told in figures
    assert "student 10 %, debate 90 %" in opened.text("#rollout")
    assert not opened.errors


def test_what_a_model_says_stays_text(browser: Browser) -> None:
    opened = Opened(browser)
    opened.ask("3 + 4 = ?")
    opened.page.locator("#agreement.yes").wait_for()
    assert EVIL in opened.text("#answer-1")
    assert opened.page.title().startswith("Compare")
    assert opened.page.locator("main img, main script").count() == 0
    assert not opened.errors


def test_a_hybrid_says_that_it_handed_over(browser: Browser) -> None:
    opened = Opened(browser)
    opened.page.select_option("#model-1", "hybrid")
    opened.ask("3 + 4 = ?")
    assert "not sure enough (-0.700)" in opened.text("#rounds-1")


def test_errors_are_shown_and_the_page_goes_on(browser: Browser) -> None:
    opened = Opened(browser)
    opened.ask("too much")
    assert opened.text("#answer-0") == "too many requests wait already"
    opened.page.locator("#question").fill("")
    opened.ask("3 + 4 = ?")
    opened.page.locator("#agreement.yes").wait_for()


def test_a_key_opens_it(browser: Browser) -> None:
    opened = Opened(browser, keyed=True)
    opened.page.locator("#rollout", has_text="expected an API key").wait_for()
    opened.page.locator("#key").fill("secret")
    opened.page.locator("#key").blur()
    opened.page.locator("#model-0 option").nth(1).wait_for(state="attached")
    opened.ask("3 + 4 = ?")
    opened.page.locator("#agreement.yes").wait_for()


def test_charts_are_drawn_and_a_phone_needs_no_sideways_scrolling(browser: Browser) -> None:
    opened = Opened(browser, PHONE)
    opened.ask("3 + 4 = ?")
    opened.page.locator("#agreement.yes").wait_for()
    assert opened.page.locator("#latency circle").count() == 90 + 3
    fill = opened.page.locator("#agree path").evaluate("path => getComputedStyle(path).fill")
    assert fill == "none"  # a line
    wide = opened.page.locator("html").evaluate("page => page.scrollWidth")
    assert wide <= PHONE["width"]
