"""`agentark traces label`: grade stored debates again."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from agentark_ray.cli_base import JsonFlag, RunArgument, clear_errors, print_json, stdout

if TYPE_CHECKING:
    from rich.console import Console

LABEL_HELP = """Grade every turn, vote and final answer of stored debates again, as a new version.

Nothing is generated. The labels lie beside the traces, in RUN/labels/NAME: one row a debate, and a
manifest with what decided them and how they differ from the verdicts in the traces. The same
command again continues where it stopped.

Examples:

  agentark traces label runs/demo

  agentark traces label runs/demo --grader math --name math-1

  agentark traces label s3://bucket/debates --aggregate vote --json

  agentark traces stats runs/demo --labels math-1
"""


def label(
    run: RunArgument,
    name: Annotated[
        str | None, typer.Option(help="The version; by default named by what decides it.")
    ] = None,
    grader: Annotated[
        str | None, typer.Option(help="Of all debates, instead of each task's own.")
    ] = None,
    aggregate: Annotated[
        Literal["vote", "vote_all_rounds", "weighted_vote"] | None,
        typer.Option(help="How votes become one answer; by default as the run's manifest says."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Grade stored debates again."""
    with clear_errors():
        from rich.console import Console

        from agentark_ray.labelling import Labelling, Settings

        settings = Settings(name=name, grader=grader, aggregate=aggregate)
        labelling = Labelling(run, settings, Console(stderr=True))
        manifest = labelling.execute()
        if as_json:
            print_json({"path": labelling.store.uri, **manifest})
            return
        _show(stdout(), labelling.store.uri, manifest["figures"])


def _show(console: "Console", path: str, figures: dict[str, Any]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("verdict")
    table.add_column("turns", justify="right")
    table.add_column("final answers", justify="right")
    for verdict in sorted(figures["verdicts"].keys() | figures["final_verdicts"].keys()):
        counts = (figures[column].get(verdict, 0) for column in ("verdicts", "final_verdicts"))
        table.add_row(verdict, *(f"{count:,}" for count in counts))
    console.print(table)
    changed = {**figures["changed"]}
    told = ", ".join(f"{count:,} {what}" for what, count in changed.items()) or "none"
    console.print(Text(f"\nturns that changed: {told}"))
    if figures["failed"]:
        console.print(Text(f"debates that could not be labelled: {figures['failed']:,}"))
    console.print(Text(f"labels: {path} ({figures['debates']:,} debates)"), soft_wrap=True)
