"""Transcripts -> eval/summary.json: every figure of the evaluation, with the decision.

It reads what was stored and never generates. The dict it builds is plain JSON without NaN: what
was not measured is null.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, TypeVar

from pyarrow import dataset

from agentark_ray.debate_rows import light_rows
from agentark_ray.evaluate.decision import decide
from agentark_ray.evaluate.evidence import DEBATE, SINGLE, STUDENT, Evidence, Flips, Rival
from agentark_ray.evaluate.metrics import ArmResult, Latency, SelfCorrection
from agentark_ray.evaluate.paired import Pair, detectable, interval, mcnemar, pair_of
from agentark_ray.evaluate.rivals import CONTROL, NAMES, versus
from agentark_ray.evaluate.statistics import Mcnemar
from agentark_ray.evaluate.tally import Tally, tally
from agentark_ray.evaluate.transcripts import COLUMNS
from agentark_ray.evaluate_config import ARMS
from agentark_ray.gates_config import HELD_OUT, GatesConfig
from agentark_ray.run_folder import changes

T = TypeVar("T")


def summarize(
    transcripts: Sequence[dataset.Dataset],
    gates: GatesConfig,
    *,
    train_traces: int,
    seeds: Sequence[int],
    student: str = STUDENT,
    flips: Sequence[Flips] = (),
    suites: Mapping[str, Pair] | None = None,
    controls: Sequence[str] = (),
    gates_of_run: GatesConfig | None = None,
) -> dict[str, Any]:
    """The summary of one evaluation, from one dataset of transcripts or several.

    Args:
        transcripts: Parquet datasets with rows of the trace schema; together they hold every
            (arm, question) of kind main once.
        gates: thresholds.
        train_traces: finished debates on training questions.
        seeds: of the runs that made the transcripts.
        student: the arm of the student that the gates are asked of.
        flips: its answers to changed questions, by kind and strength.
        suites: further suites of questions -> the student and the single model on them.
        controls: the arms of students that learned from single answers.
        gates_of_run: thresholds of the run's config; it is warned of what differs.

    Raises:
        ValueError: an arm answers a question twice, or there are no main rows.
    """
    tallies = _ordered(tally(light_rows(transcripts, COLUMNS)))
    if not tallies:
        raise ValueError("transcripts: no rows of kind 'main', nothing to evaluate")
    arms = {name: found.result() for name, found in tallies.items()}
    tests = _against_debate(tallies)
    rivals = _rivals(tallies, student, controls)
    evidence = Evidence(
        arms=_as_student(arms, student),
        mcnemar=_as_student(tests, student),
        train_traces=train_traces,
        pair=_pair(tallies, student, DEBATE),
        tokens=_tokens(tallies, student),
        wall_ms=tallies[student].wall_ms if student in tallies else (),
        flips=flips,
        suites=_held_out(tallies, student) | dict(suites or {}),
        rivals=rivals,
        seed=seeds[0] if seeds else 0,
    )
    outcome = decide(gates, evidence)
    warnings = [*_other_gates(gates, gates_of_run or gates), *outcome.warnings]
    return {
        "arms": {name: _arm(arm, tallies[name].latency_failed) for name, arm in arms.items()},
        "gates": [asdict(gate) for gate in outcome.gates],
        "gate_settings": gates.model_dump(mode="json"),
        "confidence": gates.confidence,
        "decide_by": gates.decide_by.value,
        "decision": outcome.decision.value,
        "student": student,
        "reasons": [*outcome.reasons, *warnings],
        "next_steps": list(outcome.next_steps),
        "warnings": warnings,
        "mcnemar": {name: asdict(test) for name, test in tests.items()},
        "against_debate": _differences(tallies, gates.confidence),
        "against_rivals": {
            one.arm: {"name": one.name, **asdict(versus(one, gates.confidence))} for one in rivals
        },
        "rounds": _rounds(tallies),
        "questions": len(set().union(*(found.answers for found in tallies.values()))),
        "train_traces": train_traces,
        "seeds": list(seeds),
    }


def _ordered(tallies: Mapping[str, Tally]) -> dict[str, Tally]:
    """Arms with main rows, those of EvaluateConfig.arms first."""
    known = [name for name in ARMS if name in tallies]
    names = known + sorted(tallies.keys() - set(ARMS))
    return {name: tallies[name] for name in names if tallies[name].answers}


def _as_student(figures: Mapping[str, T], arm: str) -> dict[str, T]:
    """The figures with those of `arm` as the student's; the student that was it is left out."""
    others = {name: found for name, found in figures.items() if name not in (arm, STUDENT)}
    return {**others, STUDENT: figures[arm]} if arm in figures else others


