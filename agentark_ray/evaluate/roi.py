"""What a student saves: the cost of debate, student and hybrid, and when it has paid for itself.

Plain arithmetic over figures that were measured or stated; a figure that is neither is an error or
missing from the answer, and every assumption is said. One figure may stand in for another: the
debate's speed for that of a student that was not measured, and then the assumption says so. Money
is in US dollars.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from agentark_ray.config import ConfigError
from agentark_ray.evaluate.engine_time import gpu_usd
from agentark_ray.prices import PricesConfig

HORIZON_DAYS = 3_650  # a later break-even is none
MONTH_DAYS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """How answers are paid for, besides the prices."""

    gpus_per_engine: int
    debate_tokens_per_s: float | None  # output tokens a second of one engine; None: not known
    student_tokens_per_s: float | None
    student_speed: str = ""  # where the student's speed is from, in the words of the assumption


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What the distillation took."""

    tokens: Mapping[str, float]  # output_tokens, prompt_tokens, cached_tokens of all debates
    engine_seconds: float | None  # of the debates, of every engine added up
    training_seconds: float
    training_gpus: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """Traffic, and how the student is kept up to date."""

    queries_per_day: float
    growth: float = 0.0  # a month of 30 days; 0.1 is 10 % more each month
    redistil_days: float | None = None  # a new student every so many days; None: never
    start: date  # the student's first day


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """A way to answer."""

    name: str  # debate, student, hybrid
    usd_per_1000: float
    usd_per_day: float  # at today's traffic
    saved: float | None  # share of the debate's cost; None if that is 0
    accuracy: float | None  # None if it was not measured


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakEven:
    """When a way to answer has saved what the distillation cost; None where it never does."""

    name: str
    queries: int | None  # that save the investment, without further distillations
    days: int | None  # with traffic's growth and further distillations, each spread over its days
    date: str | None  # ISO
    first_year_usd: float  # saved in 365 days, less the investment and further distillations


@dataclass(frozen=True, slots=True, kw_only=True)
class Roi:
    """Return on a distillation."""

    options: tuple[Option, ...]
    generation_usd: float | None
    training_usd: float | None
    investment_usd: float
    redistil_usd: float  # of one further distillation
    break_even: tuple[BreakEven, ...]
    assumptions: tuple[str, ...]


def roi(
    arms: Mapping[str, Mapping[str, Any]],
    student: str,
    prices: PricesConfig,
    serving: Serving,
    work: Work,
    forecast: Forecast,
    *,
    fallback_rate: float | None = None,
    investment_usd: float | None = None,
    redistil_usd: float | None = None,
) -> Roi:
    """Costs, savings and break-even.

    Args:
        arms: of eval/summary.json.
        student: the arm of the student.
        fallback_rate: share of the hybrid's queries that the debate answers as well; None leaves
            the hybrid out.
        investment_usd: of generation and training; None computes it from `work`.
        redistil_usd: of a further distillation; None: as much as the first.

    Raises:
        ConfigError: an arm or a price is missing.
    """
    notes: list[str] = []
    costs = {
        name: _answers_usd(name, _arm(arms, arm), rate, origin, prices, serving, notes)
        for name, arm, rate, origin in (
            ("debate", "debate", serving.debate_tokens_per_s, ""),
            ("student", student, serving.student_tokens_per_s, serving.student_speed),
        )
    }
    if fallback_rate is not None:
        notes.append(f"hybrid: {fallback_rate:.1%} of the queries are answered by both")
        costs["hybrid"] = costs["student"] + fallback_rate * costs["debate"]
    made = (_generation(prices, serving, work, notes), _training(prices, work, notes))
    invested = _invested(made, investment_usd, notes)
    again = invested if redistil_usd is None else redistil_usd
    if forecast.redistil_days:
        notes.append(
            f"a new student every {forecast.redistil_days:g} days for {again:,.2f} USD, spread"
            " evenly over them"
        )
    accuracy = {"debate": arms["debate"]["accuracy"], "student": arms[student]["accuracy"]}
    return Roi(
        options=tuple(
            Option(
                name=name,
                usd_per_1000=1_000 * usd,
                usd_per_day=forecast.queries_per_day * usd,
                saved=1 - usd / costs["debate"] if costs["debate"] else None,
                accuracy=accuracy.get(name),
            )
            for name, usd in costs.items()
        ),
        generation_usd=made[0],
        training_usd=made[1],
        investment_usd=invested,
        redistil_usd=again,
        break_even=tuple(
            break_even(name, costs["debate"] - usd, invested, again, forecast)
            for name, usd in costs.items()
            if name != "debate"
        ),
        assumptions=tuple(notes),
    )


def queries_until(forecast: Forecast, day: int) -> float:
    """Queries of the first `day` days; each day's traffic grows by the same factor.

    A month's growth g makes a day's factor f = (1 + g)^(1/30), and n days q (f^n - 1) / (f - 1).
    """
    step = math.log1p(forecast.growth) / MONTH_DAYS
    if step == 0:
        return forecast.queries_per_day * day
    return forecast.queries_per_day * math.expm1(step * day) / math.expm1(step)


