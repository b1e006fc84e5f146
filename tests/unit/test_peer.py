"""The probe of a wrong peer: what is said, and what becomes of it."""

import asyncio
from dataclasses import replace

from agentark_ray.config import parse_config
from agentark_ray.debate.layouts import PEER
from agentark_ray.debate.protocol import arm_protocol, generation_hash
from agentark_ray.debate.protocols.peer import Peer
from agentark_ray.debate.run import run_debate
from agentark_ray.grading.numeric import NUMERIC
from agentark_ray.tasks.wrong import wrong_answer
from agentark_ray.types import Debate, Question
from tests.unit.script import FIRST, QUESTION, Script, assistant, user

CONFIG = parse_config({"debate": {"temperature": 0.3}}, ["seed=5"], "test")


def held(script: Script, question: Question = QUESTION) -> Debate:
    protocol = arm_protocol(CONFIG, "my-student_peer")
    assert isinstance(protocol, Peer)
    return asyncio.run(run_debate(question, protocol, script, NUMERIC))


def test_a_peer_is_sure_of_a_wrong_answer() -> None:
    script = Script(["It is \\boxed{4}", "Then \\boxed{7}"])
    found = held(script)
    wrong = wrong_answer(QUESTION, "numeric", f"5\0{QUESTION.question_id}")
    assert wrong not in (None, "4")
    assert [messages for _, messages in script.asked] == [
        [user(FIRST)],
        [user(FIRST), assistant("It is \\boxed{4}"), user(PEER.format(wrong=wrong))],
    ]
    assert [turn.verdict for turn in found.turns] == ["correct", "incorrect"]
    assert [(vote.round, vote.answer) for vote in found.votes] == [(0, "4"), (1, "7")]
    assert (found.final_answer, found.final_verdict, found.status) == ("7", "incorrect", "ok")
    assert script.sampling[0].temperature == 0.3


def test_without_a_wrong_answer_there_is_one_turn() -> None:
    found = held(Script(["\\boxed{4}"]), replace(QUESTION, gold=None))
    assert (len(found.turns), found.final_answer, found.status) == (1, "4", "ok")


def test_the_probe_has_its_own_hash() -> None:
    arms = ("single", "single_check", "single_peer")
    assert len({generation_hash(CONFIG, "m", arm) for arm in arms}) == 3
    assert generation_hash(CONFIG, "m", "x_peer") == generation_hash(CONFIG, "m", "single_peer")
