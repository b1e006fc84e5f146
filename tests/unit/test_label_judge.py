"""What a judge is asked, how its answers become verdicts, and what is done with long prompts."""

import asyncio
from typing import Any

import pytest

from agentark_ray.engine.base import EngineDead, PromptTooLong
from agentark_ray.grading.numeric import NUMERIC
from agentark_ray.traces.label import relabel
from agentark_ray.traces.label_judge import (
    LEAST_CHARS,
    Judge,
    Judgement,
    decide,
    judge_text,
    judged_label,
    messages,
    said,
    shorter,
    solutions,
    turns_to_judge,
    without_middle,
)
from agentark_ray.types import Message, ModelRef
from tests.unit.labelled import trace

JUDGE = Judge(model=ModelRef(name="m"))
RIGHT = Judgement(verdict="correct", share=1.0)
WRONG = Judgement(verdict="incorrect", share=1.0)


def label(stored: dict[str, Any]) -> dict[str, Any]:
    return asyncio.run(relabel(stored, NUMERIC, "vote"))


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        *(("true", True), (" False.\n", False), ('"true"', True), ("TRUE", True)),
        *(("", None), ("true or false", None), ("not true", None), ("1", None)),
    ],
)
def test_only_true_or_false_is_an_answer(text: str, meant: bool | None) -> None:
    assert said(text) is meant


@pytest.mark.parametrize(
    ("votes", "verdict", "share"),
    [
        ("t", "correct", 1.0),
        ("f", "incorrect", 1.0),
        ("?", "unparsable", 1.0),
        ("tft", "correct", 2 / 3),
        ("f?f", "incorrect", 2 / 3),
        ("ftf", "incorrect", 2 / 3),
        ("??t", "correct", 1 / 3),  # of those who decided, all
        ("t?f", "unparsable", 1 / 3),
    ],
)
def test_most_votes_decide(votes: str, verdict: str, share: float) -> None:
    words = {"t": "true", "f": "false", "?": "perhaps"}
    found = decide([words[vote] for vote in votes], cut=False)
    assert (found.verdict, found.share, found.cut) == (verdict, pytest.approx(share), False)


def test_the_reference_is_shown_if_there_is_one() -> None:
    stored = trace("4", gold="42 apples")
    (asked,) = messages(JUDGE.texts(stored, "it is {question} 4"))
    assert "Reference answer:\n42 apples\n" in asked["content"]
    assert "Solution:\nit is {question} 4\n" in asked["content"]  # what is said is not a template
    for judge, row in ((JUDGE, {**stored, "gold": None}), (_without_reference(), stored)):
        (asked,) = messages(judge.texts(row, "it is 4"))
        assert "Reference" not in asked["content"]
        assert "42 apples" not in asked["content"]


def _without_reference() -> Judge:
    return Judge(model=ModelRef(name="m"), reference=False)


def test_one_vote_is_greedy_and_the_answer_constrained() -> None:
    assert (JUDGE.sampling.temperature, JUDGE.sampling.choices) == (0.0, ("true", "false"))
    assert Judge(model=ModelRef(name="m"), votes=3).sampling.temperature > 0


def test_solutions_are_judged_not_reviews() -> None:
    assert solutions(trace("1 2 3 4", roles="solver verifier verifier aggregator")) == [0, 3]
    assert solutions(trace("1 2 3", roles="affirmative negative judge")) == [0, 1]
    assert solutions(trace("1 2 3", roles="agent agent judge")) == [0, 1, 2]


def test_what_the_grader_decides_is_judged_only_on_request() -> None:
    graded, ungraded = trace("4 5"), trace("4 5", gold=None)
    assert turns_to_judge(graded, label(graded), "ungraded") == []
    assert turns_to_judge(graded, label(graded), "all") == [0, 1]
    assert turns_to_judge(ungraded, label(ungraded), "ungraded") == [0, 1]


def test_votes_and_final_answer_follow_the_turns() -> None:
    stored = trace("4 4 5", "5 5 4", gold=None)
    judgements = dict(enumerate([RIGHT, RIGHT, WRONG, WRONG, WRONG, RIGHT]))
    made = judged_label(stored, label(stored), judgements, "judge:m")
    assert [vote["verdict"] for vote in made["votes"]] == ["correct", "incorrect"]
    assert (made["final_answer"], made["verdict"]) == ("5", "incorrect")
    assert (made["source"], made["error"]) == ("judge:m", None)
    assert {turn["share"] for turn in made["turns"]} == {1.0}


def test_turns_with_the_same_answer_may_be_judged_differently() -> None:
    stored = trace("4 4 4", gold=None)
    judgements = dict(enumerate([WRONG, RIGHT, RIGHT]))
    assert judged_label(stored, label(stored), judgements, "judge:m")["verdict"] == "correct"


