"""`self_consistency` and `single` on hand-made dialogues."""

from typing import Any

import pytest

from agentark_ray.debate.layouts import AGGREGATE, JUDGE
from agentark_ray.grading.numeric import NUMERIC
from agentark_ray.types import Debate, Sampling
from tests.unit.script import FIRST, Script, hold, user


def said(debate: Debate) -> list[tuple[int, int, str, str | None, str | None]]:
    """Round, agent, role, answer and verdict of every turn."""
    return [(t.round, t.agent, t.role, t.answer, t.verdict) for t in debate.turns]


def counts(debate: Debate) -> list[tuple[int, str | None, int, int, str | None]]:
    """Every vote: round, answer, how many gave it, of how many, verdict."""
    return [(v.round, v.answer, v.count, v.agents, v.verdict) for v in debate.votes]


def outcome(debate: Debate) -> tuple[str, str | None, str | None, str | None]:
    """Status, stop reason, final answer and its verdict."""
    return debate.status, debate.stop_reason, debate.final_answer, debate.final_verdict


def sampled(*lines: str, **debate: Any) -> tuple[Script, Debate]:
    """Self-consistency whose agents say these lines, and an aggregator the last one if there is."""
    closing = debate.get("aggregate") in ("model", "judge")
    script = Script(*([line] for line in lines))
    agents = len(lines) - closing
    return script, hold(script, protocol="self_consistency", agents=agents, **debate)


# Self-consistency


def test_agents_answer_apart_and_equal_answers_are_counted() -> None:
    lines = ("It is #### 5", "#### 4", "I do not know", "Half of 8: #### 4.0", "#### 5.5")
    script, debate = sampled(*lines)
    assert [messages for _, messages in script.asked] == [[user(FIRST)]] * 5
    assert said(debate) == [
        (0, 0, "agent", "5", "incorrect"),
        (0, 1, "agent", "4", "correct"),
        (0, 2, "agent", None, "unparsable"),
        (0, 3, "agent", "4.0", "correct"),
        (0, 4, "agent", "5.5", "incorrect"),
    ]
    assert counts(debate) == [(0, "4", 2, 5, "correct")]
    assert outcome(debate) == ("ok", "rounds", "4", "correct")
    assert [t.completion.text for t in debate.turns] == list(lines)


def test_most_agents_may_be_wrong() -> None:
    _, debate = sampled("#### 4", "#### 6", "#### 6")
    assert counts(debate) == [(0, "6", 2, 3, "incorrect")]
    assert outcome(debate) == ("ok", "rounds", "6", "incorrect")


def test_of_answers_that_are_as_frequent_the_first_one_counts() -> None:
    _, debate = sampled("#### 7", "#### 4", "#### 4", "#### 7", "#### 9")
    assert counts(debate) == [(0, "7", 2, 5, "incorrect")]
    assert outcome(debate) == ("ok", "rounds", "7", "incorrect")


def test_agents_who_agree_are_asked_once_all_the_same() -> None:
    script, debate = sampled("#### 4", "#### 4")
    assert len(script.asked) == 2
    assert counts(debate) == [(0, "4", 2, 2, "correct")]
    assert outcome(debate) == ("ok", "rounds", "4", "correct")


def test_nobody_may_have_an_answer() -> None:
    _, debate = sampled("Hm.", "No idea.")
    assert counts(debate) == [(0, None, 0, 2, "unparsable")]
    assert outcome(debate) == ("ok", "rounds", None, "unparsable")


def test_the_sure_may_outweigh_the_many() -> None:
    """exp(-0.1) = 0.905 for 4 against 2 exp(-1) = 0.736 for 5."""
    lines = [["#### 5"], ["#### 4"], ["#### 5"]]
    script = Script(*lines, logprobs_A=(-1.0, -0.1, -1.0))
    debate = hold(script, protocol="self_consistency", agents=3, aggregate="weighted_vote")
    assert counts(debate) == [(0, "5", 2, 3, "incorrect")]
    assert outcome(debate) == ("ok", "rounds", "4", "correct")


