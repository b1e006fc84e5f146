"""What answers cost: the parts on tokens and money, and on the return."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agentark_ray.evaluate.report import charts, cost_charts
from agentark_ray.evaluate.report.parts import DASH, Part, Table, cell, plain
from agentark_ray.evaluate.report.quality import arm_cell
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


def money(summary: Summary, prices: TokenPrices | None) -> Part:
    """Tokens and, if they have a price, US dollars a thousand queries."""
    of = charts.colours(summary["arms"])
    arms = summary["arms"]
    costs = {}
    if prices:
        costs = {name: 1_000 * _usd(arm, prices) for name, arm in arms.items()}
    rows = []
    for name, arm in arms.items():
        figures = [1_000 * _tokens(arm, kind) for kind in KINDS]
        row = [arm_cell(name, of), *(cell(f"{value:,.0f}") for value in figures)]
        if prices:
            debate = costs.get("debate")
            share = f"{costs[name] / debate:.1%} of the debate's" if debate else ""
            row.append(cell(f"{costs[name]:,.4g}", note=share))
        rows.append(row)
    columns = ["Arm", "Output tokens", "Prompt tokens", "of them cached"]
    told = "Without a price list no money is shown: `prices.output=`, `prices.prompt=` and"
    told += " `prices.cached=`, US dollars a million tokens. The return also knows GPU time."
    if prices:
        columns.append("US dollars")
        told = f"US dollars a million tokens: output {prices.output:g}, prompt {prices.prompt:g},"
        told += f" from the cache {prices.cached:g}."
    return Part(
        id="cost",
        title="Tokens and money",
        intro="Of a thousand queries.",
        tables=[Table(columns=columns, rows=rows)],
        charts=[cost_charts.tokens_chart(summary)],
        foot=told,
    )


def _usd(arm: Mapping[str, Any], prices: TokenPrices) -> float:
    tokens = {f"{kind}_tokens": _tokens(arm, kind) for kind in KINDS}
    return sum(prices.cost(tokens).values())


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
