"""Exact bounds of shares and quantiles, sizes and powers, by hand and by simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from agentark_ray.evaluate.statistics import (
    detectable_difference,
    mean_size,
    quantile_bounds,
    share_bounds,
    share_size,
)


def test_share_bounds_by_hand() -> None:
    # nothing of 299: (1 - p)^299 = 0.05; all of 10: p^10 = 0.05
    assert share_bounds(0, 299, 0.95) == pytest.approx((0.0, 1 - 0.05 ** (1 / 299)))
    assert share_bounds(10, 10, 0.95) == pytest.approx((0.05**0.1, 1.0))
    assert share_bounds(0, 0, 0.95) == (0.0, 1.0)


@given(st.integers(1, 200), st.integers(0, 200))
def test_share_bounds_are_where_the_binomial_tail_is_the_error(n: int, count: int) -> None:
    count = min(count, n)
    low, high = share_bounds(count, n, 0.95)
    if count:
        assert stats.binom.sf(count - 1, n, low) == pytest.approx(0.05)
    if count < n:
        assert stats.binom.cdf(count, n, high) == pytest.approx(0.05)


@pytest.mark.parametrize(("q", "least"), [(0.95, 59), (0.99, 299), (0.5, 5)])
def test_the_fewest_values_with_an_upper_bound(q: float, least: int) -> None:
    # All fall below the quantile with q^n, which must be at most 0.05.
    assert q**least <= 0.05 < q ** (least - 1)
    assert quantile_bounds(range(least), q, 0.95)[1] == least - 1
    assert quantile_bounds(range(least - 1), q, 0.95)[1] is None


@given(st.integers(1, 400), st.sampled_from([0.5, 0.95, 0.99]))
def test_quantile_bounds_are_the_tightest_that_are_sure(n: int, q: float) -> None:
    low, high = quantile_bounds(range(1, n + 1), q, 0.95)  # values are their ranks
    below = stats.binom(n, q)
    if high is not None:
        assert below.cdf(high - 1) >= 0.95 > below.cdf(high - 2)
    else:
        assert below.cdf(n - 1) < 0.95
    if low is not None:
        assert below.sf(low - 1) >= 0.95 > below.sf(low) - 1e-9
    else:
        assert below.sf(0) < 0.95 + 1e-9


def test_quantile_bounds_cover_whatever_the_distribution() -> None:
    drawn = np.sort(np.random.default_rng(1).pareto(1.5, (2_000, 300)), axis=1)
    true = stats.lomax.ppf(0.95, 1.5)
    found = [quantile_bounds(values, 0.95, 0.95) for values in drawn.tolist()]
    assert np.mean([(high or math.inf) >= true for _, high in found]) >= 0.94
    assert np.mean([(low or 0) <= true for low, _ in found]) >= 0.94


def test_mean_size_by_hand() -> None:
    # (1.644854 + 0.841621)^2 = 6.18256; times 0.25 / 0.01 is 154.6
    assert mean_size(0.1, 0.25, 0.95) == 155
    assert mean_size(-0.1, 0.25, 0.95) == 155
    assert mean_size(0.0, 0.25, 0.95) is None
    assert mean_size(0.1, 0.0, 0.95) == 1


def test_share_size_by_hand() -> None:
    # (1.644854 * sqrt(0.0475) + 0.841621 * sqrt(0.0196))^2 / 0.03^2 = 252.5
    assert share_size(0.98, 0.95, 0.95) == 253
    assert share_size(0.0, 0.01, 0.95) == 299
    assert share_size(1.0, 0.95, 0.95) == 59
    assert share_size(0.95, 0.95, 0.95) is None


def test_the_detectable_difference_is_connors() -> None:
    found = detectable_difference(0.2, 500)
    assert found is not None
    # Connor 1987: n = (1.96 sqrt(0.2) + 0.8416 sqrt(0.2 - d^2))^2 / d^2
    spread = 1.959964 * math.sqrt(0.2) + 0.841621 * math.sqrt(0.2 - found**2)
    assert (spread / found) ** 2 == pytest.approx(500, rel=1e-4)
    assert detectable_difference(0.0, 500) is None
    assert detectable_difference(0.01, 100) is None


@given(st.floats(0.05, 0.9), st.integers(200, 5_000))
def test_more_questions_show_smaller_differences(discordant: float, n: int) -> None:
    few, many = (detectable_difference(discordant, k) for k in (n, 2 * n))
    assert few is not None
    assert many is not None
    assert 0 < many < few <= discordant
