"""A load test on a terminal."""

from collections.abc import Mapping
from typing import Any

from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

COLUMNS = ("offered", "answered", "p50", "p95", "p99 ms", "ttft p50", "p99", "a token", "tokens/s")


def render_load(name: str, entry: Mapping[str, Any]) -> Group:
    """What `console.print` shows of an entry of load.json; it fits into 100 columns."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    good = any(one["goodput"] is not None for one in entry["rates"])
    for column in (*COLUMNS, *(["good"] if good else [])):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("")
    for one in entry["rates"]:
        cells = [f"{one['offered']:g}/s", f"{one['achieved']:.3g}/s", *_times(one)]
        share = one["good_share"]
        cells += ["-" if share is None else f"{share:.0%}"] if good else []
        table.add_row(*cells, _words(one))
    notes = [note for one in entry["rates"] if (note := one["generator"]["note"])]
    return Group(
        Text(f"{name}: {entry['model']}" + (f" at {entry['url']}" if entry["url"] else "")),
        Padding(table, (1, 0)),
        *(Text(line) for line in _lines(entry)),
        *(Text(f"! {note}", style="yellow") for note in dict.fromkeys(notes)),
    )


def _times(one: Mapping[str, Any]) -> list[str]:
    mark = ">" if one["censored"] else ""
    e2e, ttft = one["e2e_ms"], one["ttft_ms"]
    return [
        *(_ms(e2e[q], mark if q != "p50" else "") for q in ("p50", "p95", "p99")),
        _ms(ttft["p50"]),
        _ms(ttft["p99"], mark),
        _ms(one["inter_token_ms"]["p50"]),
        f"{one['output_tokens_per_s']:,.0f}",
    ]


def _ms(value: float | None, mark: str = "") -> str:
    if value is None:
        return "-"
    return mark + (f"{value:.1f}" if value < 10 else f"{value:,.0f}")


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:,.2f} GB" if n_bytes >= 1e8 else f"{n_bytes / 1e6:,.1f} MB"


def _words(one: Mapping[str, Any]) -> str:
    failed = [f"{count} x {kind}" for kind, count in one["errors"].items()]
    return ", ".join([*(["saturated"] if one["saturated"] else []), *failed])


def _lines(entry: Mapping[str, Any]) -> list[str]:
    """What holds for all rates."""
    rate = entry["sustained_rate"]
    kept = "none of these rates" if rate is None else f"up to {rate:g} requests a second"
    lines = [f"keeps up with: {kept}"]
    if entry["cold_start_s"] is not None:
        lines.append(f"cold start: {entry['cold_start_s']:.1f} s until the first answer")
    sizes = [
        f"{word} {_size(entry[key])}"
        for word, key in (
            ("weights", "weights_bytes"),
            (f"resident ({entry['resident']})", "resident_bytes"),
            ("on GPUs", "gpu_bytes"),
        )
        if entry[key] is not None
    ]
    if sizes:
        lines.append(f"memory: {', '.join(sizes)}")
    slowest = [one["requests"] for one in entry["rates"] if 0 < one["requests"] < 100]
    if slowest:
        lines.append("p99 of fewer than 100 requests is about their slowest")
    return lines
