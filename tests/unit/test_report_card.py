"""The data card in the report."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from agentark_ray.config import Config
from agentark_ray.distill.card import card, count
from agentark_ray.distill.rows import Drop, RowKind
from agentark_ray.evaluate.data_card import WORDS, card_view
from agentark_ray.strategy import DaConfig, RftConfig
from tests.unit.debates import WRONG, debate, said
from tests.unit.reports import manifest, render
from tests.unit.test_card import GOOD, SLIP, stored
from tests.unit.transcripts import ROWS

DA = DaConfig(type="da", drafts=1)


def made() -> dict[str, Any]:
    rows = [
        stored(DA, debate([said(GOOD), said(SLIP, WRONG)], [said(GOOD), said("so 4")])),
        stored(DA, debate([said("no 5", WRONG)], question_id="q2")),
    ]
    return {**card(count(rows)), "packed_sequences": 3, "packing_efficiency": 0.9}


def test_bars_are_shares_of_their_total() -> None:
    view = card_view(made(), "da")
    assert view is not None
    bars = {bar["title"]: bar for bar in view["bars"]}
    assert set(bars) == {"Questions", "Right solutions", "Training rows", "Difficulty", "Agents"}
    assert [(row["label"], row["count"], row["share"]) for row in bars["Questions"]["rows"]] == [
        ("learned from", 1, 0.5),
        ("nobody is right", 1, 0.5),
    ]
    for bar in bars.values():
        assert sum(row["count"] for row in bar["rows"]) == bar["total"]
        assert sum(row["share"] for row in bar["rows"]) == pytest.approx(1)


def test_every_reason_and_kind_has_words() -> None:
    assert set(WORDS) == {"kept", *Drop, *RowKind}


def test_a_card_of_another_form_is_not_guessed_at() -> None:
    assert card_view({"traces": 3}, "rsft") is None


def test_several_tasks_are_shown_and_what_a_control_spent() -> None:
    config = RftConfig(type="rft")
    rows = [
        stored(config, debate([said("so 4")], [said("so it is 4")])),
        stored(config, debate([said("so 4")], task="arithmetic")),
    ]
    view = card_view(card(count(rows)), "rft")
    assert view is not None
    assert view["bars"][-1]["title"] == "Tasks"
    # 2 + 4 and 2 tokens of debates; 2 and 2 of first answers
    assert ("spent of the debates' budget", "50.0% of 8 tokens, 2 samples") in view["facts"]


def test_nothing_learned_is_a_card_too() -> None:
    empty = card(count([stored(DA, debate([said("no 5", WRONG)]))]))
    view = card_view(empty, "da")
    assert view is not None
    assert ("packed sequences", "not measured") in view["facts"]


class Text(HTMLParser):
    """The text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text = ""
        self.feed(page)

    def handle_data(self, data: str) -> None:
        self.text += f" {data}"


def test_the_report_shows_the_card(tmp_path: Path) -> None:
    page = render(tmp_path, ROWS, data_card=made())
    section = page[page.index('id="data"') : page.index('id="run"')]
    text = re.sub(r"\s+", " ", Text(section).text)
    assert "These debates are good for RSFT 1 questions have a right solution" in text
    assert "wrong draft, critique, solution 1 25.0%" in text
    assert "packing efficiency 90.0%" in text
    assert "--share: 0.2500; --bar: var(--debate)" in section


def test_the_report_says_when_another_strategy_was_trained(tmp_path: Path) -> None:
    run = manifest() | {"config": Config(distill=DA).snapshot()}
    page = render(tmp_path, ROWS, data_card=made(), manifest=run)
    assert "this run trained DA" in page
