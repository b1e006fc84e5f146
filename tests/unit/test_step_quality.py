"""How solutions are written: steps, words, equations."""

from typing import Any

import pytest

from agentark_ray.evaluate.step_quality import Quality, last_solutions, step_quality
from tests.unit.debates import debate, said

GOOD = "3 + 4 = 7.\nLet me check this: 7 - 4 = 3.\n\\boxed{7}"
LUCKY = "3 + 4 = 8. Wait, I made a mistake. 2 * 4 = 8.\nSo \\boxed{8}"
PLAIN = "The answer is \\boxed{5}"


def test_figures_by_hand() -> None:
    found = Quality()
    for text in (GOOD, LUCKY, PLAIN):
        found.add(text)
    assert found.figures() == {
        "solutions": 3,
        "steps": (3 + 4 + 1) / 3,
        "verifying": 1 / 3,
        "revising": 1 / 3,
        "equations": 4,
        "equations_holding": 3 / 4,
        "checkable": 2,
        "consistent": 1 / 2,
    }
    empty = Quality().figures()
    assert [empty[name] for name in ("steps", "equations_holding", "consistent")] == [None] * 3


@pytest.mark.parametrize(
    "text",
    [
        "Let's verify: 3", "I double-check that", "Let me check", "To confirm, add", "We recheck",
        "Checking the answer", "Substituting x = 2 back gives", "This verifies it", "Check: 3",
    ],
)  # fmt: skip
def test_words_of_verification(text: str) -> None:
    found = Quality()
    found.add(text)
    assert (found.verifying, found.revising) == (1, 0)


@pytest.mark.parametrize(
    "text",
    [
        "Wait, no.", "So 4.\nHold on, 5", "Actually, it is 5", "There I see a mistake",
        "Let me redo this", "My previous answer was wrong", "On second thought", "Correction: 4",
        "I was wrong",
    ],
)  # fmt: skip
def test_words_of_revision(text: str) -> None:
    found = Quality()
    found.add(text)
    assert (found.verifying, found.revising) == (0, 1)


@pytest.mark.parametrize(
    "text",
    [
        "He writes a check for $50.",
        "They wait for 3 hours.",
        "The actual price",
        "A checkered flag",
    ],
)
def test_words_of_stories_are_neither(text: str) -> None:
    found = Quality()
    found.add(text)
    assert (found.verifying, found.revising) == (0, 0)


def row(arm: str, *rounds: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return debate(*rounds, arm=arm, **more)


def test_the_last_words_of_every_solver_count() -> None:
    held = row("debate", [said("a"), said("b"), said("j", role="judge")], [said("c")])
    assert last_solutions(held) == ["c", "b"]
    assert last_solutions({"turns": None}) == []


def test_arms_are_told_apart_and_probes_left_out() -> None:
    rows = [
        row("single", [said(GOOD)]),
        row("single", [said(PLAIN)], kind="latency"),
        row("single", [said(PLAIN)], kind="changed:typos:0.1"),
        row("single", [said(PLAIN)], status="failed"),
        row("single_check", [said(PLAIN)]),
        row("single_peer", [said(PLAIN)]),
        row("debate", [said(GOOD), said(LUCKY)]),
    ]
    found = step_quality(rows)
    assert {arm: figures["solutions"] for arm, figures in found.items()} == {
        "single": 1,
        "debate": 2,
    }
    assert found["debate"]["consistent"] == 0.5
