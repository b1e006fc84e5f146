"""Does a gate err as seldom as it says? Many evaluations of students with known accuracy.

    python -m benchmarks.gates

For every number of questions, accuracy of the debate and correlation between student and debate:

- `false_adopt`: the student's true accuracy is the threshold times the debate's, the least that
  may pass, so every pass is as wrong as it can be: the share that passes, at most 1 - confidence.
- `false_fail`: the same student; the share that fails, at most 1 - confidence.
- `false_adopt_worse`: the same for a student that is three points of ratio worse.
- `coverage`: the share of the evaluations whose two-sided interval of the ratio holds the true one.
- `regression_passes`, `regression_coverage`: the same for the difference to the single model.

`clustered` has four answers to a question, with questions of different difficulty. All rates come
from the scores behind the bounds, many evaluations at once; `decided` sends 1,000 evaluations each
of students one and three points below the threshold through `decide` itself, and counts how many
are decided as the scores say: all. (Of a student just at the threshold, 1,000 evaluations alone
show its rate of 4 to 5 % with an error of 0.7 points.)
"""

import math
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np

from agentark_ray.evaluate.decision import Decision, decide
from agentark_ray.evaluate.evidence import DEBATE, STUDENT, Evidence
from agentark_ray.evaluate.metrics import ArmResult
from agentark_ray.evaluate.paired import (
    HALF,
    SCORES,
    Measure,
    Pair,
    bounds,
    interval,
    ratio_score,
)
from agentark_ray.evaluate.statistics import wilson, z_of
from agentark_ray.gates_config import GatesConfig
from benchmarks.common import finish, say

QUESTIONS = (200, 500, 1000)
ACCURACIES = (0.5, 0.7, 0.9, 0.95)  # of the debate
CORRELATIONS = (0.0, 0.4, 0.8)
EVALUATIONS = 400_000  # of a setting: a rate of 5 % is known to 0.07 points
CHECKED = 1_000  # of them, whose bounds are found
CLUSTERED = 10_000
DECIDED = 1_000
SAMPLES = 4
WORSE = 0.03  # of ratio
GAPS = (0.01, WORSE)
CELLS = ("both", "only_first", "only_second")
CONFIG = GatesConfig(
    token_ratio=None, p95_ms=None, p99_ms=None, adversarial_failure=None, min_traces=None
)
THRESHOLD, MARGIN = CONFIG.accuracy_ratio or 1.0, CONFIG.regression_margin


def cells(student: float, debate: float, correlation: float) -> tuple[float, ...]:
    """Shares right in both, the student only, the debate only, none; as correlated as can be."""
    both = student * debate + correlation * math.sqrt(
        student * (1 - student) * debate * (1 - debate)
    )
    both = min(max(both, student + debate - 1, 0.0), student, debate)
    return both, student - both, debate - both, 1 - student - debate + both


def drawn(shares: tuple[float, ...], n: int, times: int, rng: np.random.Generator) -> Pair:
    """`times` evaluations of n questions."""
    both, only_first, only_second, _ = rng.multinomial(n, np.clip(shares, 0, 1), times).T
    return Pair(n=n, both=both, only_first=only_first, only_second=only_second)


def errors(pair: Pair, measure: Measure, true: float, of_bounds: int) -> dict[str, float]:
    """How often the gate's bounds and the interval miss the true ratio or difference.

    A bound is past a value if the score of the value is past its quantile; that this is so is
    checked by finding the bounds of the first `of_bounds` evaluations.
    """
    z, wide = z_of(CONFIG.confidence), z_of((1 + CONFIG.confidence) / 2)
    score = SCORES[measure]
    passes, fails = score(pair, true, HALF) >= z, score(pair, true, -HALF) <= -z
    covered = np.abs(score(pair, true)) <= wide
    if of_bounds:
        few = replace(pair, **{name: getattr(pair, name)[:of_bounds] for name in CELLS})
        low, high = bounds(few, measure, CONFIG.confidence)
        inner = interval(few, measure, CONFIG.confidence)
        assert np.array_equal(low >= true, passes[:of_bounds])
        assert np.array_equal(high <= true, fails[:of_bounds])
        assert np.array_equal((inner[0] <= true) & (inner[1] >= true), covered[:of_bounds])
    return {
        "false_adopt": float(passes.mean()),
        "false_fail": float(fails.mean()),
        "coverage": float(covered.mean()),
    }


def setting(
    n: int, debate: float, correlation: float, rng: np.random.Generator, times: int = EVALUATIONS
) -> dict[str, Any]:
    """All rates of one setting."""
    at = drawn(cells(THRESHOLD * debate, debate, correlation), n, times, rng)
    worse = drawn(cells((THRESHOLD - WORSE) * debate, debate, correlation), n, times, rng)
    single = drawn(cells(debate - MARGIN, debate, correlation), n, times, rng)
    regression = errors(single, "difference", -MARGIN, CHECKED)
    passes = ratio_score(worse, THRESHOLD, HALF) >= z_of(CONFIG.confidence)
    return {
        "questions": n,
        "debate": debate,
        "correlation": correlation,
        **errors(at, "ratio", THRESHOLD, CHECKED),
        "false_adopt_worse": float(passes.mean()),
        "regression_passes": regression["false_adopt"],
        "regression_coverage": regression["coverage"],
    }


