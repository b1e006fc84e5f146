"""A report's parts as plain values: what the page and the Markdown file both show."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from agentark_ray.evaluate.views import label

Json = dict[str, Any]
DASH = "\N{EN DASH}"  # not measured, or not applicable


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One cell of a table."""

    text: str
    note: str = ""  # below it, smaller
    mark: str = ""  # good, bad, warn: a sign before the text
    interval: tuple[float, float, float] | None = None  # low, value, high as shares, drawn
    heat: float | None = None  # 0..1, as a tint
    colour: str = ""  # of the palette: a dot before the text


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of cells; the first of a row names it."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    title: str = ""
    wide: bool = False  # many figures a row: cards on a narrow screen come early


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A section that can be folded."""

    id: str
    title: str
    intro: str = ""
    tables: Sequence[Table] = ()
    charts: Sequence[Mapping[str, Any]] = ()  # of page.charts.chart
    notes: Sequence[str] = field(default_factory=tuple)
    foot: str = ""
    missing: str = ""  # why there is nothing, and how to have it

    @property
    def empty(self) -> bool:
        return not any(table.rows for table in self.tables) and not any(
            chart["figure"] for chart in self.charts
        )


def without_empty(table: Table) -> Table:
    """The table without columns in which nothing was measured."""
    shown = [
        at for at in range(len(table.columns)) if any(row[at].text != DASH for row in table.rows)
    ]
    return replace(
        table,
        columns=[table.columns[at] for at in shown],
        rows=[[row[at] for at in shown] for row in table.rows],
    )


def cell(text: str, **more: Any) -> Cell:
    """A cell."""
    return Cell(text=text, **more)


def arm_cell(name: str, colours: Mapping[str, str], note: str = "") -> Cell:
    """The name of an arm with its colour."""
    return cell(label(name), note=note, colour=colours[name])


def share_cell(
    value: float | None, low: float | None = None, high: float | None = None, note: str = ""
) -> Cell:
    """A share with its interval in the note, and drawn."""
    if value is None:
        return Cell(text=DASH, note=note)
    if low is None or high is None:
        return Cell(text=f"{value:.1%}", note=note)
    words = f"{low:.1%} to {high:.1%}" + (f", {note}" if note else "")
    return Cell(text=f"{value:.1%}", note=words, interval=(low, value, high))


def level(confidence: float) -> str:
    """A confidence in words."""
    return f"{100 * confidence:g}%"


def points(difference: float | None) -> str:
    """A difference of shares in percentage points, signed."""
    if difference is None:
        return DASH
    return f"{100 * difference:+.1f}".replace("-", "\N{MINUS SIGN}")


def plain(value: float | None, form: str = "{:,.1f}") -> Cell:
    """A figure, or a dash."""
    return Cell(text=DASH if value is None else form.format(value))
