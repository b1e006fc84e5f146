"""`agentark roi`, `agentark retrain-check` and `agentark checklist`."""

from datetime import UTC
from typing import TYPE_CHECKING, Annotated

import typer

from agentark_ray.cli_base import (
    JsonFlag,
    Overrides,
    RunFolderArgument,
    clear_errors,
    print_json,
    stdout,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from agentark_ray.evaluate.roi import Roi

StudentOption = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Default: the student that the gates were asked of."),
]
RETRAIN = 3  # exit code

ROI_HELP = """Say what a student saves, and when it has paid for its making.

Debate, student and hybrid are compared a thousand queries by a price list: prices of tokens
(prices.output, prices.prompt, prices.cached: US dollars a million) or the time of GPUs
(prices.gpu_hour, gpus_per_engine). The investment is what generating and training of the run cost,
at the same prices. Every assumption is printed.

Examples:

  agentark roi runs/demo --queries-per-day 20000 --investment 40 \
prices.output=0.6 prices.prompt=0.15 prices.cached=0.08

  agentark roi runs/gsm8k --queries-per-day 1e6 --growth 0.1 --redistil-days 90 prices.gpu_hour=2.5
"""

RETRAIN_HELP = """Say from monitoring data whether the student must be made anew.

Triggers (`retrain.*` of the config): accuracy on canary requests, share of requests that fell back
to the debate, drift of the questions (population stability index of lengths and counts), age.
The data are what serving records: Parquet or JSON lines, one record a request
(agentark_ray/monitoring.py). Only records of this student count, since it was made; without any
there is no answer, unless its age fires.

Exit codes: 0 no need, 3 a trigger fired, 1 a failure, 2 something to mend.

Examples:

  agentark retrain-check runs/demo --monitoring logs/

  agentark retrain-check runs/demo --monitoring logs/ retrain.max_age_days=30 --json
"""

CHECKLIST_HELP = """Show the checklist of a pilot, filled from what a run folder contains.

Example: agentark checklist runs/demo
"""


