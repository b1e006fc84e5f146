"""Whether the student may replace the debate: gates, a decision, and the reasons in words.

Pure: figures in, sentences out. A gate that was not measured fails.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from agentark_ray.config import GatesConfig
from agentark_ray.evaluate.metrics import ArmResult, Mcnemar, ratio

DEBATE, SINGLE, STUDENT = "debate", "single", "student"
CANNOT_SOLVE = 0.05  # accuracy below which an arm counts as unable to solve the task
SIGNIFICANT = 0.05

Arms = Mapping[str, ArmResult]


class Decision(StrEnum):
    """What to do with the student."""

    ADOPT = "adopt"
    HYBRIDIZE = "hybridize"
    CONTINUE = "continue"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """One condition on the student."""

    name: str  # a field of GatesConfig
    value: float | None  # None if it was not measured
    threshold: float
    passed: bool
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The decision with everything that speaks for it and against it."""

    gates: tuple[Gate, ...]
    decision: Decision
    reasons: tuple[str, ...]
    warnings: tuple[str, ...]  # what a reader must know before trusting the decision


def decide(
    config: GatesConfig, arms: Arms, mcnemar: Mapping[str, Mcnemar], train_traces: int
) -> Outcome:
    """Adopt if all gates pass; hybridize if only the accuracy is good enough; else continue.

    `mcnemar` compares arms with the debate (arm first, debate second); `train_traces` counts
    finished debates on training questions. Without any gate, or if no arm can solve the task,
    nothing is proved: continue.
    """
    gates = check_gates(config, arms, train_traces)
    value = accuracy_ratio(arms)
    accurate = any(gate.name == "accuracy_ratio" and gate.passed for gate in gates)
    if not gates or unsolved(arms):
        decision = Decision.CONTINUE
    elif all(gate.passed for gate in gates):
        decision = Decision.ADOPT
    elif accurate or (value is not None and value >= config.hybrid_accuracy_ratio):
        decision = Decision.HYBRIDIZE
    else:
        decision = Decision.CONTINUE
    first = _nothing(gates, arms) or _why(decision, gates, value, config.hybrid_accuracy_ratio)
    told = tuple(gate.reason for gate in sorted(gates, key=lambda gate: gate.passed))
    return Outcome(
        gates=gates,
        decision=decision,
        reasons=(first, *told, *_significance(mcnemar)),
        warnings=tuple(warnings(arms, mcnemar)),
    )


def check_gates(config: GatesConfig, arms: Arms, train_traces: int) -> tuple[Gate, ...]:
    """Every gate that has a threshold."""
    found = (
        _accuracy(config.accuracy_ratio, arms),
        _tokens(config.token_ratio, arms),
        _latency("p95_ms", config.p95_ms, arms),
        _latency("p99_ms", config.p99_ms, arms),
        _traces(config.min_traces, train_traces),
    )
    return tuple(gate for gate in found if gate is not None)


def accuracy_ratio(arms: Arms) -> float | None:
    """Student accuracy over debate accuracy; None if an arm is missing or the debate's is 0."""
    if STUDENT not in arms or DEBATE not in arms:
        return None
    student, debate = arms[STUDENT], arms[DEBATE]
    # From the counts, so that 64 % against 80 % is 0.8 and not a bit less.
    return ratio(student.correct * debate.n, student.n * debate.correct)


def _accuracy(threshold: float | None, arms: Arms) -> Gate | None:
    if threshold is None:
        return None
    value = accuracy_ratio(arms)
    if value is None:
        return _unmeasured(
            "accuracy_ratio",
            threshold,
            _missing(arms)
            or f"The debate is right on none of {arms[DEBATE].n} questions, so there"
            " is nothing to compare the student's accuracy with.",
        )
    student, debate = arms[STUDENT], arms[DEBATE]
    return Gate(
        name="accuracy_ratio",
        value=value,
        threshold=threshold,
        passed=value >= threshold,
        reason=f"The student is right on {_share(student)}, the debate on {_share(debate)}: a ratio"
        f" of {value:.3f}, at least {threshold:g} was asked.",
    )


def _tokens(threshold: float | None, arms: Arms) -> Gate | None:
    if threshold is None:
        return None
    if missing := _missing(arms):
        return _unmeasured("token_ratio", threshold, missing)
    student = arms[STUDENT].output_tokens_per_query
    debate = arms[DEBATE].output_tokens_per_query
    value = ratio(student, debate)
    if value is None:
        return _unmeasured("token_ratio", threshold, "The debate wrote no output tokens.")
    return Gate(
        name="token_ratio",
        value=value,
        threshold=threshold,
        passed=value <= threshold,
        reason=f"The student writes {student:,.1f} output tokens a query, the debate {debate:,.1f}:"
        f" a ratio of {value:.3f}, at most {threshold:g} was asked.",
    )


