"""What to do with the student: adopt, hybridize or continue, with reasons and the next step.

Pure: evidence in, sentences out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from agentark_ray.evaluate.evidence import DEBATE, STUDENT, Arms, Evidence
from agentark_ray.evaluate.gate import Gate, Status, count
from agentark_ray.evaluate.gates import (
    REGRESSION,
    accuracy_ratio,
    check_gates,
    hybrid_ratio,
    share,
)
from agentark_ray.evaluate.rivals import versus
from agentark_ray.evaluate.statistics import Mcnemar
from agentark_ray.gates_config import GatesConfig

CANNOT_SOLVE = 0.05  # accuracy below which an arm counts as unable to solve the task
SIGNIFICANT = 0.05
RIVALS = {  # that cost less than the debate, or as much
    "single": "a single answer",
    "single_greedy": "a single greedy answer",
    "self_consistency": "a vote of single answers that costs as much",
}


class Decision(StrEnum):
    """What to do with the student."""

    ADOPT = "adopt"
    HYBRIDIZE = "hybridize"
    CONTINUE = "continue"


EXIT_CODES = {Decision.ADOPT: 0, Decision.HYBRIDIZE: 3, Decision.CONTINUE: 4}  # of --gate

FIRST_STEPS = {
    Decision.ADOPT: "Send the student a shadow share of the traffic, then a growing one, and watch"
    " it: `agentark retrain-check` says from monitoring data when it must be made anew.",
    Decision.HYBRIDIZE: "Serve the hybrid: the student answers, and the debate where its confidence"
    " is low.",
    Decision.CONTINUE: "Keep serving the debate.",
}
WAYS = {  # from a gate that failed
    "accuracy_ratio": "For accuracy, train another student of the same debates (`agentark distill"
    " RUN --strategy da`), or hold more debates (`tasks.train_questions`).",
    "token_ratio": "For fewer tokens, learn from the shortest right solutions"
    " (`distill.curation.max_words`).",
    "p95_ms": "For latency, distil into a smaller model or serve on faster hardware.",
    "p99_ms": "For latency, distil into a smaller model or serve on faster hardware.",
    "adversarial_failure": "For robustness, see which change of the questions flips most answers,"
    " and add such questions to the training questions.",
    "min_traces": "Hold more debates (`tasks.train_questions`).",
    REGRESSION: "Against regressions, add questions of these suites to the training questions.",
}
UNMEASURED = {
    "adversarial_failure": "Measure robustness: `evaluate.robustness.questions=N`.",
    "p95_ms": "Measure latency: `evaluate.latency_queries=N`.",
    "p99_ms": "Measure latency: `evaluate.latency_queries=N`.",
}
MORE = {  # for a gate that is open
    "questions": "hold out about {n:,} more questions (`tasks.eval_questions`)",
    "queries": "time about {n:,} more queries (`evaluate.latency_queries`)",
    "right answers": "change more questions, until {n:,} more right answers can flip"
    " (`evaluate.robustness.questions`)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The decision with everything that speaks for it and against it."""

    gates: tuple[Gate, ...]
    decision: Decision
    reasons: tuple[str, ...]
    next_steps: tuple[str, ...]  # the recommended one first
    warnings: tuple[str, ...]  # what a reader must know before trusting the decision


def decide(config: GatesConfig, evidence: Evidence) -> Outcome:
    """Adopt if all gates pass; hybridize if only the accuracy is good enough; else continue.

    An open gate has not passed. Without any gate, or if no arm can solve the task, nothing is
    proved: continue.
    """
    arms, mcnemar = evidence.arms, evidence.mcnemar
    gates = check_gates(config, evidence)
    value = hybrid_ratio(config, evidence)
    accurate = any(gate.name == "accuracy_ratio" and gate.passed for gate in gates)
    if not gates or unsolved(arms):
        decision = Decision.CONTINUE
    elif all(gate.passed for gate in gates):
        decision = Decision.ADOPT
    elif accurate or (value is not None and value >= config.hybrid_accuracy_ratio):
        decision = Decision.HYBRIDIZE
    else:
        decision = Decision.CONTINUE
    first = _nothing(gates, arms) or _why(decision, gates, config, evidence)
    told = tuple(gate.reason for gate in sorted(gates, key=lambda gate: gate.passed))
    rivals = tuple(versus(one, config.confidence).told for one in evidence.rivals)
    return Outcome(
        gates=gates,
        decision=decision,
        reasons=(first, *told, *_significance(mcnemar), *rivals),
        next_steps=next_steps(decision, gates),
        warnings=tuple(warnings(arms, mcnemar)),
    )


