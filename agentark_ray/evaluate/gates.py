"""What each gate measures. Pure: evidence in, gates out.

All gates must pass for a student to be adopted, so a student that misses any threshold is adopted
in at most 1 - confidence of the evaluations, without a correction for the number of gates (Berger
1982). The same holds for the kinds of changed questions in one gate. That gate fails if any kind
does, so there the level is shared among them (Bonferroni).
"""

from agentark_ray.evaluate.evidence import DEBATE, STUDENT, Evidence, Flips
from agentark_ray.evaluate.gate import Gate, Measured, count, judged, unmeasured
from agentark_ray.evaluate.metrics import ArmResult, ratio
from agentark_ray.evaluate.paired import Pair, bootstrap, bounds, questions_needed
from agentark_ray.evaluate.statistics import (
    mean_size,
    quantile_bounds,
    share_bounds,
    share_size,
)
from agentark_ray.gates_config import DecideBy, GatesConfig

REGRESSION = "no_regression:"  # before the suite's name
LATENCIES = {"p95_ms": 0.95, "p99_ms": 0.99}


def check_gates(config: GatesConfig, evidence: Evidence) -> tuple[Gate, ...]:
    """Every gate that has a threshold."""
    found = (
        _accuracy(config, evidence),
        _tokens(config, evidence),
        *(_latency(name, config, evidence) for name in LATENCIES),
        _adversarial(config, evidence),
        _traces(config, evidence),
        *(_regression(suite, config, evidence) for suite in config.no_regression),
    )
    gates = (judged(one, config) if isinstance(one, Measured) else one for one in found)
    return tuple(gate for gate in gates if gate is not None)


def _accuracy(config: GatesConfig, evidence: Evidence) -> Measured | Gate | None:
    name, threshold, arms = "accuracy_ratio", config.accuracy_ratio, evidence.arms
    if threshold is None:
        return None
    if missing := _missing(evidence):
        return unmeasured(name, threshold, missing)
    value = accuracy_ratio(evidence)
    if value is None:
        return unmeasured(
            name,
            threshold,
            f"The debate is right on none of {count(arms[DEBATE].questions, 'question')}, so there"
            " is nothing to compare the student's accuracy with.",
        )
    assert evidence.pair is not None
    low, high = bounds(evidence.pair, "ratio", config.confidence)
    return Measured(
        name=name,
        value=value,
        worse=low,
        better=high,
        threshold=threshold,
        least=True,
        needed=questions_needed(evidence.pair, "ratio", threshold, config.confidence),
        had=int(evidence.pair.n),
        told=f"The student is right on {share(arms[STUDENT])}, the debate on"
        f" {share(arms[DEBATE])}: a ratio of {value:.3f}, at least {threshold:g} was asked.",
    )


def accuracy_ratio(evidence: Evidence) -> float | None:
    """Student accuracy over debate accuracy on common questions; None if there is none."""
    if evidence.pair is None:
        return None
    pair = evidence.pair
    # Of the counts, so that 64 % against 80 % is 0.8 and not a bit less.
    return ratio(pair.both + pair.only_first, pair.both + pair.only_second)


def hybrid_ratio(config: GatesConfig, evidence: Evidence) -> float | None:
    """The accuracy ratio that `hybrid_accuracy_ratio` is compared with."""
    value = accuracy_ratio(evidence)
    if value is None or evidence.pair is None or config.decide_by is DecideBy.POINT:
        return value
    return bounds(evidence.pair, "ratio", config.confidence)[0]


def _tokens(config: GatesConfig, evidence: Evidence) -> Measured | Gate | None:
    name, threshold = "token_ratio", config.token_ratio
    if threshold is None:
        return None
    if missing := _missing(evidence):
        return unmeasured(name, threshold, missing)
    assert evidence.tokens is not None
    student, debate = evidence.tokens
    if not sum(debate):
        return unmeasured(name, threshold, "The debate wrote no output tokens.")
    n = len(student)
    low, high = bootstrap(student, debate, "ratio", config.confidence, evidence.seed)
    beyond = [s - threshold * d for s, d in zip(student, debate, strict=True)]
    mean = sum(beyond) / n
    spread = sum((one - mean) ** 2 for one in beyond) / n
    value = sum(student) / sum(debate)
    return Measured(
        name=name,
        value=value,
        worse=high,
        better=low,
        threshold=threshold,
        least=False,
        needed=mean_size(mean, spread, config.confidence),
        had=n,
        told=f"The student writes {sum(student) / n:,.1f} output tokens a query, the debate"
        f" {sum(debate) / n:,.1f}: a ratio of {value:.3f}, at most {threshold:g} was asked.",
    )


