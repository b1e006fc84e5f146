"""Gates and the decision, on arms whose ratios are round numbers."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentark_ray.config import GatesConfig
from agentark_ray.evaluate.gates import Arms, Decision, Gate, Outcome, check_gates, decide
from agentark_ray.evaluate.metrics import ArmResult, Latency, Mcnemar, mcnemar_p, wilson

GATES = GatesConfig()
BETTER = Mcnemar(pairs=100, only_first=2, only_second=30, p=mcnemar_p(2, 30))
EQUAL = Mcnemar(pairs=100, only_first=10, only_second=11, p=mcnemar_p(10, 11))


def arm(correct: int, n: int = 100, tokens: float = 100.0, **changes: Any) -> ArmResult:
    low, high = wilson(correct, n)
    values: dict[str, Any] = {
        "n": n,
        "correct": correct,
        "failed": 0,
        "unparsable": 0,
        "ci_low": low,
        "ci_high": high,
        "output_tokens_per_query": tokens,
        "prompt_tokens_per_query": 50.0,
        "latency": Latency(p50=20.0, p95=60.0, p99=90.0, n=50),
        "self_correction": None,
    }
    return ArmResult(**(values | changes))


def team(student: ArmResult, debate: ArmResult | None = None) -> dict[str, ArmResult]:
    return {"single": arm(50), "debate": debate or arm(80, tokens=1000.0), "student": student}


def judge(arms: Arms, gates: GatesConfig = GATES, traces: int = 1000, **tests: Mcnemar) -> Outcome:
    return decide(gates, arms, {"single": BETTER, "student": EQUAL} | tests, traces)


def gate(name: str, arms: Arms, traces: int = 1000) -> Gate:
    return next(g for g in check_gates(GATES, arms, traces) if g.name == name)


def test_all_gates_pass_and_the_student_is_adopted() -> None:
    outcome = judge(team(arm(76)))
    assert {g.name: (g.value, g.threshold, g.passed) for g in outcome.gates} == {
        "accuracy_ratio": (0.95, 0.95, True),
        "token_ratio": (0.1, 0.2, True),
        "p95_ms": (60.0, 80.0, True),
        "p99_ms": (90.0, 200.0, True),
        "min_traces": (1000, 1000, True),
    }
    assert outcome.decision is Decision.ADOPT
    assert outcome.reasons[0] == "The student may replace the debate: all 5 gates pass."
    assert outcome.warnings == ()


@pytest.mark.parametrize(
    ("name", "arms", "traces"),
    [
        ("accuracy_ratio", team(arm(75)), 1000),
        ("token_ratio", team(arm(80, tokens=201.0)), 1000),
        ("p95_ms", team(arm(80, latency=Latency(p50=1, p95=80.0, p99=90, n=9))), 1000),
        ("p99_ms", team(arm(80, latency=Latency(p50=1, p95=10.0, p99=200.0, n=9))), 1000),
        ("min_traces", team(arm(80)), 999),
    ],
)
def test_one_gate_just_missed_makes_a_hybrid(name: str, arms: Arms, traces: int) -> None:
    outcome = judge(arms, traces=traces)
    assert [g.name for g in outcome.gates if not g.passed] == [name]
    assert outcome.decision is Decision.HYBRIDIZE
    assert name in outcome.reasons[0]


def test_a_reason_carries_the_figures() -> None:
    assert gate("accuracy_ratio", team(arm(76))).reason == (
        "The student is right on 76.0% of 100 questions, the debate on 80.0% of 100 questions:"
        " a ratio of 0.950, at least 0.95 was asked."
    )
    assert (
        "100.0 output tokens a query, the debate 1,000.0"
        in gate("token_ratio", team(arm(1))).reason
    )
    assert "60.0 ms over 50 queries" in gate("p95_ms", team(arm(1))).reason


@pytest.mark.parametrize(
    ("correct", "decision"),
    [(64, Decision.HYBRIDIZE), (63, Decision.CONTINUE), (0, Decision.CONTINUE)],
)
def test_below_the_accuracy_gate_the_hybrid_ratio_decides(correct: int, decision: str) -> None:
    assert judge(team(arm(correct))).decision == decision


def test_the_first_reason_of_continue_names_both_ratios() -> None:
    told = judge(team(arm(40))).reasons[0]
    assert "0.500" in told
    assert "0.8, the least for a hybrid" in told


def test_latency_that_was_not_measured_fails_with_that_reason() -> None:
    outcome = judge(team(arm(80, latency=None)))
    found = {g.name: g for g in outcome.gates}
    assert (found["p95_ms"].value, found["p95_ms"].passed) == (None, False)
    assert found["p99_ms"].reason == "The student's p99 latency was not measured."
    assert outcome.decision is Decision.HYBRIDIZE


def test_a_debate_that_is_never_right_fails_the_accuracy_gate_in_plain_words() -> None:
    found = gate("accuracy_ratio", team(arm(10), debate=arm(0)))
    assert (found.value, found.passed) == (None, False)
    assert "right on none of 100 questions" in found.reason
    assert judge(team(arm(10), debate=arm(0))).decision is Decision.CONTINUE


def test_a_debate_without_output_tokens_fails_the_token_gate() -> None:
    found = gate("token_ratio", team(arm(10), debate=arm(80, tokens=0.0)))
    assert (found.value, found.passed) == (None, False)


@pytest.mark.parametrize(("missing", "named"), [("student", "student"), ("debate", "debate")])
def test_a_missing_arm_fails_its_gates(missing: str, named: str) -> None:
    arms = {name: found for name, found in team(arm(80)).items() if name != missing}
    assert gate("accuracy_ratio", arms).reason == f"There are no transcripts of the {named}."
    assert judge(arms).decision is Decision.CONTINUE


def test_a_null_threshold_leaves_the_gate_out() -> None:
    config = GatesConfig(p95_ms=None, p99_ms=None)
    outcome = judge(team(arm(80, latency=None)), config)
    assert [g.name for g in outcome.gates] == ["accuracy_ratio", "token_ratio", "min_traces"]
    assert outcome.decision is Decision.ADOPT


def test_without_any_gate_nothing_is_proved() -> None:
    config = GatesConfig(
        accuracy_ratio=None, token_ratio=None, p95_ms=None, p99_ms=None, min_traces=None
    )
    outcome = judge(team(arm(80)), config)
    assert outcome.decision is Decision.CONTINUE
    assert "nothing was proved" in outcome.reasons[0]


def test_near_zero_accuracies_are_called_that_and_never_adopted() -> None:
    arms = {"single": arm(1), "debate": arm(4, tokens=1000.0), "student": arm(4)}
    outcome = judge(arms)
    assert all(g.passed for g in outcome.gates)
    assert outcome.decision is Decision.CONTINUE
    assert outcome.reasons[0] == "No arm is right on 5% of the questions, so nothing was proved."
    assert outcome.warnings[0].startswith("The model cannot solve this task: the best arm, debate,")


def test_five_percent_is_enough_to_be_judged() -> None:
    arms = {"single": arm(1), "debate": arm(5, tokens=1000.0), "student": arm(5)}
    assert judge(arms).decision is Decision.ADOPT


@pytest.mark.parametrize(
    ("debate", "test", "warned"),
    [(60, BETTER, False), (60, EQUAL, True), (40, BETTER, True), (50, EQUAL, True)],
)
def test_a_debate_that_does_not_beat_single_is_warned_of(
    debate: int, test: Mcnemar, warned: bool
) -> None:
    outcome = judge(team(arm(80), debate=arm(debate, tokens=1000.0)), single=test)
    assert any("does not beat a single answer" in text for text in outcome.warnings) is warned


def test_failures_and_uneven_arms_are_warned_of() -> None:
    arms = team(arm(70, n=90, failed=2))
    failures, uneven = judge(arms).warnings
    assert failures == "Failed queries count as wrong answers: student 2 of 90."
    assert uneven.endswith("single 100, debate 100, student 90.")


def test_the_difference_to_the_debate_is_told_with_its_p() -> None:
    assert (
        judge(team(arm(80)), student=BETTER)
        .reasons[-1]
        .endswith(
            "only the student is right on 2 and only the debate on 30:"
            " a difference that is significant (McNemar p < 0.001)."
        )
    )
    assert "is not significant (McNemar p = 1.000)" in judge(team(arm(80))).reasons[-1]


@given(st.integers(0, 100), st.integers(0, 100), st.integers(0, 2000))
def test_a_better_student_never_gets_a_worse_decision(a: int, b: int, traces: int) -> None:
    order = (Decision.CONTINUE, Decision.HYBRIDIZE, Decision.ADOPT)
    worse, better = (judge(team(arm(c)), traces=traces).decision for c in sorted((a, b)))
    assert order.index(worse) <= order.index(better)
