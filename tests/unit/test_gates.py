"""Gates and the decision, on arms whose ratios are round numbers."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentark_ray.config import ConfigError, parse_config
from agentark_ray.evaluate.decision import EXIT_CODES, Decision, Outcome, decide
from agentark_ray.evaluate.evidence import Evidence, Flips
from agentark_ray.evaluate.gate import Gate, Status
from agentark_ray.evaluate.gates import check_gates
from agentark_ray.evaluate.metrics import ArmResult, latency
from agentark_ray.evaluate.paired import Pair
from agentark_ray.evaluate.statistics import Mcnemar, mcnemar_p, wilson
from agentark_ray.gates_config import DecideBy, GatesConfig

GATES = GatesConfig(decide_by=DecideBy.POINT)
SURE = GatesConfig()
BETTER = Mcnemar(pairs=100, only_first=2, only_second=30, p=mcnemar_p(2, 30))
EQUAL = Mcnemar(pairs=100, only_first=10, only_second=11, p=mcnemar_p(10, 11))
FAST = tuple([20.0] * 370 + [60.0] * 24 + [90.0] * 6)
FIRM = (Flips(kind="typos", strength=0.1, right=500, flipped=0),)


def arm(correct: int, n: int = 100, tokens: float = 100.0, **changes: Any) -> ArmResult:
    low, high = wilson(correct, n)
    values: dict[str, Any] = {
        "n": n,
        "questions": n,
        "correct": correct,
        "failed": 0,
        "unparsable": 0,
        "ci_low": low,
        "ci_high": high,
        "output_tokens_per_query": tokens,
        "prompt_tokens_per_query": 50.0,
        "cached_tokens_per_query": 0.0,
        "latency": latency(FAST),
        "self_correction": None,
    }
    return ArmResult(**(values | changes))


def nested(student: int, debate: int, n: int) -> Pair:
    """The worse arm is right only where the better one is."""
    both = min(student, debate)
    return Pair(n=n, both=both, only_first=student - both, only_second=debate - both)


def evidence(student: ArmResult, debate: ArmResult | None = None, **changes: Any) -> Evidence:
    debate = debate or arm(80, tokens=1000.0)
    n = min(student.n, debate.n)
    values: dict[str, Any] = {
        "arms": {"single": arm(50), "debate": debate, "student": student},
        "mcnemar": {"single": BETTER, "student": EQUAL},
        "train_traces": 1000,
        "pair": nested(student.correct, debate.correct, n),
        "tokens": (
            [student.output_tokens_per_query] * n,
            [debate.output_tokens_per_query] * n,
        ),
        "wall_ms": FAST if student.latency else (),
        "flips": FIRM,
    }
    return Evidence(**(values | changes))


def timed(*wall_ms: float) -> Evidence:
    return evidence(arm(80, latency=latency(wall_ms)), wall_ms=wall_ms)


def judge(found: Evidence, gates: GatesConfig = GATES) -> Outcome:
    return decide(gates, found)


def gate(name: str, found: Evidence, gates: GatesConfig = GATES) -> Gate:
    return next(g for g in check_gates(gates, found) if g.name == name)


def large(student: int, debate: int = 8_000, only: int = 300, **changes: Any) -> Evidence:
    """10,000 questions, `only` of them right in the student alone."""
    pair = Pair(n=10_000, both=student - only, only_first=only, only_second=debate - student + only)
    many = {"tokens": ([100.0, 110.0] * 5_000, [1000.0, 900.0] * 5_000), "pair": pair}
    return evidence(arm(student, 10_000), arm(debate, 10_000, 1000.0), **(many | changes))


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


def test_a_reason_carries_the_figures() -> None:
    assert gate("accuracy_ratio", evidence(arm(76))).reason == (
        "The student is right on 76.0% of 100 questions, the debate on 80.0% of 100 questions:"
        " a ratio of 0.950, at least 0.95 was asked."
    )
    told = gate("token_ratio", evidence(arm(1))).reason
    assert "100.0 output tokens a query, the debate 1,000.0" in told
    assert "60.0 ms over 400 queries" in gate("p95_ms", evidence(arm(1))).reason


def test_when_bounds_decide_all_gates_of_a_large_evaluation_pass() -> None:
    outcome = judge(large(7_900), SURE)
    assert {g.status for g in outcome.gates} == {Status.PASSED}
    assert outcome.decision is Decision.ADOPT
    found = {g.name: g for g in outcome.gates}
    # gap 7,900 - 0.95 * 8,000 = 300 of 10,000; its deviation near sqrt(0.95 * 700) = 26
    assert 0.95 < (found["accuracy_ratio"].bound or 0) < 7_900 / 8_000
    assert 105 / 950 < (found["token_ratio"].bound or 0) < 0.112
    # of 400 values the 388th and the 400th smallest: binomial quantiles of 0.95
    assert (found["p95_ms"].bound, found["p99_ms"].bound) == (60.0, 90.0)
    assert found["adversarial_failure"].bound == pytest.approx(1 - 0.05 ** (1 / 500))
    assert found["min_traces"].bound == 1000
    assert all(g.more is None and g.unit is None for g in outcome.gates)


def test_a_ratio_that_is_only_probably_enough_is_open_and_says_what_decides() -> None:
    found = gate("accuracy_ratio", evidence(arm(78)), SURE)
    assert (found.status, found.passed, found.unit) == (Status.OPEN, False, "questions")
    assert found.more == 430  # 530 in all: see test_paired.py
    assert "at least 0.9" in found.reason
    assert found.reason.endswith("open; about 430 more questions would decide.")
    outcome = judge(evidence(arm(78)), SURE)
    assert outcome.decision is Decision.HYBRIDIZE
    assert "accuracy_ratio open" in outcome.reasons[0]
    assert "hold out about 430 more questions" in outcome.next_steps[1]


def test_the_same_figures_decide_once_there_are_so_many_questions() -> None:
    pair = Pair(n=1_000, both=780, only_first=0, only_second=20)
    found = evidence(arm(780, 1_000), arm(800, 1_000, 1_000.0), pair=pair)
    assert gate("accuracy_ratio", found, SURE).status is Status.PASSED


def test_a_ratio_that_cannot_be_enough_fails() -> None:
    found = gate("accuracy_ratio", large(7_000), SURE)
    assert (found.status, found.more) == (Status.FAILED, None)
    assert "open" not in found.reason


def test_few_queries_leave_latency_open() -> None:
    found = timed(*[10.0] * 58)
    p95, p99 = gate("p95_ms", found, SURE), gate("p99_ms", found, SURE)
    assert (p95.status, p95.bound, p95.more, p95.unit) == (Status.OPEN, None, 1, "queries")
    assert (p99.status, p99.more) == (Status.OPEN, 299 - 58)
    assert "58 queries are too few for a bound" in p95.reason
    assert gate("p95_ms", timed(*[10.0] * 59), SURE).status is Status.PASSED


def test_slow_queries_fail_without_a_bound_from_above() -> None:
    assert gate("p99_ms", timed(*[900.0] * 20), SURE).status is Status.FAILED


def test_the_worst_change_decides_on_robustness() -> None:
    cells = [
        Flips(kind="typos", strength=0.1, right=5_000, flipped=0),
        Flips(kind="peer", strength=1, right=400, flipped=40),
        Flips(kind="options", strength=1, right=0, flipped=0),
    ]
    found = gate("adversarial_failure", evidence(arm(80), flips=cells), SURE)
    assert (found.value, found.status) == (0.1, Status.FAILED)
    assert "changed by peer of strength 1, the worst of 2 changes" in found.reason
    few = [Flips(kind="typos", strength=0.1, right=298, flipped=0)]
    found = gate("adversarial_failure", evidence(arm(80), flips=few), SURE)
    assert (found.status, found.more, found.unit) == (Status.OPEN, 1, "right answers")


def test_robustness_that_was_not_measured_fails() -> None:
    found = gate("adversarial_failure", evidence(arm(80), flips=()))
    assert (found.value, found.status) == (None, Status.FAILED)
    assert "evaluate.robustness.questions" in judge(evidence(arm(80), flips=())).next_steps[-1]


def test_a_named_suite_must_not_get_worse() -> None:
    config = GatesConfig(no_regression=("held_out", "ood"))
    suites = {"held_out": Pair(n=10_000, both=5_000, only_first=700, only_second=600)}
    found = {g.name: g for g in check_gates(config, evidence(arm(80), suites=suites))}
    held, ood = found["no_regression:held_out"], found["no_regression:ood"]
    assert (held.value, held.threshold, held.status) == (pytest.approx(0.01), -0.02, Status.PASSED)
    # 0.01 - 1.645 * sqrt(0.13) / 100 = 0.0041, and half a question
    assert held.bound == pytest.approx(0.0041, abs=2e-4)
    assert (ood.value, ood.status) == (None, Status.FAILED)
    assert ood.reason == "The suite ood was not measured (there: held_out)."
    worse = {"held_out": Pair(n=10_000, both=5_000, only_first=100, only_second=600)}
    outcome = decide(config, evidence(arm(80), suites=worse))
    assert {g.name: g for g in outcome.gates}["no_regression:held_out"].status is Status.FAILED
    assert any("Against regressions" in step for step in outcome.next_steps)


def test_suites_must_be_among_those_that_are_asked() -> None:
    told = "gates.no_regression=[held_out,hard]"
    with pytest.raises(ConfigError, match=r"\['hard'\] are not among the suites \['held_out'\]"):
        parse_config({}, [told], "t")
    ood = {"evaluate": {"ood": {"hard": {"task": "arithmetic"}}}}
    config = parse_config(ood, [told, "gates.decide_by=point"], "t")
    assert (config.gates.no_regression, config.gates.decide_by) == (("held_out", "hard"), "point")


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


def test_latency_that_was_not_measured_fails_with_that_reason() -> None:
    outcome = judge(evidence(arm(80, latency=None)))
    found = {g.name: g for g in outcome.gates}
    assert (found["p95_ms"].value, found["p95_ms"].passed) == (None, False)
    assert found["p99_ms"].reason == "The student's p99 latency was not measured."
    assert outcome.decision is Decision.HYBRIDIZE


@pytest.mark.parametrize("config", [GATES, SURE])
def test_a_debate_that_is_never_right_fails_the_accuracy_gate_in_plain_words(
    config: GatesConfig,
) -> None:
    found = evidence(arm(10), arm(0))
    accuracy = gate("accuracy_ratio", found, config)
    assert (accuracy.value, accuracy.passed) == (None, False)
    assert "right on none of 100 questions" in accuracy.reason
    assert judge(found, config).decision is Decision.CONTINUE


def test_a_debate_without_output_tokens_fails_the_token_gate() -> None:
    found = gate("token_ratio", evidence(arm(10), arm(80, tokens=0.0)))
    assert (found.value, found.passed) == (None, False)


@pytest.mark.parametrize(("missing", "named"), [("student", "student"), ("debate", "debate")])
def test_a_missing_arm_fails_its_gates(missing: str, named: str) -> None:
    whole = evidence(arm(80))
    arms = {name: found for name, found in whole.arms.items() if name != missing}
    found = replace(whole, arms=arms, pair=None, tokens=None)
    assert gate("accuracy_ratio", found).reason == f"There are no transcripts of the {named}."
    assert judge(found).decision is Decision.CONTINUE


def test_arms_without_a_common_question_are_not_compared() -> None:
    found = gate("token_ratio", replace(evidence(arm(80)), pair=None, tokens=None))
    assert found.reason == "Student and debate have no question in common."


def test_a_null_threshold_leaves_the_gate_out() -> None:
    config = GatesConfig(
        p95_ms=None, p99_ms=None, adversarial_failure=None, decide_by=DecideBy.POINT
    )
    outcome = judge(evidence(arm(80, latency=None)), config)
    assert [g.name for g in outcome.gates] == ["accuracy_ratio", "token_ratio", "min_traces"]
    assert outcome.decision is Decision.ADOPT


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
    assert any("does not beat a single answer" in text for text in warnings) is warned


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