def _latency(name: str, config: GatesConfig, evidence: Evidence) -> Measured | Gate | None:
    threshold = getattr(config, name)
    if threshold is None:
        return None
    short = name.removesuffix("_ms")
    found = evidence.arms[STUDENT].latency if STUDENT in evidence.arms else None
    if found is None:
        return unmeasured(name, threshold, f"The student's {short} latency was not measured.")
    ordered, value = sorted(evidence.wall_ms), getattr(found, short)
    low, high = quantile_bounds(ordered, LATENCIES[name], config.confidence)
    faster = sum(ms < threshold for ms in ordered) / len(ordered)
    return Measured(
        name=name,
        value=value,
        worse=high,
        better=low,
        threshold=threshold,
        least=False,
        strict=True,
        needed=share_size(faster, LATENCIES[name], config.confidence),
        had=len(ordered),
        unit="queries",
        form="{:,.1f} ms",
        told=f"The student's {short} latency is {value:,.1f} ms over {count(found.n, 'query')},"
        f" less than {threshold:g} ms was asked.",
    )


def _adversarial(config: GatesConfig, evidence: Evidence) -> Measured | Gate | None:
    name, threshold = "adversarial_failure", config.adversarial_failure
    if threshold is None:
        return None
    cells = [cell for cell in evidence.flips if cell.right]
    if not cells:
        return unmeasured(
            name,
            threshold,
            "Answers to changed questions were not measured (evaluate.robustness.questions).",
        )
    # The student must withstand every kind: the one with the worst bound speaks for all. That one
    # of them is not withstood is more easily said by chance, the more kinds there are.
    each = 1 - (1 - config.confidence) / len(cells)
    worst = max(cells, key=lambda cell: _flip_bounds(cell, config.confidence)[1])
    low = max(_flip_bounds(cell, each)[0] for cell in cells)
    value = worst.flipped / worst.right
    return Measured(
        name=name,
        value=value,
        worse=_flip_bounds(worst, config.confidence)[1],
        better=low,
        threshold=threshold,
        least=False,
        strict=True,
        needed=share_size(value, threshold, config.confidence),
        had=worst.right,
        unit="right answers",
        form="{:.1%}",
        told=f"Of {worst.right:,} right answers {worst.flipped:,} are wrong when the question is"
        f" changed by {worst.kind} of strength {worst.strength:g}, the worst of"
        f" {count(len(cells), 'change')}: {value:.1%}, less than {threshold:.3g} was asked.",
    )


def _flip_bounds(cell: Flips, confidence: float) -> tuple[float, float]:
    return share_bounds(cell.flipped, cell.right, confidence)


def _regression(suite: str, config: GatesConfig, evidence: Evidence) -> Measured | Gate | None:
    name, threshold = f"{REGRESSION}{suite}", -config.regression_margin
    pair: Pair | None = evidence.suites.get(suite)
    if pair is None:
        there = ", ".join(evidence.suites) or "none"
        return unmeasured(name, threshold, f"The suite {suite} was not measured (there: {there}).")
    value = float(pair.first - pair.second)
    low, high = bounds(pair, "difference", config.confidence)
    return Measured(
        name=name,
        value=value,
        worse=low,
        better=high,
        threshold=threshold,
        least=True,
        needed=questions_needed(pair, "difference", threshold, config.confidence),
        had=int(pair.n),
        form="{:+.1%}",
        told=f"On the suite {suite} ({count(int(pair.n), 'question')}) the student is right on"
        f" {pair.first:.1%}, the single model on {pair.second:.1%}: a difference of {value:+.1%},"
        f" at least {threshold:+.1%} was asked.",
    )


def _traces(config: GatesConfig, evidence: Evidence) -> Measured | None:
    if config.min_traces is None:
        return None
    traces = evidence.train_traces
    return Measured(
        name="min_traces",
        value=traces,
        worse=traces,
        better=traces,
        threshold=config.min_traces,
        least=True,
        told=f"{count(traces, 'training debate')} finished,"
        f" at least {config.min_traces:,} were asked.",
    )


def _missing(evidence: Evidence) -> str | None:
    missing = [name for name in (STUDENT, DEBATE) if name not in evidence.arms]
    if missing:
        return f"There are no transcripts of the {' and of the '.join(missing)}."
    return None if evidence.pair else "Student and debate have no question in common."


def share(arm: ArmResult) -> str:
    """An accuracy in words."""
    told = f"{arm.accuracy:.1%} of {count(arm.questions, 'question')}"
    return told if arm.n == arm.questions else f"{told} ({arm.n:,} answers)"
