"""Judged and verified debates, agents that differ, and what tells protocols apart."""

import asyncio
from typing import Any

import pytest

from agentark_ray.config import parse_config
from agentark_ray.debate.protocol import arm_protocol, generation_hash
from agentark_ray.debate.protocols import judged, verify
from agentark_ray.debate.run import run_debate
from agentark_ray.grading.numeric import NUMERIC
from agentark_ray.types import Sampling, Turn, Vote
from tests.unit.script import FIRST, QUESTION, Script, assistant, hold, user

# Judged


def test_the_judge_ends_the_debate_for_a_side() -> None:
    script = Script(
        ["It is #### 5", "Still #### 5"],
        ["No, #### 4", "Surely #### 4"],
        ["Hm. Verdict: undecided", "**Verdict**: Negative."],
    )
    debate = hold(script, protocol="judged")
    assert (debate.final_answer, debate.stop_reason) == ("4", "judged")
    assert [t.role for t in debate.turns] == ["affirmative", "negative", "judge"] * 2
    assert [(v.round, v.answer, v.count, v.agents) for v in debate.votes] == [
        (0, "5", 1, 2),
        (1, "5", 1, 2),
    ]
    negative = f"{FIRST}\n\n{judged.DOUBT.format('It is #### 5')}"
    assert [messages for _, messages in script.asked] == [
        [user(FIRST)],
        [user(negative)],
        [
            user(
                judged.DECIDE.format(
                    "2 + 2?", "Affirmative:\nIt is #### 5\n\nNegative:\nNo, #### 4"
                )
            )
        ],
        [user(FIRST), assistant("It is #### 5"), user(judged.DEFEND.format("No, #### 4"))],
        [user(negative), assistant("No, #### 4"), user(judged.DEFEND.format("Still #### 5"))],
        [
            user(
                judged.DECIDE.format(
                    "2 + 2?",
                    "Affirmative:\nIt is #### 5\n\nNegative:\nNo, #### 4\n\n"
                    "Affirmative:\nStill #### 5\n\nNegative:\nSurely #### 4",
                )
            )
        ],
    ]


def test_an_undecided_judge_leaves_the_vote_of_both_sides() -> None:
    debate = hold(Script(["#### 4"], ["#### 4"], ["I cannot say"]), protocol="judged", rounds=1)
    assert (debate.final_answer, debate.stop_reason) == ("4", "rounds")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Verdict: affirmative", "affirmative"),
        ("verdict: affirmative ... no. Verdict: NEGATIVE", "negative"),
        ("the negative side has a point", "undecided"),
        ("", "undecided"),
    ],
)
def test_the_last_verdict_counts(text: str, expected: str) -> None:
    assert judged.decision(text) == expected


# Verify


def test_rejected_solutions_are_revised_with_the_reviews() -> None:
    script = Script(
        ["It is #### 5", "Then #### 4"],
        ["Bad. Verdict: incorrect", "Verdict: correct"],
        ["Verdict: correct", "Verdict: correct"],
    )
    debate = hold(script, protocol="verify", verifiers=2, rounds=3)
    assert (debate.final_answer, debate.stop_reason, debate.final_verdict) == (
        "4",
        "verified",
        "correct",
    )
    assert [(v.answer, v.count, v.agents) for v in debate.votes] == [("5", 1, 2), ("4", 2, 2)]
    assert [t.role for t in debate.turns] == ["solver", "verifier", "verifier"] * 2
    assert script.asked[1][1] == [user(verify.REVIEW.format("2 + 2?", "It is #### 5"))]
    assert script.asked[3][1] == [
        user(FIRST),
        assistant("It is #### 5"),
        user(verify.REVISE.format("Bad. Verdict: incorrect\n\nVerdict: correct")),
    ]


def test_the_counts_of_verifiers_are_told_when_they_are_known() -> None:
    told: list[Turn | Vote] = []
    script = Script(["#### 5"], ["Verdict: correct"], ["no"], ["Verdict: correct"])
    config = parse_config({"debate": {"protocol": "verify"}}, [], "t")
    asyncio.run(run_debate(QUESTION, arm_protocol(config, "debate"), script, NUMERIC, told.append))
    vote = Vote(round=0, answer="5", count=2, agents=3, verdict="incorrect")
    assert [type(one) for one in told] == [Turn, Turn, Turn, Turn, Vote] and told[-1] == vote


def test_the_last_solution_counts_when_nobody_accepts() -> None:
    debate = hold(Script(["#### 5", "#### 6"], ["no"] * 2), protocol="verify", verifiers=1)
    assert (debate.final_answer, debate.stop_reason) == ("6", "rounds")
    assert not verify.accepts("This is correct")


# Agents that differ


def test_agents_take_turns_in_the_team_and_keep_their_own_sampling() -> None:
    script = Script(*[["#### 4"] for _ in range(3)])
    team = [
        {"persona": "Be brief.", "temperature": 0.2, "max_tokens": 9},
        {"model": "other/model", "top_p": 0.5},
    ]
    hold(script, agents=3, rounds=1, team=team, temperature=0.9, max_tokens=50)
    assert [m[0]["content"] for _, m in script.asked] == ["Be brief.", FIRST, "Be brief."]
    assert script.sampling[0] == Sampling(temperature=0.2, top_p=1.0, max_tokens=9)
    assert script.sampling[1] == Sampling(temperature=0.9, top_p=0.5, max_tokens=50)
    config = parse_config({"debate": {"agents": 3, "team": team}}, [], "t")
    models = [
        speaker.model and speaker.model.name for speaker in arm_protocol(config, "debate").speakers
    ]
    assert models == [None, "other/model", None]


def test_baselines_have_no_team() -> None:
    config = parse_config({"debate": {"team": [{"persona": "P", "model": "a/b"}]}}, [], "t")
    for arm in ("single", "student", "single_check", "self_consistency"):
        speakers = arm_protocol(config, arm).speakers
        assert {(s.model, s.persona) for s in speakers} == {(None, "")}, arm


@pytest.mark.parametrize(
    ("protocol", "samples", "completions"),
    [
        ({"agents": 4, "rounds": 3}, 4, 12),
        ({"agents": 4, "rounds": 3, "aggregate": "model"}, 4, 13),
        ({"protocol": "judged", "rounds": 2}, 3, 6),
        ({"protocol": "verify", "verifiers": 2, "rounds": 2}, 3, 6),
        ({"protocol": "self_consistency", "agents": 7}, 7, 7),
        ({"protocol": "single"}, 1, 1),
    ],
)
def test_sizes(protocol: dict[str, Any], samples: int, completions: int) -> None:
    team = parse_config({"debate": protocol}, [], "t").debate
    assert (team.samples, team.completions) == (samples, completions)


def test_the_generation_hash_tells_protocols_apart() -> None:
    variants: list[dict[str, Any]] = [
        {},
        {"protocol": "judged"},
        {"protocol": "verify"},
        {"protocol": "self_consistency"},
        {"protocol": "single"},
        {"topology": "ring"},
        {"stop": "stable"},
        {"aggregate": "judge"},
        {"team": [{"persona": "P"}]},
        {"judge": {"persona": "J"}, "aggregate": "judge"},
    ]
    hashes = {
        generation_hash(parse_config({"debate": v}, [], "t"), "m", "debate") for v in variants
    }
    assert len(hashes) == len(variants)
