"""Gates, on arms whose ratios are round numbers."""

from dataclasses import replace
from typing import Any

import pytest
from scipy import stats

from agentark_ray.config import ConfigError, parse_config
from agentark_ray.evaluate.decision import Decision, decide
from agentark_ray.evaluate.evidence import Evidence, Flips
from agentark_ray.evaluate.gate import Status
from agentark_ray.evaluate.gates import check_gates
from agentark_ray.evaluate.paired import Pair
from agentark_ray.gates_config import DecideBy, GatesConfig
from tests.unit.evidence import GATES, SURE, arm, evidence, gate, judge, timed


def large(student: int, debate: int = 8_000, only: int = 300, **changes: Any) -> Evidence:
    """10,000 questions, `only` of them right in the student alone."""
    pair = Pair(n=10_000, both=student - only, only_first=only, only_second=debate - student + only)
    many = {"tokens": ([100.0, 110.0] * 5_000, [1000.0, 900.0] * 5_000), "pair": pair}
    return evidence(arm(student, 10_000), arm(debate, 10_000, 1000.0), **(many | changes))


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


def flipping(kinds: int, flipped: int, right: int = 100) -> list[Flips]:
    """Kinds that flip nothing, but for one."""
    return [
        Flips(kind=f"kind{i}", strength=0.1, right=right, flipped=0 if i else flipped)
        for i in range(kinds)
    ]


def test_of_many_kinds_one_flips_more_by_chance() -> None:
    # 4 of 100 are at least 1.4 % with 95 % confidence, but only 0.8 % with 99 %
    alone, one_of_five = (
        gate("adversarial_failure", evidence(arm(80), flips=flipping(kinds, 4)), SURE)
        for kinds in (1, 5)
    )
    assert (alone.status, one_of_five.status) == (Status.FAILED, Status.OPEN)
    assert alone.bound == one_of_five.bound  # what passes needs no correction
    found = gate("adversarial_failure", evidence(arm(80), flips=flipping(5, 5)), SURE)
    assert found.status is Status.FAILED


@pytest.mark.parametrize("kinds", [1, 5, 10])
def test_a_student_at_the_threshold_of_every_kind_seldom_fails(kinds: int) -> None:
    failing = next(
        flipped
        for flipped in range(100)
        if gate(
            "adversarial_failure", evidence(arm(80), flips=flipping(kinds, flipped, 500)), SURE
        ).status
        is Status.FAILED
    )
    one_fails = float(stats.binom.sf(failing - 1, 500, SURE.adversarial_failure))
    assert 1 - (1 - one_fails) ** kinds <= 1 - SURE.confidence


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
