"""What commands that pass over stored debates share: the rows, and progress on stderr."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from pyarrow.dataset import Dataset

LabelsOption = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Verdicts of these labels, not those in the traces."),
]


def stored_rows(
    run: str, traces: "Dataset", labels: str | None, columns: Sequence[str], batch_rows: int
) -> Iterable[dict[str, Any]]:
    """Every trace, light, with the verdicts of `labels`."""
    from agentark_ray.debate_rows import light_rows
    from agentark_ray.label_rows import open_labels, trace_folder

    if labels is None:
        return light_rows([traces], columns, batch_rows)
    return open_labels(trace_folder(run), labels).rows(columns, batch_rows)


def counted(rows: Iterable[dict[str, Any]], counts: Counter[str]) -> Iterator[dict[str, Any]]:
    """The rows, counted as counts["debates"] once they are done with."""
    for row in rows:
        yield row
        counts["debates"] += 1


@contextmanager
def progress(title: str, traces: "Dataset", counts: Counter[str]) -> Iterator[None]:
    """Progress on stderr, by counts["debates"]."""
    import time

    from rich.console import Console

    from agentark_ray.console import State, watch

    total, started = traces.count_rows(), time.monotonic()

    def state() -> State:
        done = counts["debates"]
        rate = done / max(time.monotonic() - started, 1e-9)
        return State(done=done, total=total, text=f"{rate:,.0f}/s")

    with watch(Console(stderr=True), title, state):
        yield