def break_even(
    name: str, saved: float, invested: float, again: float, forecast: Forecast
) -> BreakEven:
    """When savings of `saved` a query have paid for the distillation and, by day, its repeats.

    What saves nothing pays for nothing, not even for a distillation that cost nothing.
    """
    daily = again / forecast.redistil_days if forecast.redistil_days else 0.0

    def balance(day: int) -> float:
        return saved * queries_until(forecast, day) - invested - daily * day

    days = range(HORIZON_DAYS + 1) if saved > 0 else ()
    day = next((day for day in days if balance(day) >= 0), None)
    return BreakEven(
        name=name,
        queries=_whole(invested / saved) if saved > 0 else None,
        days=day,
        date=None if day is None else (forecast.start + timedelta(days=day)).isoformat(),
        first_year_usd=balance(365),
    )


def _whole(queries: float) -> int:
    """Rounded up, but not because of the last bits of a float."""
    return math.ceil(round(queries, 6))


def _arm(arms: Mapping[str, Mapping[str, Any]], name: str) -> Mapping[str, Any]:
    if name not in arms:
        raise ConfigError(f"the evaluation has no arm {name!r} (there: {', '.join(arms)})")
    return arms[name]


def _answers_usd(
    name: str,
    arm: Mapping[str, Any],
    tokens_per_s: float | None,
    origin: str,
    prices: PricesConfig,
    serving: Serving,
    notes: list[str],
) -> float:
    """US dollars a query: by token prices if there are any, else by the time of GPUs."""
    if "cached_tokens_per_query" not in arm:
        raise ConfigError(
            f"the evaluation does not say how many prompt tokens of the {name} were cached; it is"
            " of an earlier version: `agentark evaluate RUN`"
        )
    tokens = {
        kind: arm[f"{kind}_per_query"]
        for kind in ("output_tokens", "prompt_tokens", "cached_tokens")
    }
    if prices.tokens is not None:
        notes.append(
            f"{name}: {tokens['output_tokens']:,.1f} output tokens and"
            f" {tokens['prompt_tokens']:,.1f} prompt tokens a query, {tokens['cached_tokens']:,.1f}"
            " of them cached, at the prices of tokens"
        )
        return sum(prices.tokens.cost(tokens).values())
    if prices.gpu_hour is None:
        raise ConfigError(
            "no price: give prices.output=, prices.prompt= and prices.cached= (USD a million"
            " tokens), or prices.gpu_hour="
        )
    if not serving.gpus_per_engine:
        raise ConfigError("prices.gpu_hour: the run's engines have no GPU; give gpus_per_engine=N")
    if tokens_per_s is None:
        raise ConfigError(
            f"the speed of the {name} is not known; give --tokens-per-s and"
            " --student-tokens-per-s, or prices of tokens"
        )
    notes.append(
        f"{name}: {tokens['output_tokens']:,.1f} output tokens a query at {tokens_per_s:,.0f} a"
        f" second{f' ({origin})' if origin else ''} of {serving.gpus_per_engine} GPU(s) that are"
        " always busy"
    )
    seconds = tokens["output_tokens"] / tokens_per_s
    return gpu_usd(seconds, serving.gpus_per_engine, prices.gpu_hour)


def _generation(
    prices: PricesConfig, serving: Serving, work: Work, notes: list[str]
) -> float | None:
    if prices.tokens is not None:
        notes.append(
            f"generation: {work.tokens['output_tokens']:,.0f} output tokens of all debates"
        )
        return sum(prices.tokens.cost(work.tokens).values())
    if work.engine_seconds is None or prices.gpu_hour is None or not serving.gpus_per_engine:
        return None
    notes.append(f"generation: {work.engine_seconds:,.0f} s of engines")
    return gpu_usd(work.engine_seconds, serving.gpus_per_engine, prices.gpu_hour)


def _training(prices: PricesConfig, work: Work, notes: list[str]) -> float | None:
    if prices.gpu_hour is None or not work.training_gpus:
        return None
    notes.append(f"training: {work.training_seconds:,.0f} s on {work.training_gpus} GPU(s)")
    return gpu_usd(work.training_seconds, work.training_gpus, prices.gpu_hour)


def _invested(
    made: tuple[float | None, float | None], stated: float | None, notes: list[str]
) -> float:
    if stated is not None:
        notes.append(f"the distillation cost {stated:,.2f} USD, as stated")
        return stated
    missing = [
        name for name, usd in zip(("generation", "training"), made, strict=True) if usd is None
    ]
    if missing:
        raise ConfigError(
            f"what {' and '.join(missing)} cost is not known: give prices.gpu_hour= and"
            " gpus_per_engine=, or --investment USD"
        )
    return sum(usd for usd in made if usd is not None)
