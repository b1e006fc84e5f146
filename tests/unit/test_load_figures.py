"""The figures of a load test, by hand."""

import math
from typing import Any

import pytest

from agentark_ray.load.figures import (
    TIMEOUT,
    Ended,
    Tally,
    Targets,
    figures,
    quantiles,
    saturated,
    sustained,
)


def ended(scheduled: float, end: float, **changes: Any) -> Ended:
    values: dict[str, Any] = {
        "scheduled": scheduled,
        "sent": scheduled,
        "first": (scheduled + end) / 2,
        "ended": end,
        "tokens": 10,
        "inter_token_s": 0.01,
        "error": None,
    }
    return Ended(**(values | changes))


def tally(*found: Ended, **changes: Any) -> Tally:
    values: dict[str, Any] = {"offered": 1.0, "seconds": 8.0}
    counted = Tally(**(values | changes))
    for one in found:
        counted.add(one)
    return counted


def test_latency_counts_from_the_scheduled_time() -> None:
    """Sent a second late, answered half a second after that: 1.5 s, and 1.25 to the first token."""
    found = figures(tally(ended(3.0, 4.5, sent=4.0, first=4.25)))
    assert found["e2e_ms"] == {"p50": 1500.0, "p95": 1500.0, "p99": 1500.0, "max": 1500.0}
    assert found["ttft_ms"]["p50"] == 1250.0
    assert found["inter_token_ms"]["p50"] == 10.0


def test_rates_are_those_of_the_steady_state() -> None:
    """Of 8 s the first 2 do not count, nor what ends after the arrivals: 3 answers in 6 s."""
    found = figures(
        tally(
            ended(0.0, 1.0),
            ended(1.0, 2.0),
            ended(1.5, 2.5),
            ended(4.0, 5.0),
            ended(6.5, 7.5),
            ended(7.5, 8.5),
        )
    )
    assert found["achieved"] == 0.5
    assert found["output_tokens_per_s"] == 5.0
    assert (found["requests"], found["answered"], found["saturated"]) == (6, 6, False)


def test_a_timeout_keeps_its_latency_and_other_errors_have_none() -> None:
    found = figures(
        tally(
            ended(0.0, 1.0),
            ended(1.0, 61.0, error=TIMEOUT, first=None, inter_token_s=None),
            ended(2.0, 62.0, error=TIMEOUT, first=2.5, inter_token_s=None),
            ended(3.0, 3.001, error="http 429", first=None, inter_token_s=None),
        )
    )
    assert found["errors"] == {"http 429": 1, TIMEOUT: 2}
    assert (found["answered"], found["censored"]) == (1, 2)
    assert found["e2e_ms"]["max"] == 60_000.0
    assert found["ttft_ms"]["p50"] == 500.0  # of 0.5, 0.5 and 60 s
    assert found["ttft_ms"]["max"] == 60_000.0


def test_goodput_counts_what_meets_all_targets() -> None:
    asked = Targets(ms=1000.0, ttft_ms=250.0)
    found = figures(
        tally(
            ended(0.0, 0.5),
            ended(1.0, 2.0, first=1.25),  # just in time, both
            ended(2.0, 3.1, first=2.1),  # the last token is late
            ended(3.0, 3.9, first=3.5),  # the first token is late
            ended(4.0, 4.1, error="http 500"),
            targets=asked,
        )
    )
    assert found["goodput"] == 2 / 8
    assert found["good_share"] == 2 / 5
    without = figures(tally(ended(0.0, 0.5)))
    assert (without["goodput"], without["good_share"]) == (None, None)


def test_nothing_came() -> None:
    found = figures(tally())
    assert found["e2e_ms"] == {"p50": None, "p95": None, "p99": None, "max": None}
    assert (found["achieved"], found["saturated"]) == (0.0, False)
    assert found["generator"]["kept_up"]


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ({"arrived": 100, "before": 10, "after": 10}, False),
        ({"arrived": 100, "before": 10, "after": 20}, False),  # a tenth, no more
        ({"arrived": 100, "before": 10, "after": 24}, True),  # 14 > 2 sqrt(34) = 11.7
        ({"arrived": 20, "before": 3, "after": 8}, False),  # 5 < 2 sqrt(11) = 6.6: chance
        ({"arrived": 20, "before": 0, "after": 15}, True),
        ({"arrived": 1000, "before": 10, "after": 60}, False),  # grew, by 5 % of what came
        ({"arrived": 100, "before": 0, "after": 0, "errors": 10}, False),
        ({"arrived": 100, "before": 0, "after": 0, "errors": 11}, True),
    ],
)
def test_saturation(numbers: dict[str, int], expected: bool) -> None:
    values = {"errors": 0, "requests": 100, **numbers}
    assert saturated(**values) is expected


def test_an_arm_that_answers_half_is_saturated() -> None:
    """One a second comes, one in two seconds is answered, in turn."""
    slow = [ended(float(i), 2.0 * (i + 1)) for i in range(80)]
    found = figures(tally(*slow, seconds=80.0))
    assert found["saturated"]
    assert found["achieved"] == 0.5
    assert found["e2e_ms"]["max"] == 81_000.0  # the last: came at 79, answered at 160


def test_a_generator_that_falls_behind_says_so() -> None:
    on_time = [ended(float(i), i + 0.1, sent=i + 0.009) for i in range(49)]
    on_time += [ended(float(i), i + 2.0, sent=i + 0.09) for i in range(49, 98)]  # under 5 % of it
    assert figures(tally(*on_time, seconds=98.0))["generator"]["kept_up"]
    late = [ended(98.0, 99.0, sent=98.06), ended(99.0, 99.9, sent=None, error=TIMEOUT)]
    found = figures(tally(*on_time, *late, seconds=100.0))["generator"]
    assert (found["late"], found["kept_up"], found["lag_ms_max"]) == (2, False, 90.0)
    assert "fell behind: 2 of 100 requests" in found["note"]
    assert "latency includes" in found["note"]


def test_what_is_held_back_is_told_apart() -> None:
    held = ended(1.0, 3.0, sent=2.0, held_back=True)
    counted = tally(ended(0.0, 2.0), held, outstanding_max=1)
    found = figures(counted)["generator"]
    assert (found["late"], found["held_back"], found["kept_up"]) == (0, 1, False)
    assert "1 of 2 requests were held back, because 1 were under way" in found["note"]


def test_quantiles_are_linear_between_ranks() -> None:
    found = quantiles([i / 1000 for i in range(101)])
    assert found == {"p50": 50.0, "p95": 95.0, "p99": 99.0, "max": 100.0}
    assert quantiles([0.0, 0.001])["p95"] == pytest.approx(0.95)
    assert all(value is None for value in quantiles([]).values())


def test_the_sustained_rate_is_below_every_saturated_one() -> None:
    def rates(*found: tuple[float, bool]) -> list[dict[str, Any]]:
        return [{"offered": offered, "saturated": full} for offered, full in found]

    assert sustained(rates((4, True), (1, False), (2, False))) == 2
    assert sustained(rates((1, False), (2, True), (4, False))) == 1
    assert sustained(rates((1, True))) is None
    assert sustained([]) is None


def test_memory_is_a_few_numbers_a_request() -> None:
    counted = tally(*(ended(i / 100, i / 100 + 0.2) for i in range(10_000)), seconds=100.0)
    held = sum(len(a) * a.itemsize for a in (counted.e2e, counted.ttft, counted.inter_token))
    assert held == 10_000 * 3 * 8
    assert math.isclose(figures(counted)["achieved"], 100, rel_tol=0.01)
