"""How long answers take: the parts on latency and load."""

from collections.abc import Mapping
from typing import Any

from agentark_ray.evaluate.report import charts, cost_charts
from agentark_ray.evaluate.report.parts import (
    DASH,
    Cell,
    Part,
    Table,
    arm_cell,
    cell,
    plain,
    without_empty,
)
from agentark_ray.evaluate.views import few_queries, label
from agentark_ray.page.form import number

Summary = Mapping[str, Any]
TARGETS = (("ms", "the answer within"), ("ttft_ms", "the first token within"))
UNITS = (("GB", 1e9), ("MB", 1e6), ("kB", 1e3))


def latency(summary: Summary) -> Part:
    """One query at a time on an idle engine."""
    of = charts.colours(summary["arms"])
    rows = [_idle(name, arm, of) for name, arm in summary["arms"].items() if arm["latency_ms"]["n"]]
    few = " Fewer than 100 queries were timed, so a p99 is little more than the slowest of them."
    return Part(
        id="latency",
        title="Latency",
        intro="One query at a time on an idle engine, end to end, in milliseconds.",
        tables=[Table(columns=("Arm", "p50", "p95", "p99", "Queries", "Failed"), rows=rows)],
        charts=[cost_charts.latency_chart(summary)],
        foot=few.strip() if few_queries(summary) else "",
        missing="Not measured: `evaluate.latency_queries=N`.",
    )


def _idle(name: str, arm: Mapping[str, Any], of: Mapping[str, str]) -> tuple[Cell, ...]:
    ms = arm["latency_ms"]
    return (
        arm_cell(name, of),
        *(cell(number(ms[q])) for q in ("p50", "p95", "p99")),
        cell(f"{ms['n']:,}"),
        cell(f"{ms['failed']:,}"),
    )


def load(found: Mapping[str, Any] | None) -> Part:
    """Requests that come at given rates (eval/load.json, described in load/figures.py)."""
    empty = Part(
        id="load",
        title="Load",
        missing="Not measured: `agentark load RUN` sends requests at given rates.",
    )
    if not found or not found["arms"]:
        return empty
    of = charts.colours(found["arms"])
    notes = [
        f"{label(name)}, {one['offered']:g} a second: {one['generator']['note']}."
        for name, arm in found["arms"].items()
        for one in arm["rates"]
        if one["generator"]["note"]
    ]
    return Part(
        id="load",
        title="Load",
        intro="Requests come at random times at a given mean rate, whether or not others are"
        " answered. Latencies count from the planned time of a request, in milliseconds.",
        tables=[
            *(_rates(name, arm) for name, arm in found["arms"].items()),
            Table(
                title="Start and memory",
                columns=("Arm", "Sustained rate", "Cold start", "Weights", "Resident", "On GPUs"),
                rows=[_resources(name, arm, of) for name, arm in found["arms"].items()],
            ),
        ],
        charts=cost_charts.load_charts(found),
        notes=notes,
        foot=" ".join(dict.fromkeys(_machine(arm) for arm in found["arms"].values())),
    )


def _rates(name: str, arm: Mapping[str, Any]) -> Table:
    asked = [
        f"{words} {arm['targets'][key]:,g} ms" for key, words in TARGETS if arm["targets"][key]
    ]
    good = f"; good is {' and '.join(asked)}" if asked else ""
    columns = (
        "Offered rate",
        "Answered",
        "p50",
        "p95",
        "p99",
        "First token p95",
        "Between tokens p95",
    )
    rows = [_rate(one) for one in sorted(arm["rates"], key=lambda one: one["offered"])]
    return without_empty(
        Table(
            title=f"{label(name)}{good}",
            columns=(*columns, "Tokens a second", "Good", "Kept up"),
            rows=rows,
            wide=True,
        )
    )


def _rate(one: Mapping[str, Any]) -> tuple[Cell, ...]:
    errors = ", ".join(f"{n:,} {kind}" for kind, n in one["errors"].items())
    kept = cell("no", mark="bad") if one["saturated"] else cell("yes", mark="good")
    return (
        cell(f"{one['offered']:g} a second"),
        cell(f"{one['answered']:,} of {one['requests']:,}", note=errors),
        *(plain(one["e2e_ms"][q], "{:,.0f}") for q in ("p50", "p95", "p99")),
        plain(one["ttft_ms"]["p95"], "{:,.0f}"),
        plain(one["inter_token_ms"]["p95"], "{:,.1f}"),
        plain(one["output_tokens_per_s"], "{:,.0f}"),
        plain(one["good_share"], "{:.1%}"),
        kept,
    )


def _resources(name: str, arm: Mapping[str, Any], of: Mapping[str, str]) -> tuple[Cell, ...]:
    sustained = arm["sustained_rate"]
    return (
        arm_cell(name, of),
        cell("none" if sustained is None else f"{sustained:g} a second"),
        plain(arm["cold_start_s"], "{:,.1f} s"),
        *(cell(_bytes(arm[key])) for key in ("weights_bytes", "resident_bytes", "gpu_bytes")),
    )


def _bytes(n: int | None) -> str:
    if n is None:
        return DASH
    for unit, size in UNITS:
        if n >= size:
            return f"{n / size:,.1f} {unit}"
    return f"{n} B"


def _machine(arm: Mapping[str, Any]) -> str:
    found = arm["machine"]
    gpus = ", ".join(found["gpus"]) or "no GPU"
    busy = ", ".join(f"{value:.1f}" for value in found["load_average"])
    return (
        f"{arm['measured']}, {arm['seconds']:g} s at each rate, on {found['cpu']}, {found['cores']}"
        f" cores, {_bytes(found['memory_bytes'])} of memory, {gpus}; load average {busy}."
    )
