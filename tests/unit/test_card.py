"""The data card and the recommended strategy, counted by hand."""

import json
from collections import Counter
from typing import Any

import pyarrow as pa
import pytest

from agentark_ray.debate_rows import PathClass
from agentark_ray.distill.asked import asked
from agentark_ray.distill.card import card, count, count_debates
from agentark_ray.distill.curate import curate
from agentark_ray.distill.facts import Difficulty, difficulty, facts
from agentark_ray.distill.recommend import FEW, Figures, recommend
from agentark_ray.distill.record import CURATED_SCHEMA, debates_row, record
from agentark_ray.distill.solutions import Said
from agentark_ray.strategy import DaConfig, RftConfig
from tests.unit.debates import WRONG, debate, said

GOOD = "1 + 2 = 3.\n3 + 1 = 4.\n\\boxed{4}"
SLIP = "1 + 2 = 3.\n3 + 1 = 5.\n\\boxed{5}"


@pytest.mark.parametrize(
    ("verdicts", "level"),
    [
        (["correct"] * 4 + ["incorrect"], Difficulty.EASY),  # 0.8
        (["correct"] * 3 + ["incorrect"], Difficulty.MEDIUM),
        (["correct"] * 2 + ["incorrect"] * 3, Difficulty.MEDIUM),  # 0.4
        (["correct", "incorrect", "unparsable"], Difficulty.HARD),
        (["incorrect", "unparsable"], Difficulty.UNSOLVED),
        (["correct", "timeout", None], Difficulty.EASY),  # two say nothing
        (["timeout", None], Difficulty.UNKNOWN),
        ([], Difficulty.UNKNOWN),
    ],
)
def test_difficulty_is_the_share_of_right_first_answers(
    verdicts: list[str | None], level: Difficulty
) -> None:
    trace = debate([said("x", v) for v in verdicts], [said("later")] * 9)
    turns = [Said(debate_id="d", question="Q", turn=turn) for turn in trace["turns"]]
    assert difficulty(turns) is level


def test_facts_are_of_debates_that_ended_well() -> None:
    held = debate([said(GOOD), said(SLIP, WRONG)], [said(GOOD), said("4")])
    failed = debate([said(SLIP, WRONG)], debate_id="f", status="failed")
    found = facts(asked([failed, held]))
    assert [path.path for path in found.paths] == [PathClass.KEPT_RIGHT, PathClass.CORRECTED]
    assert (found.right, found.wrong, found.different_right) == (3, 1, 2)
    assert (found.steps, found.corrected) == (1, 1)  # the lower median of 3 and 1
    nobody = facts(asked([debate([said(SLIP, WRONG)])]))
    assert (nobody.right, nobody.steps, nobody.different_right) == (0, 3, 0)


def row(target: str, dropped: str | None = None, tokens: int = 10) -> dict[str, Any]:
    words = len(target.split())
    return {
        "kind": "solve",
        "dropped": dropped,
        "messages": [],
        "target": target,
        "words": words,
        "tokens": tokens,
        "target_tokens": words + 1,
        "input_ids": [],
        "labels": [],
    }


def stored(config: Any, *traces: dict[str, Any]) -> dict[str, Any]:
    """A row of CURATED_SCHEMA, through Arrow; a word is a token."""
    found = curate(traces, config, config.type)
    rows = [row(r.target) | {"kind": r.kind} for r in found.rows]
    made = record(found, rows, found.dropped)
    return pa.Table.from_pylist([made], schema=CURATED_SCHEMA).to_pylist()[0]


