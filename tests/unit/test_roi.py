"""What a student saves, by hand."""

from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentark_ray.config import ConfigError
from agentark_ray.evaluate.roi import Forecast, Roi, Serving, Work, break_even, queries_until, roi
from agentark_ray.prices import PricesConfig

# A debate costs 400 output, 800 prompt and 200 cached tokens; the student 40 and 100.
ARMS = {
    "debate": {
        "accuracy": 0.8,
        "output_tokens_per_query": 400.0,
        "prompt_tokens_per_query": 1000.0,
        "cached_tokens_per_query": 200.0,
    },
    "student": {
        "accuracy": 0.78,
        "output_tokens_per_query": 40.0,
        "prompt_tokens_per_query": 100.0,
        "cached_tokens_per_query": 0.0,
    },
}
TOKENS = PricesConfig(output=10.0, prompt=1.0, cached=0.5)  # USD a million
GPU = PricesConfig(gpu_hour=3.6)  # 0.001 USD a second
SERVING = Serving(gpus_per_engine=2, debate_tokens_per_s=1_000.0, student_tokens_per_s=2_000.0)
WORK = Work(
    tokens={"output_tokens": 400_000, "prompt_tokens": 1_000_000, "cached_tokens": 200_000},
    engine_seconds=500.0,
    training_seconds=1_000.0,
    training_gpus=4,
)
START = date(2026, 1, 1)
FORECAST = Forecast(queries_per_day=1_000.0, start=START)


def found(**changes: Any) -> Roi:
    values: dict[str, Any] = {
        "prices": TOKENS,
        "serving": SERVING,
        "work": WORK,
        "forecast": FORECAST,
        "investment_usd": 41.0,
    }
    return roi(ARMS, "student", **(values | changes))


def usd(result: Roi) -> dict[str, float]:
    return {one.name: one.usd_per_1000 for one in result.options}


def test_costs_by_prices_of_tokens() -> None:
    result = found(fallback_rate=0.25)
    # debate 400 * 10 + 800 * 1 + 200 * 0.5 = 4,900 a million queries; student 400 + 100
    assert usd(result) == pytest.approx({"debate": 4.9, "student": 0.5, "hybrid": 0.5 + 4.9 / 4})
    debate, student, hybrid = result.options
    assert (debate.saved, debate.usd_per_day) == (0.0, pytest.approx(4.9))
    assert student.saved == pytest.approx(4.4 / 4.9)
    assert (student.accuracy, hybrid.accuracy) == (0.78, None)
    assert any("200.0 of them cached" in text for text in result.assumptions)


def test_costs_by_the_time_of_gpus() -> None:
    result = found(prices=GPU, investment_usd=None)
    # 400 tokens / 1,000 a second * 2 GPUs * 0.001 USD = 0.0008; 40 / 2,000 * 2 * 0.001
    assert usd(result) == pytest.approx({"debate": 0.8, "student": 0.04})
    # 500 s * 2 GPUs and 1,000 s * 4 GPUs
    assert (result.generation_usd, result.training_usd) == pytest.approx((1.0, 4.0))
    assert result.investment_usd == pytest.approx(5.0)


def test_tokens_generate_and_gpus_train_when_both_have_prices() -> None:
    both = PricesConfig(output=10.0, prompt=1.0, cached=0.5, gpu_hour=3.6)
    result = found(prices=both, investment_usd=None)
    # 400,000 output, 800,000 prompt, 200,000 cached
    assert result.generation_usd == pytest.approx(4.0 + 0.8 + 0.1)
    assert result.training_usd == pytest.approx(4.0)


def test_break_even_with_steady_traffic() -> None:
    (student,) = found(investment_usd=44.0).break_even
    # 0.0044 USD a query: 10,000 queries, 10 days; a year saves 365 * 4.4
    assert (student.queries, student.days, student.date) == (10_000, 10, "2026-01-11")
    assert student.first_year_usd == pytest.approx(365 * 4.4 - 44)