def test_the_grader_stays_known_beside_the_judge() -> None:
    stored = trace("4 5")
    made = judged_label(stored, label(stored), {0: WRONG, 1: WRONG}, "judge:m")
    assert [turn["graded"] for turn in made["turns"]] == ["correct", "incorrect"]
    assert [turn["verdict"] for turn in made["turns"]] == ["incorrect", "incorrect"]


def test_an_aggregators_answer_is_judged_by_its_own_text() -> None:
    stored = trace("4 5", gold=None, roles="agent agent")
    closing = {**stored["turns"][0], "agent": 2, "round": 1, "role": "aggregator"}
    stored["turns"].append(closing)  # it says 4, too
    judgements = {0: RIGHT, 1: WRONG, 2: WRONG}
    assert judged_label(stored, label(stored), judgements, "judge:m")["verdict"] == "incorrect"


def test_without_judgements_the_graders_label_stands() -> None:
    stored = trace("4 5")
    assert judged_label(stored, label(stored), {}, "judge:m") == label(stored)


def test_a_failed_judgement_is_an_error_of_the_row_and_a_long_prompt_is_not() -> None:
    stored = trace("4 5", gold=None)
    broken = Judgement(verdict=None, error="OSError: gone", failed=True)
    made = judged_label(stored, label(stored), {0: RIGHT, 1: broken}, "judge:m")
    assert made["error"] == made["turns"][1]["error"] == "OSError: gone"
    long = Judgement(verdict=None, error="PromptTooLong: 9")
    made = judged_label(stored, label(stored), {0: RIGHT, 1: long}, "judge:m")
    assert (made["error"], made["turns"][1]["error"]) == (None, "PromptTooLong: 9")
    assert made["turns"][1]["verdict"] is None


def test_a_middle_is_left_out_with_a_mark() -> None:
    text = "".join(str(i % 10) for i in range(1000))
    cut = without_middle(text, 400)
    assert cut == text[:300] + "\n[... 400 characters left out ...]\n" + text[700:]
    assert without_middle(text, 0) == text


def test_the_longest_text_is_cut_by_what_is_too_much() -> None:
    texts = {"question": "q" * 1000, "solution": "s" * 3000}
    removed: dict[str, int] = {}
    # 4,000 characters are 1,000 tokens, of which 100 are too many: 400 characters, and a tenth
    assert shorter(texts, removed, PromptTooLong(1000, 900))
    assert removed == {"solution": 441}
    assert shorter(texts, removed, PromptTooLong(message="too long"))
    assert removed == {"solution": 441 + (3000 - 441) // 2}


async def asked(judge: Judge, row: dict[str, Any], solution: str, limit: int) -> Judgement:
    """By a judge who says true, and whose context holds `limit` words; a vote adds 20."""

    async def ask(prompt: list[Message]) -> list[str]:
        needed = len(prompt[0]["content"].split()) + 20
        if "POISON" in prompt[0]["content"]:
            raise OSError("planted")
        if "DEATH" in prompt[0]["content"]:
            raise EngineDead("planted")
        if needed > limit:
            raise PromptTooLong(needed, limit)
        return ["true"] * judge.votes

    return await judge_text(judge, row, solution, ask)


async def test_long_prompts_are_refused_or_windowed_by_policy() -> None:
    window = Judge(model=ModelRef(name="m"), too_long="window")
    row, solution = trace("4"), "some words " * 500
    found = await asked(JUDGE, row, solution, limit=200)
    assert (found.verdict, found.failed, found.cut) == (None, False, False)
    assert "need 1048 tokens, the context holds 200" in str(found.error)
    assert await asked(window, row, solution, limit=200) == Judgement(
        verdict="correct", share=1.0, cut=True
    )
    assert await asked(window, row, "short", limit=200) == RIGHT
    hopeless = await asked(window, row, solution, limit=30)
    assert (hopeless.verdict, hopeless.failed) == (None, False)
    assert "the context holds 30" in str(hopeless.error)


async def test_failures_of_a_judge_are_data_and_a_dead_engine_is_not() -> None:
    found = await asked(JUDGE, trace("4"), "POISON", limit=200)
    assert found == Judgement(verdict=None, error="OSError: planted", failed=True)
    with pytest.raises(EngineDead):
        await asked(JUDGE, trace("4"), "DEATH", limit=200)


def test_cutting_ends_where_nothing_is_left() -> None:
    texts = {"question": "q" * 300, "solution": "s" * 1000}
    removed: dict[str, int] = {}
    steps = 0
    while shorter(texts, removed, PromptTooLong(message="too long")):
        steps += 1
    assert steps < 10
    assert {n: len(t) - removed.get(n, 0) for n, t in texts.items()} == dict.fromkeys(
        texts, LEAST_CHARS
    )