def _latency(name: str, threshold: float | None, arms: Arms) -> Gate | None:
    if threshold is None:
        return None
    short = name.removesuffix("_ms")
    found = arms[STUDENT].latency if STUDENT in arms else None
    if found is None:
        return _unmeasured(name, threshold, f"The student's {short} latency was not measured.")
    value = getattr(found, short)
    return Gate(
        name=name,
        value=value,
        threshold=threshold,
        passed=value < threshold,
        reason=f"The student's {short} latency is {value:,.1f} ms over {_count(found.n, 'query')},"
        f" less than {threshold:g} ms was asked.",
    )


def _traces(threshold: int | None, train_traces: int) -> Gate | None:
    if threshold is None:
        return None
    return Gate(
        name="min_traces",
        value=train_traces,
        threshold=threshold,
        passed=train_traces >= threshold,
        reason=f"{_count(train_traces, 'training debate')} finished,"
        f" at least {threshold:,} were asked.",
    )


def _unmeasured(name: str, threshold: float, reason: str) -> Gate:
    return Gate(name=name, value=None, threshold=threshold, passed=False, reason=reason)


def unsolved(arms: Arms) -> bool:
    """Whether no arm reaches CANNOT_SOLVE: ratios of such accuracies say nothing."""
    return not any(arm.accuracy >= CANNOT_SOLVE for arm in arms.values())


def _nothing(gates: tuple[Gate, ...], arms: Arms) -> str | None:
    if not gates:
        return "No gate has a threshold, so nothing was proved about the student."
    if unsolved(arms):
        return f"No arm is right on {CANNOT_SOLVE:.0%} of the questions, so nothing was proved."
    return None


def _why(decision: Decision, gates: tuple[Gate, ...], value: float | None, hybrid: float) -> str:
    failed = [gate.name for gate in gates if not gate.passed]
    if decision is Decision.ADOPT:
        passed = f"all {len(gates)} gates pass" if len(gates) > 1 else "the only gate passes"
        return f"The student may replace the debate: {passed}."
    not_passed = f"{_count(len(failed), 'gate')} of {len(gates)} not passed ({', '.join(failed)})"
    if decision is Decision.HYBRIDIZE:
        assert value is not None, "a hybrid needs an accuracy ratio"
        return (
            "The student may answer first and leave doubtful questions to the debate: it keeps"
            f" {value:.1%} of its accuracy; {not_passed}."
        )
    if value is None:
        return f"The student may not replace the debate: {not_passed}."
    return (
        f"The student may not replace the debate: {not_passed}, and an accuracy ratio of"
        f" {value:.3f} is below {hybrid:g}, the least for a hybrid."
    )


def _significance(mcnemar: Mapping[str, Mcnemar]) -> list[str]:
    if STUDENT not in mcnemar:
        return []
    test = mcnemar[STUDENT]
    word = "is" if test.p < SIGNIFICANT else "is not"
    return [
        f"On {_count(test.pairs, 'common question')} only the student is right on"
        f" {test.only_first:,} and only the debate on {test.only_second:,}: a difference that"
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
        f" {_share(arms[best])}. Ratios of accuracies near zero say nothing."
    ]


def _no_gain(arms: Arms, mcnemar: Mapping[str, Mcnemar]) -> list[str]:
    if SINGLE not in arms or DEBATE not in arms or SINGLE not in mcnemar:
        return []
    single, debate, p = arms[SINGLE], arms[DEBATE], mcnemar[SINGLE].p
    if debate.accuracy > single.accuracy and p < SIGNIFICANT:
        return []
    return [
        "The debate does not beat a single answer: right on"
        f" {_share(debate)} against {_share(single)} (McNemar {p_text(p)})."
        " There may be nothing to distil."
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


def _missing(arms: Arms) -> str | None:
    missing = [name for name in (STUDENT, DEBATE) if name not in arms]
    return f"There are no transcripts of the {' and of the '.join(missing)}." if missing else None


def _share(arm: ArmResult) -> str:
    return f"{arm.accuracy:.1%} of {_count(arm.n, 'question')}"


def _count(n: int, noun: str) -> str:
    plural = noun.removesuffix("y") + "ies" if noun.endswith("y") else noun + "s"
    return f"{n:,} {noun if n == 1 else plural}"
