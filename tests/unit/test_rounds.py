"""Topologies, stopping rules and aggregations on hand-made dialogues."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentark_ray.config import parse_config
from agentark_ray.debate.layouts import AGGREGATE, JUDGE
from agentark_ray.debate.protocol import arm_protocol
from agentark_ray.debate.stop import when_quorum, when_stable
from agentark_ray.debate.topology import peers
from agentark_ray.grading.numeric import NUMERIC, equal
from tests.unit.script import Script, hold, user
from tests.unit.votes import counted

# Topologies


def test_topologies_by_hand() -> None:
    assert peers("full", 3, 0, 0) == ((1, 2), (0, 2), (0, 1))
    assert peers("ring", 4, 0, 0) == ((1, 3), (0, 2), (1, 3), (0, 2))
    assert peers("ring", 2, 0, 0) == ((1,), (0,))
    assert peers("star", 4, 0, 0) == ((1, 2, 3), (0,), (0,), (0,))
    assert peers("full", 1, 0, 0) == ((),)


@given(st.integers(2, 12), st.data(), st.integers(0, 1000))
def test_random_regular_gives_everybody_as_many_mutual_peers(
    agents: int, data: st.DataObject, seed: int
) -> None:
    degree = data.draw(st.integers(1, agents - 1).filter(lambda k: k * agents % 2 == 0))
    found = peers("random", agents, degree, seed)
    assert found == peers("random", agents, degree, seed)
    for agent, read in enumerate(found):
        assert len(set(read)) == len(read) == degree
        assert agent not in read
        assert all(agent in found[peer] for peer in read)


def test_an_agent_reads_its_peers_only() -> None:
    script = Script(*[["#### 1", "#### 2"] for _ in range(4)])
    hold(script, agents=4, topology="star", stop="fixed")
    second = {agent: messages[-1]["content"] for agent, messages in script.asked[4:]}
    assert [f"Agent {a}:" in second[0] for a in (1, 2, 3, 4)] == [False, True, True, True]
    assert [f"Agent {a}:" in second[2] for a in (1, 2, 3, 4)] == [True, False, False, False]


def test_random_peers_differ_between_questions_and_stay_for_one() -> None:
    config = parse_config({"debate": {"topology": "random", "agents": 8}}, [], "t")
    protocol: Any = arm_protocol(config, "debate")
    found = {protocol._peers(question) for question in ("0a", "0b", "0c", "0a")}
    assert len(found) == 3


# Stopping


def test_stable_needs_the_same_answers_twice() -> None:
    def rule(*answers_R_A: Sequence[str | None]) -> str | None:
        return when_stable(counted(answers_R_A[-1]), answers_R_A, equal, 0)

    assert rule(["1", "2"]) is None
    assert rule(["1", "2"], ["1.0", "2"]) == "stable"
    assert rule(["1", "2"], ["2", "1"]) is None
    assert rule(["1", None], ["1", None]) == "stable"
    assert rule(["1", None], ["1", "2"]) is None
    assert rule(["7", "7"]) == "unanimous"


@pytest.mark.parametrize(("quorum", "expected"), [(3, "quorum"), (4, None), (1, "quorum")])
def test_quorum_is_a_number_of_equal_answers(quorum: int, expected: str | None) -> None:
    answers = [["1", "1", "1", "2", None]]
    assert when_quorum(counted(answers[0]), answers, equal, quorum) == expected


def test_a_quorum_that_agrees_spares_the_others() -> None:
    debate = hold(Script(*[["#### 4"]] * 5), stop="quorum", quorum=0.6)
    assert (debate.stop_reason, len(debate.turns), debate.final_answer) == ("quorum", 3, "4")
    assert [(v.count, v.agents) for v in debate.votes] == [(3, 3)]


def test_the_others_speak_when_the_quorum_disagrees() -> None:
    first = ["#### 4", "#### 5", "#### 4", "#### 4", "#### 6"]
    debate = hold(Script(*[[text] for text in first]), stop="quorum", quorum=0.6)
    assert (debate.stop_reason, len(debate.turns), debate.final_answer) == ("quorum", 5, "4")
    assert [(v.count, v.agents) for v in debate.votes] == [(3, 5)]
    lines = [["#### 4"] * 2, ["#### 5"] * 2, ["#### 4"] * 2, ["#### 6", "#### 4"], ["#### 7"] * 2]
    debate = hold(Script(*lines), stop="quorum", quorum=0.6)
    assert (debate.stop_reason, len(debate.turns), debate.final_answer) == ("quorum", 10, "4")
    assert [(v.count, v.agents) for v in debate.votes] == [(2, 5), (3, 5)]


def test_a_stable_debate_stops_after_the_second_round() -> None:
    debate = hold(
        Script(["#### 4"] * 3, ["#### 5"] * 3, ["#### 4"] * 3), agents=3, rounds=3, stop="stable"
    )
    assert (debate.stop_reason, len(debate.turns), debate.final_answer) == ("stable", 6, "4")


# Aggregation


def test_a_weighted_vote_adds_confidences() -> None:
    lines = [["#### 5"], ["#### 5"], ["#### 4"]]
    # exp(-2) + exp(-2) = 0.27 for 5, exp(-1) = 0.37 for 4
    debate = hold(
        Script(*lines, logprobs_A=[-2, -2, -1]), agents=3, rounds=1, aggregate="weighted_vote"
    )
    assert (debate.final_answer, debate.votes[-1].answer) == ("4", "5")
    # 0.37 + 0.37 against 0.61
    debate = hold(
        Script(*lines, logprobs_A=[-1, -1, -0.5]), agents=3, rounds=1, aggregate="weighted_vote"
    )
    assert debate.final_answer == "5"


@pytest.mark.parametrize(
    ("aggregate", "closing", "role"),
    [("model", AGGREGATE, "aggregator"), ("judge", JUDGE, "judge")],
)
def test_a_model_reads_the_last_round_and_answers(aggregate: str, closing: str, role: str) -> None:
    script = Script(["x #### 5", "y #### 6"], ["z #### 5", "w #### 7"], ["So #### 4"])
    debate = hold(
        script,
        agents=2,
        rounds=2,
        stop="fixed",
        aggregate=aggregate,
        judge={"persona": "Be fair.", "temperature": 0.0},
    )
    assert script.asked[-1] == (
        2,
        [
            {"role": "system", "content": "Be fair."},
            user(
                "2 + 2?\n\nSolution 1:\ny #### 6\n\nSolution 2:\nw #### 7\n\n"
                f"{closing}\n{NUMERIC.instruction}"
            ),
        ],
    )
    assert (script.sampling[2].temperature, script.sampling[0].temperature) == (0.0, 0.7)
    assert (debate.final_answer, debate.final_verdict) == ("4", "correct")
    assert [(t.agent, t.role, t.round) for t in debate.turns][-1] == (2, role, 2)
    assert len(debate.votes) == 2


def test_nobody_answers() -> None:
    for aggregate in ("vote", "vote_all_rounds", "weighted_vote"):
        debate = hold(Script(["?"] * 2, ["?"] * 2), agents=2, aggregate=aggregate)
        assert (debate.final_answer, debate.final_verdict) == (None, "unparsable")