def test_a_card_by_hand() -> None:
    config = DaConfig(type="da", drafts=1)
    rows = [
        stored(config, debate([said(GOOD), said(SLIP, WRONG)], [said(GOOD), said(GOOD)])),
        stored(config, debate([said("so 4"), said("it is 4"), said("so 4")], question_id="q2")),
        stored(config, debate([said("no 5", WRONG)], question_id="q3", task="arithmetic")),
        stored(config, debate([said("4", finish_reason="length")], question_id="q4")),
    ]
    rows[1]["rows"].append(row("x", dropped="too_long"))
    found = card(count(rows))
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    # q1: GOOD, one correction, one confirmation; q2: two solutions and one confirmation
    assert found["rows"] == {"solve": 3, "correct": 1, "confirm": 2}
    assert (found["questions"], found["kept"], found["traces"]) == (4, 2, 4)
    assert found["dropped"] == {"no_right_solution": 1, "truncated": 1}
    assert found["rows_too_long"] == 1
    assert found["tasks"] == {"gsm8k": 3, "arithmetic": 1}
    assert found["difficulty"] == {"easy": 2, "medium": 1, "hard": 0, "unsolved": 1, "unknown": 0}
    assert found["paths"] == {
        "kept_right": 5,
        "corrected": 1,
        "corrupted": 0,
        "stayed_wrong": 1,
        "undecided": 0,
    }
    # q1: GOOD three times; q2: "so 4" twice and "it is 4"; q4: cut
    assert found["solutions"] == {
        "right": 7,
        "kept": 3,
        "dropped": {"duplicate": 3, "truncated": 1},
    }
    assert found["duplicates"] == {"questions": 0, "solutions": 3, "near_solutions": 0}
    # q1 before: 0; q2 before: two of three pairs share nothing; after: the one pair of q2
    assert found["diversity"]["before"] == pytest.approx((0 + 2 / 3) / 2)
    assert found["diversity"]["after"] == 1.0
    targets = sorted(
        len(r["target"].split()) for one in rows for r in one["rows"] if not r["dropped"]
    )
    assert found["lengths"]["words"] == {
        "p5": targets[0],
        "p50": targets[2],
        "p95": targets[5],
        "max": targets[5],
    }
    assert found["tokens"] == 60 and found["target_tokens"] == sum(targets) + 6
    assert found["sampling"] is None
    assert found["recommended"]["figures"] == {
        "questions": 4,
        "solved": 3,
        "median_steps": 1,
        "different": 4 / 3,
        "corrected": 1,
        "step_level": 1,
    }


def test_a_control_tells_what_it_spent() -> None:
    config = RftConfig(type="rft")
    rows = [stored(config, debate([said("so 4")], [said("so it is 4")]))] * 2
    assert card(count(rows))["sampling"] == {"budget": 12, "spent": 4, "samples": 2}


def test_a_card_is_a_sum_of_its_parts() -> None:
    config = DaConfig(type="da", drafts=1)
    rows = [
        stored(config, debate([said(GOOD), said(SLIP, WRONG)], [said("so 4"), said(GOOD)])),
        stored(config, debate([said("so 4"), said("it is 4")])),
        stored(config, debate([said("no 5", WRONG)])),
    ]
    whole = count(rows)
    parts: Counter[tuple[str, str]] = Counter()
    for one in rows:
        parts.update(count([one]))
    assert +parts == +whole
    assert card(parts) == card(whole)


def test_the_recommendation_needs_no_rows() -> None:
    traces = [debate([said(GOOD), said(SLIP, WRONG)], [said(GOOD), said(GOOD)])] * 3
    questions = [asked([trace]) for trace in traces]
    counts = count_debates(debates_row(question, facts(question)) for question in questions)
    rows = [stored(DaConfig(type="da", drafts=1), trace) for trace in traces]
    assert card(counts)["recommended"] == card(count(rows))["recommended"]


def test_an_empty_set_has_a_card() -> None:
    found = card(count([]))
    assert (found["questions"], found["kept"], found["lengths"]["words"]["p50"]) == (0, 0, None)
    assert found["recommended"]["strategy"] == "RSFT"


ENOUGH = Figures(
    questions=2 * FEW,
    solved=FEW,
    median_steps=3,
    different=1.1,
    corrected=FEW // 10,
    step_level=FEW // 10,
)


@pytest.mark.parametrize(
    ("changes", "strategy", "reason"),
    [
        ({}, "DA", "0.2 second solutions and corrections each"),
        ({"solved": FEW - 1}, "RSFT", "999 questions have a right solution, fewer than 1,000"),
        ({"median_steps": 2}, "RSFT", "The median right solution has 2 steps, fewer than 3"),
        ({"median_steps": 2, "step_level": FEW}, "RSFT", "2 steps"),
        ({"step_level": FEW, "corrected": FEW}, "PAD", "In 1,000 questions"),
        ({"step_level": FEW - 1, "corrected": FEW}, "DA", "999 questions"),
        ({"corrected": FEW // 10 - 1}, "RSFT", "has 0.199 second solutions"),
        ({"solved": 0, "median_steps": None, "different": None}, "RSFT", "0 questions"),
    ],
)
def test_the_recommended_strategy(changes: dict[str, Any], strategy: str, reason: str) -> None:
    from dataclasses import replace

    found = recommend(replace(ENOUGH, **changes))
    assert found.strategy == strategy
    assert reason in found.reason