def clustered(
    n: int, shared: float, rng: np.random.Generator, times: int = CLUSTERED
) -> dict[str, Any]:
    """Several answers a question, half of the questions hard for the debate and half easy.

    `shared` of the questions are as hard for the student, the others are hard or easy for it
    whatever they are for the debate.
    """
    shape = (times, n)
    difficulty = rng.beta(1.2, 0.6, shape)
    own = np.where(rng.random(shape) < shared, difficulty, rng.beta(1.2, 0.6, shape))
    s = rng.binomial(SAMPLES, THRESHOLD * own) / SAMPLES
    d = rng.binomial(SAMPLES, difficulty) / SAMPLES
    pair = Pair(
        n=n,
        both=(s * d).sum(1),
        only_first=(s * (1 - d)).sum(1),
        only_second=((1 - s) * d).sum(1),
        var_first=s.var(1),
        var_second=d.var(1),
        covariance=(s * d).mean(1) - s.mean(1) * d.mean(1),
        samples=SAMPLES,
    )
    return {"questions": n, "shared": shared, **errors(pair, "ratio", THRESHOLD, 0)}


def decided(
    n: int, debate: float, gap: float, rng: np.random.Generator, times: int = DECIDED
) -> dict[str, Any]:
    """Evaluations of a student `gap` of ratio below the threshold, each through the whole decision.

    `as_scored` is the share of them that is decided as the scores say.
    """
    pairs = drawn(cells((THRESHOLD - gap) * debate, debate, 0.4), n, times, rng)
    told = [decide(CONFIG, _evidence(n, *map(int, one))).decision for one in _rows(pairs)]
    passes = ratio_score(pairs, THRESHOLD, HALF) >= z_of(CONFIG.confidence)
    same = [(one is Decision.ADOPT) == by_score for one, by_score in zip(told, passes, strict=True)]
    return {
        "questions": n,
        "debate": debate,
        "gap": gap,
        "as_scored": sum(same) / times,
        **{d.value: told.count(d) / times for d in Decision},
    }


def _rows(pairs: Pair) -> Iterator[tuple[Any, ...]]:
    return zip(pairs.both, pairs.only_first, pairs.only_second, strict=True)


def _evidence(n: int, both: int, only_first: int, only_second: int) -> Evidence:
    pair = Pair(n=n, both=both, only_first=only_first, only_second=only_second)
    arms = {STUDENT: _arm(both + only_first, n), DEBATE: _arm(both + only_second, n)}
    return Evidence(arms=arms, mcnemar={}, train_traces=0, pair=pair)


def _arm(correct: int, n: int) -> ArmResult:
    low, high = wilson(correct, n)
    return ArmResult(
        n=n,
        questions=n,
        correct=correct,
        failed=0,
        unparsable=0,
        ci_low=low,
        ci_high=high,
        output_tokens_per_query=0.0,
        prompt_tokens_per_query=0.0,
        cached_tokens_per_query=0.0,
        latency=None,
        self_correction=None,
    )


def main() -> None:
    """Run all settings; ratios are measured over promised, at most 1."""
    rng, started = np.random.default_rng(1), time.perf_counter()
    settings = []
    for n, debate, correlation in product(QUESTIONS, ACCURACIES, CORRELATIONS):
        settings.append(setting(n, debate, correlation, rng))
        say(" ".join(f"{key}={value:g}" for key, value in settings[-1].items()))
    groups = [clustered(n, shared, rng) for n in (200, 500) for shared in (0.0, 0.5, 1.0)]
    whole = [decided(n, 0.8, gap, rng) for n in (200, 1000) for gap in GAPS]
    for row in (*groups, *whole):
        say(" ".join(f"{key}={value:g}" for key, value in row.items()))
    level = 1 - CONFIG.confidence
    missed = {
        key: max(abs(row[key] - CONFIG.confidence) for row in settings)
        for key in ("coverage", "regression_coverage")
    }
    finish(
        "gates",
        {
            "false_adopt_over_level": max(row["false_adopt"] for row in settings) / level,
            "regression_passes_over_level": max(row["regression_passes"] for row in settings)
            / level,
            "false_adopt_over_level_clustered": max(row["false_adopt"] for row in groups) / level,
            "false_adopt_over_level_decided": max(row["adopt"] for row in whole) / level,
            "decided_as_scored": min(row["as_scored"] for row in whole),
            **{f"{key}_off_over_1.5_points": found / 0.015 for key, found in missed.items()},
        },
        {
            "confidence": CONFIG.confidence,
            "threshold": THRESHOLD,
            "evaluations": EVALUATIONS,
            "seconds": round(time.perf_counter() - started, 1),
            "settings": settings,
            "clustered": groups,
            "decided": whole,
        },
    )


if __name__ == "__main__":
    main()