def test_further_distillations_are_spread_over_their_days() -> None:
    forecast = replace(FORECAST, redistil_days=20)
    (student,) = found(investment_usd=44.0, forecast=forecast).break_even
    # 4.4 - 44 / 20 = 2.2 USD a day
    assert (student.queries, student.days) == (10_000, 20)
    (cheap,) = found(investment_usd=44.0, forecast=forecast, redistil_usd=8.0).break_even
    assert cheap.days == 11  # 44 / (4.4 - 0.4)
    often = replace(FORECAST, redistil_days=10)
    assert found(investment_usd=44.0, forecast=often).break_even[0].days is None


def test_growth_is_compound_and_a_month_has_thirty_days() -> None:
    forecast = replace(FORECAST, growth=1.0)
    step = 2 ** (1 / 30)
    assert queries_until(forecast, 3) == pytest.approx(1_000 * (1 + step + step**2))
    assert queries_until(forecast, 60) / queries_until(forecast, 30) == pytest.approx(3.0)
    assert queries_until(FORECAST, 7) == 7_000


@given(st.floats(-0.9, 2.0), st.integers(0, 400))
def test_queries_are_the_sum_of_the_days(growth: float, days: int) -> None:
    forecast = Forecast(queries_per_day=10.0, growth=growth, start=START)
    each = sum(10.0 * (1 + growth) ** (day / 30) for day in range(days))
    assert queries_until(forecast, days) == pytest.approx(each, rel=1e-6)


def test_a_student_that_costs_more_never_pays() -> None:
    result = break_even("student", -0.001, 10.0, 10.0, FORECAST)
    assert (result.queries, result.days, result.date) == (None, None, None)
    assert result.first_year_usd == pytest.approx(-10 - 365)


@pytest.mark.parametrize("saved", [-0.001, 0.0])
def test_what_saves_nothing_does_not_pay_for_a_distillation_that_was_free(saved: float) -> None:
    result = break_even("student", saved, 0.0, 0.0, FORECAST)
    assert (result.queries, result.days, result.date) == (None, None, None)
    cheaper = break_even("student", 0.001, 0.0, 0.0, FORECAST)
    assert (cheaper.queries, cheaper.days, cheaper.date) == (0, 0, "2026-01-01")


def test_where_the_students_speed_is_from_is_said() -> None:
    told = found(prices=GPU, serving=replace(SERVING, student_speed="as stated")).assumptions
    assert (
        "student: 40.0 output tokens a query at 2,000 a second (as stated) of 2 GPU(s)" in told[1]
    )
    assert "400.0 output tokens a query at 1,000 a second of 2 GPU(s)" in told[0]


def test_falling_traffic_may_never_pay() -> None:
    # 1,000 + 500 + ... a month: never more than 1,000 / (1 - 2^(-1/30)) = 43,782 queries
    forecast = replace(FORECAST, growth=-0.5)
    assert break_even("student", 0.001, 43.7, 0.0, forecast).days is not None
    assert break_even("student", 0.001, 43.9, 0.0, forecast).days is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"prices": PricesConfig()}, "no price: give prices.output="),
        ({"prices": GPU, "serving": replace(SERVING, gpus_per_engine=0)}, "gpus_per_engine=N"),
        ({"prices": GPU, "serving": replace(SERVING, debate_tokens_per_s=None)}, "--tokens-per-s"),
        ({"investment_usd": None}, "what training cost is not known"),
    ],
)
def test_what_is_missing_is_said(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        found(**changes)


def test_a_missing_arm_and_an_old_summary_are_said() -> None:
    with pytest.raises(ConfigError, match="no arm 'da'"):
        roi(ARMS, "da", TOKENS, SERVING, WORK, FORECAST)
    old = {name: {"output_tokens_per_query": 1.0} for name in ARMS}
    with pytest.raises(ConfigError, match="earlier version"):
        roi(old, "student", TOKENS, SERVING, WORK, FORECAST)