def next_steps(decision: Decision, gates: tuple[Gate, ...]) -> tuple[str, ...]:
    """What to do now, then what would move each gate that has not passed."""
    steps = [FIRST_STEPS[decision]]
    needed: dict[str, int] = {}
    for gate in gates:
        if gate.status is Status.OPEN and gate.more is not None and gate.unit is not None:
            needed[gate.unit] = max(needed.get(gate.unit, 0), gate.more)
    if needed:
        ways = " and ".join(MORE[unit].format(n=n) for unit, n in needed.items())
        steps.append(f"To decide what is open, {ways}.")
    for gate in gates:
        if gate.status is Status.FAILED:
            name = REGRESSION if gate.name.startswith(REGRESSION) else gate.name
            known = UNMEASURED if gate.value is None and name in UNMEASURED else WAYS
            steps.append(known[name])
    return tuple(dict.fromkeys(steps))


def unsolved(arms: Arms) -> bool:
    """Whether no arm reaches CANNOT_SOLVE: ratios of such accuracies say nothing."""
    return not any(arm.accuracy >= CANNOT_SOLVE for arm in arms.values())


def _nothing(gates: tuple[Gate, ...], arms: Arms) -> str | None:
    if not gates:
        return "No gate has a threshold, so nothing was proved about the student."
    if unsolved(arms):
        return f"No arm is right on {CANNOT_SOLVE:.0%} of the questions, so nothing was proved."
    return None


def _why(
    decision: Decision, gates: tuple[Gate, ...], config: GatesConfig, evidence: Evidence
) -> str:
    if decision is Decision.ADOPT:
        passed = f"all {len(gates)} gates pass" if len(gates) > 1 else "the only gate passes"
        return f"The student may replace the debate: {passed}."
    not_passed = f"{count(sum(not gate.passed for gate in gates), 'gate')} of {len(gates)} not"
    not_passed += f" passed ({', '.join(_named(gate) for gate in gates if not gate.passed)})"
    value, bound = accuracy_ratio(evidence), hybrid_ratio(config, evidence)
    if decision is Decision.HYBRIDIZE:
        assert value is not None, "a hybrid needs an accuracy ratio"
        return (
            "The student may answer first and leave doubtful questions to the debate: it keeps"
            f" {value:.1%} of its accuracy; {not_passed}."
        )
    if value is None or bound is None:
        return f"The student may not replace the debate: {not_passed}."
    certain = "" if bound == value else f", of which {bound:.3f} is certain,"
    return (
        f"The student may not replace the debate: {not_passed}, and an accuracy ratio of"
        f" {value:.3f}{certain} is below {config.hybrid_accuracy_ratio:g}, the least for a hybrid."
    )


def _named(gate: Gate) -> str:
    return f"{gate.name} open" if gate.status is Status.OPEN else gate.name


def _significance(mcnemar: Mapping[str, Mcnemar]) -> list[str]:
    if STUDENT not in mcnemar:
        return []
    test = mcnemar[STUDENT]
    word = "is" if test.p < SIGNIFICANT else "is not"
    return [
        f"On {count(test.pairs, 'common question')} only the student is right on"
        f" {test.only_first:,g} and only the debate on {test.only_second:,g}: a difference that"
        f" {word} significant (McNemar {p_text(test.p)})."
    ]


def warnings(arms: Arms, mcnemar: Mapping[str, Mcnemar]) -> list[str]:
    """What weakens the evidence, in sentences."""
    return [*_unsolved(arms), *_no_gain(arms, mcnemar), *_failures(arms), *_uneven(arms)]


def _unsolved(arms: Arms) -> list[str]:
    if not arms or not unsolved(arms):
        return []
    best = max(arms, key=lambda name: arms[name].accuracy)
    return [
        f"The model cannot solve this task: the best arm, {best}, is right on"
        f" {share(arms[best])}. Ratios of accuracies near zero say nothing."
    ]


def _no_gain(arms: Arms, mcnemar: Mapping[str, Mcnemar]) -> list[str]:
    if DEBATE not in arms:
        return []
    debate = arms[DEBATE]
    found = [
        f"{RIVALS[name]} ({share(arms[name])}, McNemar {p_text(mcnemar[name].p)})"
        for name in RIVALS
        if name in arms and name in mcnemar
        if debate.accuracy <= arms[name].accuracy or mcnemar[name].p >= SIGNIFICANT
    ]
    if not found:
        return []
    return [
        f"The debate, right on {share(debate)}, does not beat {', nor '.join(found)}."
        " There may be nothing to distil that one agent does not know."
    ]


def _failures(arms: Arms) -> list[str]:
    failed = {name: arm for name, arm in arms.items() if arm.failed}
    if not failed:
        return []
    told = ", ".join(f"{name} {arm.failed:,} of {arm.n:,}" for name, arm in failed.items())
    return [f"Failed queries count as wrong answers: {told}."]


def _uneven(arms: Arms) -> list[str]:
    if len({arm.n for arm in arms.values()}) < 2:
        return []
    told = ", ".join(f"{name} {arm.n:,}" for name, arm in arms.items())
    return [f"The arms answered different numbers of questions: {told}."]


def p_text(p: float) -> str:
    """A p value with its sign of relation."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
