"""The decision, its reasons, warnings and next steps, on arms whose ratios are round numbers."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentark_ray.evaluate.decision import EXIT_CODES, Decision
from agentark_ray.evaluate.evidence import Evidence
from agentark_ray.evaluate.metrics import ArmResult
from agentark_ray.evaluate.statistics import Mcnemar
from agentark_ray.gates_config import DecideBy, GatesConfig
from tests.unit.evidence import (
    BETTER,
    EQUAL,
    FIRM,
    SURE,
    arm,
    evidence,
    judge,
    timed,
)


def test_all_gates_pass_and_the_student_is_adopted() -> None:
    outcome = judge(evidence(arm(76)))
    assert {g.name: (g.value, g.threshold, g.passed) for g in outcome.gates} == {
        "accuracy_ratio": (0.95, 0.95, True),
        "token_ratio": (0.1, 0.2, True),
        "p95_ms": (60.0, 80.0, True),
        "p99_ms": (90.0, 200.0, True),
        "adversarial_failure": (0.0, 0.01, True),
        "min_traces": (1000, 1000, True),
    }
    assert outcome.decision is Decision.ADOPT
    assert outcome.reasons[0] == "The student may replace the debate: all 6 gates pass."
    assert outcome.warnings == ()


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("accuracy_ratio", evidence(arm(75))),
        ("token_ratio", evidence(arm(80, tokens=201.0))),
        ("p95_ms", timed(80.0, 80.0)),
        ("p99_ms", timed(*[1.0] * 98, 200.0, 200.0)),
        ("adversarial_failure", evidence(arm(80), flips=[replace(FIRM[0], flipped=5)])),
        ("min_traces", evidence(arm(80), train_traces=999)),
    ],
)
def test_one_gate_just_missed_makes_a_hybrid(name: str, found: Evidence) -> None:
    outcome = judge(found)
    assert [g.name for g in outcome.gates if not g.passed] == [name]
    assert outcome.decision is Decision.HYBRIDIZE
    assert name in outcome.reasons[0]


@pytest.mark.parametrize(
    ("correct", "decision"),
    [(64, Decision.HYBRIDIZE), (63, Decision.CONTINUE), (0, Decision.CONTINUE)],
)
def test_below_the_accuracy_gate_the_hybrid_ratio_decides(correct: int, decision: str) -> None:
    assert judge(evidence(arm(correct))).decision == decision


def test_a_hybrid_needs_a_bound_too() -> None:
    assert judge(evidence(arm(64)), SURE).decision is Decision.CONTINUE
    assert "of which 0.7" in judge(evidence(arm(64)), SURE).reasons[0]
    assert judge(evidence(arm(72)), SURE).decision is Decision.HYBRIDIZE


def test_the_first_reason_of_continue_names_both_ratios() -> None:
    told = judge(evidence(arm(40))).reasons[0]
    assert "0.500" in told
    assert "0.8, the least for a hybrid" in told


def test_without_any_gate_nothing_is_proved() -> None:
    config = GatesConfig(
        accuracy_ratio=None,
        token_ratio=None,
        p95_ms=None,
        p99_ms=None,
        adversarial_failure=None,
        min_traces=None,
    )
    outcome = judge(evidence(arm(80)), config)
    assert outcome.decision is Decision.CONTINUE
    assert "nothing was proved" in outcome.reasons[0]


def of_arms(arms: Mapping[str, ArmResult]) -> Evidence:
    return replace(evidence(arms["student"], arms["debate"]), arms=arms)


def test_near_zero_accuracies_are_called_that_and_never_adopted() -> None:
    arms = {"single": arm(1), "debate": arm(4, tokens=1000.0), "student": arm(4)}
    outcome = judge(of_arms(arms))
    assert all(g.passed for g in outcome.gates)
    assert outcome.decision is Decision.CONTINUE
    assert outcome.reasons[0] == "No arm is right on 5% of the questions, so nothing was proved."
    assert outcome.warnings[0].startswith("The model cannot solve this task: the best arm, debate,")


def test_five_percent_is_enough_to_be_judged() -> None:
    arms = {"single": arm(1), "debate": arm(5, tokens=1000.0), "student": arm(5)}
    assert judge(of_arms(arms)).decision is Decision.ADOPT


@pytest.mark.parametrize(
    ("debate", "test", "warned"),
    [(60, BETTER, False), (60, EQUAL, True), (40, BETTER, True), (50, EQUAL, True)],
)
def test_a_debate_that_does_not_beat_single_is_warned_of(
    debate: int, test: Mcnemar, warned: bool
) -> None:
    found = evidence(arm(80), arm(debate, tokens=1000.0), mcnemar={"single": test})
    warnings = judge(found).warnings
    assert any("does not beat a single answer (" in text for text in warnings) is warned


def test_a_debate_that_does_not_beat_a_vote_is_warned_of() -> None:
    arms = {
        "single": arm(50),
        "single_greedy": arm(58),
        "self_consistency": arm(62),
        "debate": arm(60, tokens=1000.0),
        "student": arm(60),
    }
    tests = {"single": BETTER, "single_greedy": EQUAL, "self_consistency": BETTER}
    found = replace(evidence(arm(60), arm(60, tokens=1000.0), mcnemar=tests), arms=arms)
    (told,) = judge(found).warnings
    assert told.startswith("The debate, right on 60.0% of 100 questions, does not")
    assert "beat a single greedy answer (58.0% of 100 questions, McNemar p" in told
    assert "nor a vote of single answers that costs as much (62.0%" in told
    assert "a single answer" not in told


def test_failures_and_uneven_arms_are_warned_of() -> None:
    failures, uneven = judge(evidence(arm(70, n=90, failed=2))).warnings
    assert failures == "Failed queries count as wrong answers: student 2 of 90."
    assert uneven.endswith("single 100, debate 100, student 90.")


def test_the_difference_to_the_debate_is_told_with_its_p() -> None:
    better = evidence(arm(80), mcnemar={"single": BETTER, "student": BETTER})
    assert (
        judge(better)
        .reasons[-1]
        .endswith(
            "only the student is right on 2 and only the debate on 30:"
            " a difference that is significant (McNemar p < 0.001)."
        )
    )
    assert "is not significant (McNemar p = 1.000)" in judge(evidence(arm(80))).reasons[-1]


def test_every_decision_begins_its_steps_and_has_its_exit_code() -> None:
    assert {d.value: code for d, code in EXIT_CODES.items()} == {
        "adopt": 0,
        "hybridize": 3,
        "continue": 4,
    }
    assert judge(evidence(arm(76))).next_steps[0].startswith("Send the student a shadow share")
    hybrid = judge(evidence(arm(70))).next_steps
    assert hybrid[0].startswith("Serve the hybrid")
    assert hybrid[1].startswith("For accuracy")
    assert judge(evidence(arm(10))).next_steps[0] == "Keep serving the debate."


@pytest.mark.parametrize(
    "config",
    [GatesConfig(decide_by=by, token_ratio=None) for by in DecideBy],
)
@settings(max_examples=30)
@given(st.integers(0, 100), st.integers(0, 100), st.integers(0, 2000))
def test_a_better_student_never_gets_a_worse_decision(
    config: GatesConfig, a: int, b: int, traces: int
) -> None:
    order = (Decision.CONTINUE, Decision.HYBRIDIZE, Decision.ADOPT)
    worse, better = (
        judge(evidence(arm(c), train_traces=traces), config).decision for c in sorted((a, b))
    )
    assert order.index(worse) <= order.index(better)
