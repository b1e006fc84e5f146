"""How solvers come from their first verdict to their last: one definition for all who count."""

import pytest

from agentark_ray.debate_rows import AgentPath, PathClass, agent_paths, path_class, second_looks
from agentark_ray.evaluate.metrics import SelfCorrection
from agentark_ray.evaluate.tally import self_correction
from tests.unit.transcripts import row, turn

KEPT, FIXED, BROKEN, WRONG, OPEN = PathClass


@pytest.mark.parametrize(
    ("first", "last", "wanted"),
    [
        ("correct", "correct", KEPT),
        ("incorrect", "correct", FIXED),
        ("unparsable", "correct", FIXED),
        ("correct", "incorrect", BROKEN),
        ("correct", "unparsable", BROKEN),
        ("incorrect", "unparsable", WRONG),
        ("timeout", "correct", OPEN),
        ("correct", "timeout", OPEN),
        ("timeout", "timeout", OPEN),
        (None, "correct", OPEN),
        (None, None, OPEN),
    ],
)
def test_every_pair_of_verdicts_has_a_class(
    first: str | None, last: str | None, wanted: PathClass
) -> None:
    assert path_class(first, last) is wanted


def test_paths_by_agent_whatever_the_order_of_turns() -> None:
    # agent 0: r w r; agent 1: w w r; agent 2: u w w
    trace = row("debate", "q", "rwu", "www", "rrw")
    trace["turns"].reverse()
    assert agent_paths(trace) == [
        AgentPath(agent=0, path=KEPT, turns=3),
        AgentPath(agent=1, path=FIXED, turns=3),
        AgentPath(agent=2, path=WRONG, turns=3),
    ]


def test_who_spoke_once_has_a_path_but_no_second_look() -> None:
    trace = row("debate", "q", "rw")
    assert [(found.path, found.turns) for found in agent_paths(trace)] == [(KEPT, 1), (WRONG, 1)]
    assert second_looks(trace) == []


def test_judges_and_verifiers_have_no_path() -> None:
    trace = row("debate", "q", "w", "r")
    trace["turns"] += [
        turn(agent, round_, "correct") | {"role": role}
        for agent, role in ((1, "judge"), (2, "verifier"), (3, "aggregator"))
        for round_ in (0, 1)
    ]
    assert agent_paths(trace) == [AgentPath(agent=0, path=FIXED, turns=2)]


def test_a_debate_without_turns_has_no_paths() -> None:
    assert agent_paths({"turns": None}) == agent_paths({"turns": []}) == []


def test_undecided_looks_are_in_no_rate() -> None:
    counts = {KEPT: 5, FIXED: 3, BROKEN: 1, WRONG: 2, OPEN: 7}
    wanted = SelfCorrection(wrong_before=5, fixed=3, right_before=6, broken=1)
    assert self_correction(counts) == wanted
    assert self_correction({OPEN: 7}) is None