@pytest.mark.parametrize(
    ("aggregate", "role", "closing"),
    [("model", "aggregator", AGGREGATE), ("judge", "judge", JUDGE)],
    ids=["model", "judge"],
)
def test_a_model_reads_all_answers_and_may_overrule_the_vote(
    aggregate: str, role: str, closing: str
) -> None:
    lines = ("It is #### 5", "No: #### 4", "I say #### 5", "The second is right. #### 4")
    judge = {"persona": "Be fair.", "temperature": 0.0, "max_tokens": 9}
    script, debate = sampled(*lines, aggregate=aggregate, judge=judge, max_tokens=50)
    told = (
        "2 + 2?\n\nSolution 1:\nIt is #### 5\n\nSolution 2:\nNo: #### 4\n\nSolution 3:\n"
        f"I say #### 5\n\n{closing}\n{NUMERIC.instruction}"
    )
    system = {"role": "system", "content": "Be fair."}
    assert script.asked == [
        *((agent, [user(FIRST)]) for agent in range(3)),
        (3, [system, user(told)]),
    ]
    assert [script.sampling[agent].max_tokens for agent in range(4)] == [50, 50, 50, 9]
    assert said(debate) == [
        (0, 0, "agent", "5", "incorrect"),
        (0, 1, "agent", "4", "correct"),
        (0, 2, "agent", "5", "incorrect"),
        (1, 3, role, "4", "correct"),
    ]
    assert counts(debate) == [(0, "5", 2, 3, "incorrect")]
    assert outcome(debate) == ("ok", "rounds", "4", "correct")


def test_a_model_that_gives_no_answer_leaves_none() -> None:
    _, debate = sampled("#### 4", "#### 4", "Both are well written.", aggregate="model")
    assert counts(debate) == [(0, "4", 2, 2, "correct")]
    assert outcome(debate) == ("ok", "rounds", None, "unparsable")


def test_samples_may_have_personas_of_their_own() -> None:
    script = Script(["#### 4"], ["#### 4"], ["#### 4"])
    team = [{"persona": "Be brief.", "temperature": 0.2}, {}]
    hold(script, protocol="self_consistency", agents=3, team=team)
    brief = [{"role": "system", "content": "Be brief."}, user(FIRST)]
    assert [messages for _, messages in script.asked] == [brief, [user(FIRST)], brief]
    assert [script.sampling[agent].temperature for agent in range(3)] == [0.2, 0.7, 0.2]


# Single


@pytest.mark.parametrize(
    ("text", "answer", "verdict"),
    [
        ("2 and 2 are #### 4", "4", "correct"),
        ("#### 5", "5", "incorrect"),
        ("I do not know", None, "unparsable"),
    ],
)
def test_one_answer_is_final(text: str, answer: str | None, verdict: str) -> None:
    script = Script([text])
    debate = hold(script, protocol="single", temperature=0.3, top_p=0.9, max_tokens=40)
    assert script.asked == [(0, [user(FIRST)])]
    assert script.sampling == {0: Sampling(temperature=0.3, top_p=0.9, max_tokens=40)}
    assert said(debate) == [(0, 0, "agent", answer, verdict)]
    assert counts(debate) == [(0, answer, int(answer is not None), 1, verdict)]
    assert outcome(debate) == ("ok", "rounds", answer, verdict)


def test_the_one_is_the_first_of_the_team() -> None:
    script = Script(["#### 4"])
    team = [{"persona": "Be brief.", "temperature": 0.2}, {"persona": "Be long."}]
    debate = hold(script, protocol="single", team=team, temperature=0.9)
    assert script.asked == [(0, [{"role": "system", "content": "Be brief."}, user(FIRST)])]
    assert script.sampling[0].temperature == 0.2
    assert said(debate) == [(0, 0, "agent", "4", "correct")]
    assert outcome(debate) == ("ok", "rounds", "4", "correct")
