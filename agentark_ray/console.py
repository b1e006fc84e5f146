"""What a command shows: stage lines, and progress as a bar on a terminal or lines elsewhere."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

LINE_EVERY_S = 10.0
POLL_EVERY_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """How far something is."""

    done: int
    total: int
    text: str  # rates and counts


@contextmanager
def watch(console: Console, title: str, poll: Callable[[], State | None]) -> Iterator[None]:
    """Show `poll()` twice a second while the body runs; None means it has not begun."""
    stop = threading.Event()
    show = _bar if console.is_terminal else _lines
    thread = threading.Thread(target=show, args=(console, title, poll, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=5)


def _bar(
    console: Console, title: str, poll: Callable[[], State | None], stop: threading.Event
) -> None:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[text]}"),
        TimeElapsedColumn(),
        TextColumn("eta"),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(title, total=None, text="starting")
        while True:
            last = stop.wait(POLL_EVERY_S)
            state = poll()
            if state:
                progress.update(task, completed=state.done, total=state.total, text=state.text)
            if last:
                return


def _lines(
    console: Console, title: str, poll: Callable[[], State | None], stop: threading.Event
) -> None:
    started = time.monotonic()
    first: tuple[float, int] | None = None  # when it began, and how much was done then
    while not stop.wait(LINE_EVERY_S):
        state, now = poll(), time.monotonic()
        line = f"starting, {now - started:.0f} s"
        if state:
            first = first or (now, state.done)
            line = f"{state.done}/{state.total}, {state.text}, eta {_eta(state, *first, now)}"
        console.print(f"  {title}: {line}", markup=False, highlight=False, soft_wrap=True)


def _eta(state: State, began: float, done_then: int, now: float) -> str:
    """Time left at the rate since the work began, or a question mark before there is a rate."""
    if state.done <= done_then:
        return "?"
    return f"{(now - began) * (state.total - state.done) / (state.done - done_then):.0f} s"
