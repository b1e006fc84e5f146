"""The summary on a terminal: decision, arms, gates and reasons."""

from collections.abc import Mapping
from typing import Any

from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from agentark_ray.evaluate import views

WORDS = {"passed": ("pass", "green"), "open": ("open", "yellow"), "failed": ("FAIL", "bold red")}
STYLES = {"adopt": "bold green", "hybridize": "bold yellow", "continue": "bold blue"}


def render_table(summary: Mapping[str, Any]) -> Group:
    """What `console.print` shows of a summary; it fits into 100 columns."""
    word, lead = views.DECISIONS[summary["decision"]]
    decision = Text.assemble((word, STYLES[summary["decision"]]), f"  {lead}")
    return Group(
        Padding(decision, (1, 0)),
        arms_table(summary),
        gates_table(summary),
        *(Text(f"- {text}") for text in views.reasons(summary)),
        *(Text(f"! {text}", style="yellow") for text in summary["warnings"]),
        *(Text(f"> {text}", style="cyan") for text in summary["next_steps"]),
    )


def arms_table(summary: Mapping[str, Any]) -> Table:
    """One row an arm."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("arm")
    for name in ("accuracy", "95 % interval", "n", "tokens", "p50", "p95", "p99 ms", "fixed"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("broken", justify="right", no_wrap=True)
    for name in summary["arms"]:
        table.add_row(*_arm(views.arm_row(summary, name)))
    return table


def _arm(arm: Mapping[str, Any]) -> list[str]:
    looks = arm["self_correction"] or {"fixed": None, "broken": None}
    lost = f" ({arm['lost']})" if arm["lost"] else ""
    return [
        arm["label"] + lost,
        views.percent(arm["accuracy"]),
        f"{arm['ci_low']:.1%} - {arm['ci_high']:.1%}",
        views.number(arm["n"]),
        views.number(arm["output_tokens_per_query"]),
        *(_cell(arm["latency_ms"][q], views.number) for q in ("p50", "p95", "p99")),
        *(_cell(looks[key], views.percent) for key in ("fixed", "broken")),
    ]


def _cell(value: float | None, form: Any) -> str:
    return "-" if value is None else form(value)


def gates_table(summary: Mapping[str, Any]) -> Padding:
    """One row a gate, with the word pass, open, fail or off."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("gate", "", "measured", f"{100 * summary['confidence']:g} % bound", "asked"):
        table.add_column(name)
    for row in map(views.gate_row, summary["gates"]):
        word = Text(*WORDS[row["status"]])
        table.add_row(row["label"], word, row["value"], row["bound"], row["asked"])
    for label in views.off_gates(summary):
        table.add_row(label, Text("off", "dim"), *"---")
    return Padding(table, (1, 0))