def _against_debate(tallies: Mapping[str, Tally]) -> dict[str, Mcnemar]:
    if DEBATE not in tallies:
        return {}
    debate = tallies[DEBATE]
    return {
        name: mcnemar(found.shares(), debate.shares(), samples=max(found.samples, debate.samples))
        for name, found in tallies.items()
        if name != DEBATE
    }


def _common(tallies: Mapping[str, Tally], first: str, second: str) -> list[str]:
    """Ids of the questions that both arms were asked, in an order that does not change."""
    if first not in tallies or second not in tallies:
        return []
    return sorted(tallies[first].answers.keys() & tallies[second].answers.keys())


def _pair(tallies: Mapping[str, Tally], first: str, second: str) -> Pair | None:
    both = _common(tallies, first, second)
    if not both:
        return None
    arms = tallies[first], tallies[second]
    shares = [[of[q] for q in both] for of in (arm.shares() for arm in arms)]
    return pair_of(*shares, samples=max(arm.samples for arm in arms))


def _tokens(tallies: Mapping[str, Tally], student: str) -> tuple[list[float], list[float]] | None:
    both = _common(tallies, student, DEBATE)
    if not both:
        return None
    arms = tallies[student], tallies[DEBATE]
    first, second = ([arm.tokens[q] / arm.samples for q in both] for arm in arms)
    return first, second


def _held_out(tallies: Mapping[str, Tally], student: str) -> dict[str, Pair]:
    found = _pair(tallies, student, SINGLE)
    return {HELD_OUT: found} if found else {}


def _rivals(tallies: Mapping[str, Tally], student: str, controls: Sequence[str]) -> list[Rival]:
    """The control first, then single answers and their vote."""
    named = {arm: f"{CONTROL} ({arm})" for arm in controls if arm != student} | NAMES
    pairs = ((arm, name, _pair(tallies, student, arm)) for arm, name in named.items())
    return [Rival(arm=arm, name=name, pair=pair) for arm, name, pair in pairs if pair]


def _other_gates(gates: GatesConfig, of_run: GatesConfig) -> list[str]:
    """A warning if these are not the gates of the run's config."""
    found = changes(of_run.model_dump(mode="json"), gates.model_dump(mode="json"))
    if not found:
        return []
    told = "; ".join(f"`gates.{one}`" for one in found)
    return [f"Decided by other gates than the run's config has (config -> used): {told}."]


def _differences(tallies: Mapping[str, Tally], confidence: float) -> dict[str, dict[str, Any]]:
    """Every arm's accuracy less the debate's, and the least difference that would be seen."""
    found = {}
    for name in tallies:
        pair = _pair(tallies, name, DEBATE)
        if name == DEBATE or pair is None:
            continue
        low, high = interval(pair, "difference", confidence)
        found[name] = {
            "difference": pair.first - pair.second,
            "low": low,
            "high": high,
            "confidence": confidence,
            "detectable": detectable(pair, confidence),
        }
    return found


def _rounds(tallies: Mapping[str, Tally]) -> list[dict[str, Any]]:
    if DEBATE not in tallies:
        return []
    debate = tallies[DEBATE]
    return [
        asdict(result) for result in debate.rounds.results(len(debate.answers) * debate.samples)
    ]


def _arm(arm: ArmResult, latency_failed: int) -> dict[str, Any]:
    return {
        "accuracy": arm.accuracy,
        "ci_low": arm.ci_low,
        "ci_high": arm.ci_high,
        "n": arm.n,
        "questions": arm.questions,
        "correct": arm.correct,
        "failed": arm.failed,
        "unparsable": arm.unparsable,
        "output_tokens_per_query": arm.output_tokens_per_query,
        "prompt_tokens_per_query": arm.prompt_tokens_per_query,
        "cached_tokens_per_query": arm.cached_tokens_per_query,
        "latency_ms": {**_latency(arm.latency), "failed": latency_failed},
        "self_correction": _correction(arm.self_correction),
    }


def _latency(found: Latency | None) -> dict[str, Any]:
    return asdict(found) if found else {"p50": None, "p95": None, "p99": None, "n": 0}


def _correction(found: SelfCorrection | None) -> dict[str, Any] | None:
    """Rates under the plain names; the counts they come from beside them."""
    if found is None:
        return None
    return {
        "fixed": found.fixed_rate,
        "broken": found.broken_rate,
        "fixed_count": found.fixed,
        "wrong_before": found.wrong_before,
        "broken_count": found.broken,
        "right_before": found.right_before,
    }
