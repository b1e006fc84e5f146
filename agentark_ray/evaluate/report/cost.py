"""What answers cost: the parts on tokens and money, and on the return."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agentark_ray.evaluate.engine_time import EngineTime
from agentark_ray.evaluate.report import charts, cost_charts
from agentark_ray.evaluate.report.parts import DASH, Cell, Part, Table, arm_cell, cell, plain
from agentark_ray.evaluate.roi import Forecast, Roi, break_even
from agentark_ray.prices import TokenPrices

Summary = Mapping[str, Any]
KINDS = ("output", "prompt", "cached")
TRAFFIC = [10 ** (power / 8) for power in range(8, 57)]  # queries a day of a curve, 10 to 10^7


@dataclass(frozen=True, slots=True, kw_only=True)
class Return:
    """The return on the distillation, or why it is not known."""

    roi: Roi | None
    forecast: Forecast | None
    by_day: bool = False  # whether the forecast's traffic was stated
    why_not: str = ""


def money(summary: Summary, prices: TokenPrices | None, engines: EngineTime | None = None) -> Part:
    """Tokens and US dollars of a thousand queries: by tokens, else by the time of engines."""
    of, arms = charts.colours(summary["arms"]), summary["arms"]
    paid = {name: _paid_for(name, arm, prices, engines) for name, arm in arms.items()}
    priced = any(one.usd is not None for one in paid.values())
    rows = [
        [
            arm_cell(name, of),
            *(cell(f"{1_000 * _tokens(arm, kind):,.0f}") for kind in KINDS),
            *([_usd_cell(paid[name], paid.get("debate"))] if priced else []),
        ]
        for name, arm in arms.items()
    ]
    columns = ["Arm", "Output tokens", "Prompt tokens", "of them cached"]
    return Part(
        id="cost",
        title="Tokens and money",
        intro="Of a thousand queries.",
        tables=[Table(columns=[*columns, "US dollars"] if priced else columns, rows=rows)],
        charts=[cost_charts.tokens_chart(summary)],
        foot=_told(prices, engines),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Paid:
    """What a thousand queries of an arm cost."""

    usd: float | None
    how: str = ""


def _paid_for(
    name: str, arm: Mapping[str, Any], prices: TokenPrices | None, engines: EngineTime | None
) -> _Paid:
    tokens = {f"{kind}_tokens": 1_000 * _tokens(arm, kind) for kind in KINDS}
    if prices:
        return _Paid(usd=sum(prices.cost(tokens).values()))
    usd = engines.usd(name, tokens["output_tokens"]) if engines else None
    if engines is None or usd is None:
        return _Paid(usd=None, how="its seconds on an engine were not measured")
    speed = engines.speeds[name]
    return _Paid(usd=usd, how=f"{speed.tokens_per_s:,.0f} tokens/s, {speed.origin}")


def _usd_cell(paid: _Paid, debate: _Paid | None) -> Cell:
    if paid.usd is None:
        return Cell(text=DASH, note=paid.how)
    share = f"{paid.usd / debate.usd:.1%} of the debate's" if debate and debate.usd else ""
    return cell(f"{paid.usd:,.4g}", note="; ".join(filter(None, (share, paid.how))))


def _told(prices: TokenPrices | None, engines: EngineTime | None) -> str:
    """By which prices, or why by none."""
    if prices:
        return (
            f"US dollars a million tokens: output {prices.output:g}, prompt {prices.prompt:g},"
            f" from the cache {prices.cached:g}."
        )
    if engines is None:
        return (
            "Without a price list no money is shown: `prices.output=`, `prices.prompt=` and"
            " `prices.cached=`, US dollars a million tokens, or `prices.gpu_hour=`."
        )
    told = f"A GPU costs {engines.gpu_hour:g} US dollars an hour"
    if not engines.gpus_per_engine:
        return (
            f"{told}, but the run's engines have none, so no money is shown: `gpus_per_engine=N`."
        )
    if not engines.speeds:
        return f"{told}, but no seconds of engines were measured, so no money is shown."
    return (
        f"{told}; an engine has {engines.gpus_per_engine} and is always busy. Dollars are its time"
        " for the output tokens, at the speed beside them; the debate's stands in for one that was"
        " not measured."
    )


def _tokens(arm: Mapping[str, Any], kind: str) -> float:
    return arm[f"{kind}_tokens_per_query"]


def returns(found: Return) -> Part:
    """Costs of every way to answer, and when the distillation has paid for itself."""
    if found.roi is None:
        return Part(id="roi", title="Return", missing=f"Not known: {found.why_not}.")
    roi, day = found.roi, found.forecast
    told = "`--queries-per-day` adds days and dates."
    if day and found.by_day:
        told = (
            f"Forecast: {day.queries_per_day:,.6g} queries a day, growing {day.growth:.0%} a month."
        )
    return Part(
        id="roi",
        title="Return",
        intro=f"Invested: {roi.investment_usd:,.2f} US dollars. {told}",
        tables=[_options(roi, by_day=found.by_day), _paid(roi, by_day=found.by_day)],
        charts=[cost_charts.break_even_chart(_curves(found))],
        notes=roi.assumptions,
    )


def _options(roi: Roi, *, by_day: bool) -> Table:
    columns = ["Way to answer", "USD a 1,000", "Saved", "Accuracy"]
    rows = []
    for one in roi.options:
        row = [
            cell(one.name.capitalize()),
            cell(f"{one.usd_per_1000:,.4g}"),
            plain(one.saved, "{:.1%}"),
            plain(one.accuracy, "{:.1%}"),
        ]
        rows.append([*row, cell(f"{one.usd_per_day:,.2f}")] if by_day else row)
    return Table(columns=[*columns, "USD a day"] if by_day else columns, rows=rows)


def _paid(roi: Roi, *, by_day: bool) -> Table:
    columns = ["Has paid for itself", "after queries"]
    rows = []
    for one in roi.break_even:
        queries = "never" if one.queries is None else f"{one.queries:,}"
        row = [cell(one.name.capitalize()), cell(queries)]
        if by_day:
            row += [
                cell("never" if one.days is None else f"{one.days:,}"),
                cell(one.date or DASH),
                cell(f"{one.first_year_usd:,.2f}"),
            ]
        rows.append(row)
    return Table(
        columns=[*columns, "after days", "on", "USD in the first year"] if by_day else columns,
        rows=rows,
        title="Break-even",
    )


def _curves(found: Return) -> dict[str, list[tuple[float, int | None]]]:
    """Days until break-even by traffic, for every way but the debate."""
    roi, day = found.roi, found.forecast
    assert roi is not None and day is not None, "a return without figures has no curves"
    costs = {one.name: one.usd_per_1000 / 1_000 for one in roi.options}
    saved = {name: costs["debate"] - usd for name, usd in costs.items() if name != "debate"}
    return {
        name: [(queries, _days(name, usd, roi, _at(day, queries))) for queries in TRAFFIC]
        for name, usd in saved.items()
    }


def _days(name: str, saved: float, roi: Roi, forecast: Forecast) -> int | None:
    return break_even(name, saved, roi.investment_usd, roi.redistil_usd, forecast).days


def _at(forecast: Forecast, queries_per_day: float) -> Forecast:
    return Forecast(
        queries_per_day=queries_per_day,
        growth=forecast.growth,
        redistil_days=forecast.redistil_days,
        start=forecast.start,
    )