def roi(
    run: RunFolderArgument,
    queries_per_day: Annotated[float, typer.Option(min=1e-9, help="Today's traffic.")],
    overrides: Overrides = None,
    growth: Annotated[
        float, typer.Option(min=-0.99, help="Of the traffic a month; 0.1 is 10 %.")
    ] = 0.0,
    redistil_days: Annotated[
        float | None, typer.Option(min=1, help="A new student every so many days.")
    ] = None,
    redistil_usd: Annotated[
        float | None, typer.Option(min=0, help="Of a new student. Default: as the first one.")
    ] = None,
    investment: Annotated[
        float | None, typer.Option(min=0, help="USD. Default: generation and training of the run.")
    ] = None,
    fallback_rate: Annotated[
        float | None, typer.Option(min=0, max=1, help="Of the hybrid; without it none is shown.")
    ] = None,
    tokens_per_s: Annotated[
        float | None, typer.Option(min=1e-9, help="Of one engine. Default: as measured.")
    ] = None,
    student_tokens_per_s: Annotated[
        float | None, typer.Option(min=1e-9, help="Default: of `agentark load`, else the debate's.")
    ] = None,
    student: StudentOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Return on investment."""
    with clear_errors():
        from dataclasses import asdict
        from datetime import datetime

        from agentark_ray.run_folder import RunFolder
        from agentark_ray.students import config_with
        from agentark_ray.upkeep import run_roi

        folder = RunFolder(run)
        config = config_with(folder, overrides or [])
        found = run_roi(
            folder,
            config,
            student=student,
            queries_per_day=queries_per_day,
            growth=growth,
            redistil_days=redistil_days,
            start=datetime.now(UTC).date(),
            fallback_rate=fallback_rate,
            investment_usd=investment,
            redistil_usd=redistil_usd,
            tokens_per_s=tokens_per_s,
            student_tokens_per_s=student_tokens_per_s,
        )
        if as_json:
            print_json(asdict(found))
        else:
            _show_roi(found)


def _show_roi(found: "Roi") -> None:
    from rich.text import Text

    console = stdout()
    costs = _table("", "USD a 1,000", "USD a day", "saved", "accuracy")
    for one in found.options:
        costs.add_row(
            one.name,
            f"{one.usd_per_1000:,.4g}",
            f"{one.usd_per_day:,.2f}",
            "-" if one.saved is None else f"{one.saved:.1%}",
            "-" if one.accuracy is None else f"{one.accuracy:.1%}",
        )
    console.print(costs)
    paid = _table(f"invested {found.investment_usd:,.2f} USD", "queries", "days", "on", "1st year")
    for one in found.break_even:
        paid.add_row(
            f"{one.name} breaks even",
            "never" if one.queries is None else f"{one.queries:,}",
            "never" if one.days is None else f"{one.days:,}",
            one.date or "-",
            f"{one.first_year_usd:,.2f} USD",
        )
    console.print(paid)
    for text in found.assumptions:
        console.print(Text(f"- {text}"))


def _table(first: str, *names: str) -> "Table":
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 1, 0), header_style="dim")
    table.add_column(first)
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def retrain_check(
    run: RunFolderArgument,
    monitoring: Annotated[
        str, typer.Option(metavar="PATH", help="A file or folder of .parquet or .jsonl.")
    ],
    overrides: Overrides = None,
    student: StudentOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Evaluate the triggers."""
    with clear_errors():
        from dataclasses import asdict
        from datetime import datetime

        from agentark_ray.evaluate.retrain import fired, monitored, told, triggers
        from agentark_ray.monitoring import read_requests
        from agentark_ray.run_folder import RunFolder
        from agentark_ray.students import config_with
        from agentark_ray.upkeep import reference

        folder = RunFolder(run)
        config = config_with(folder, overrides or [])
        known = reference(folder, student)
        sums = monitored(read_requests(monitoring), known)
        found = triggers(config.retrain, known, sums, datetime.now(UTC))
        retrain = fired(found)
        if as_json:
            rows = [asdict(one) for one in found]
            left_out = {name: getattr(sums, name) for name in ("unjudged", "before", "others")}
            records = {"live": sums.live, "canaries": sums.canaries, "left_out": left_out}
            head = {"retrain": retrain, "student": known.student, "made": known.made.isoformat()}
            print_json({**head, "records": records, "triggers": rows})
        else:
            words = "Make a new student." if retrain else "No need for a new student."
            _show_rows(words, [(one.name, one.state.value, one.reason) for one in found])
            stdout().print(f"{told(sums, known)}.", highlight=False, markup=False)
    if retrain:
        raise typer.Exit(RETRAIN)


def checklist(run: RunFolderArgument, as_json: JsonFlag = False) -> None:
    """Show the checklist."""
    with clear_errors():
        from dataclasses import asdict

        from agentark_ray.config import ConfigError
        from agentark_ray.evaluate.checklist import checklist as filled
        from agentark_ray.run_folder import RunFolder

        folder = RunFolder(run)
        if not folder.exists("manifest.json"):
            raise ConfigError(f"{run}: no run folder (manifest.json is missing)")
        items = filled(folder)
        if as_json:
            print_json({"items": [asdict(one) for one in items]})
        else:
            done = sum(one.state.value == "done" for one in items)
            rows = [(one.item, one.state.value, one.evidence) for one in items]
            _show_rows(f"{done} of {len(items)} done", rows)


COLOURS = {"done": "green", "quiet": "green", "fired": "bold red", "missing": "red"}


def _show_rows(title: str, rows: "Sequence[tuple[str, str, str]]") -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, state, words in rows:
        table.add_row(name, Text(state, style=COLOURS.get(state, "yellow")), Text(words))
    console = stdout()
    console.print(Text(title, style="bold"))
    console.print(table)
