"""The gate errs as seldom as it says: simulated students of known accuracy.

benchmarks/gates.py does the same with more settings and evaluations.
"""

import numpy as np
import pytest

from benchmarks.gates import CONFIG, cells, clustered, decided, setting

LEVEL = 1 - CONFIG.confidence
TIMES = 50_000  # evaluations; a rate of 5 % is then known to 0.2 points


def test_cells_have_the_accuracies_and_the_correlation_asked_for() -> None:
    both, first, second, neither = cells(0.6, 0.8, 0.5)
    assert (both + first, both + second) == pytest.approx((0.6, 0.8))
    assert both + first + second + neither == pytest.approx(1)
    # 0.48 + 0.5 * sqrt(0.24 * 0.16)
    assert both == pytest.approx(0.48 + 0.5 * 0.0384**0.5)
    assert cells(0.9, 0.9, 1.0) == pytest.approx((0.9, 0, 0, 0.1))


@pytest.mark.parametrize("n", [200, 1_000])
@pytest.mark.parametrize(("debate", "correlation"), [(0.5, 0.0), (0.7, 0.4), (0.9, 0.4)])
def test_a_student_at_the_threshold_seldom_passes(
    n: int, debate: float, correlation: float
) -> None:
    found = setting(n, debate, correlation, np.random.default_rng(n), TIMES)
    assert found["false_adopt"] <= LEVEL
    assert found["false_fail"] <= LEVEL
    assert found["false_adopt_worse"] < found["false_adopt"]
    assert found["coverage"] == pytest.approx(CONFIG.confidence, abs=0.015)
    assert found["regression_passes"] <= LEVEL
    assert found["regression_coverage"] == pytest.approx(CONFIG.confidence, abs=0.015)


def test_several_answers_to_a_question_are_no_several_questions() -> None:
    found = clustered(200, 0.5, np.random.default_rng(3), 2_000)
    assert found["false_adopt"] <= LEVEL
    assert found["coverage"] == pytest.approx(CONFIG.confidence, abs=0.025)


def test_the_decision_is_as_the_scores_say() -> None:
    found = decided(200, 0.8, 0.0, np.random.default_rng(4), 100)
    assert found["as_scored"] == 1
    assert 0 < found["adopt"] <= LEVEL + 0.04
    assert found["adopt"] + found["hybridize"] + found["continue"] == pytest.approx(1)
