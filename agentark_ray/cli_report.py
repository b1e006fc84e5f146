"""`agentark report`."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentark_ray.cli_base import (
    GateFlag,
    JsonFlag,
    clear_errors,
    exit_by,
    print_json,
    show_summary,
    stdout,
)
from agentark_ray.config import ConfigError

if TYPE_CHECKING:
    from agentark_ray.reporting import Written

OVERRIDE = re.compile(r"[a-z_]+(\.[A-Za-z0-9_-]+)*=")
FORMATS = ("html", "md", "json")

REPORT_HELP = """Write the report of an evaluated run, or compare several, and show the result.

One run: report.html, report.md and report.json in its folder. Several: comparison.* in the folder
of the first, to which the others are compared on the questions they have in common. The page needs
no network. What is in run folders is read; nothing is generated.

Examples:

  agentark report runs/demo

  agentark report runs/demo runs/seven --out runs/both --format html --format md

  agentark report runs/demo --queries-per-day 20000 --investment 40 \
prices.output=0.6 prices.prompt=0.15 prices.cached=0.08

Exit codes with --gate, by the stored decision of the last run: 0 adopt, 3 hybridize, 4 continue.
"""


def report(
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN... [KEY=VALUE]...", help="Run folders; prices to replace."),
    ],
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", metavar="FORMAT", help="html, md or json. Default: all three."),
    ] = None,
    out: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Where report.* is written instead.")
    ] = None,
    max_mb: Annotated[
        float,
        typer.Option(min=1, help="Of the page: transcripts that do not fit are left out of it."),
    ] = 14.0,
    queries_per_day: Annotated[
        float | None, typer.Option(min=1e-9, help="Traffic, for days and dates of the return.")
    ] = None,
    growth: Annotated[float, typer.Option(min=-0.99, help="Of the traffic a month.")] = 0.0,
    redistil_days: Annotated[
        float | None, typer.Option(min=1, help="A new student every so many days.")
    ] = None,
    fallback_rate: Annotated[
        float | None, typer.Option(min=0, max=1, help="Of the hybrid in the return.")
    ] = None,
    investment: Annotated[
        float | None, typer.Option(min=0, help="USD. Default: generation and training of the run.")
    ] = None,
    monitoring: Annotated[
        str | None, typer.Option(metavar="PATH", help="Monitoring data, for retrain triggers.")
    ] = None,
    gate: GateFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Write a report."""
    with clear_errors():
        folders, overrides = folders_and_overrides(runs)
        if unknown := set(formats or ()) - set(FORMATS):
            raise ConfigError(f"--format {min(unknown)}: expected one of {', '.join(FORMATS)}")
        from agentark_ray.report_source import Asked
        from agentark_ray.reporting import Format, Output, write_reports
        from agentark_ray.run_folder import RunFolder
        from agentark_ray.upkeep import evaluated

        found = [RunFolder(folder) for folder in folders]
        asked = Asked(
            overrides=overrides,
            queries_per_day=queries_per_day,
            growth=growth,
            redistil_days=redistil_days,
            fallback_rate=fallback_rate,
            investment_usd=investment,
            monitoring=monitoring,
        )
        chosen = [Format(name) for name in formats or FORMATS]
        written = write_reports(found, asked, Output(formats=chosen, max_mb=max_mb, folder=out))
        summaries = [evaluated(folder) for folder in found]
        _show(summaries, written, as_json)
    if gate:
        exit_by(summaries[-1]["decision"])


def folders_and_overrides(texts: Sequence[str]) -> tuple[list[str], list[str]]:
    """Run folders, and KEY=VALUE.

    Raises:
        ConfigError: there is no folder, or one twice.
    """
    folders = [text for text in texts if not OVERRIDE.match(text)]
    if not folders:
        raise ConfigError("no RUN: give one run folder or more")
    if len(folders) != len(set(folders)):
        raise ConfigError(f"a run is given twice: {' '.join(folders)}")
    return folders, [text for text in texts if OVERRIDE.match(text)]


def _show(summaries: Sequence[dict[str, Any]], written: "Written", as_json: bool) -> None:
    path = next(iter(written.paths.values()))
    if len(summaries) == 1:
        show_summary(summaries[0], path, as_json)
    elif as_json:
        print_json({"runs": summaries})
    else:
        console = stdout()
        for line in (*written.told, f"report: {path}"):
            console.print(line, highlight=False, soft_wrap=True)
