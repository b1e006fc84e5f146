"""`agentark distill` and `agentark evaluate`: further students of a run, and all compared."""

from typing import TYPE_CHECKING, Annotated

import typer

from agentark_ray.cli_base import (
    GateFlag,
    JsonFlag,
    Overrides,
    RunFolderArgument,
    clear_errors,
    exit_by,
    print_json,
    show_summary,
    stdout,
)
from agentark_ray.config import ConfigError
from agentark_ray.strategy import STRATEGIES

if TYPE_CHECKING:
    from agentark_ray.students import Record

DISTILL_HELP = """Train one more student from the debates of a run folder.

The debates are not held again: students of all strategies learn from the same. Of the run's config
only distill.* and train.* may differ, and where and how fast it happens. A student's settings and
figures are in RUN/students/NAME.json. The same command again continues where it stopped.

Examples:

  agentark distill runs/demo --strategy da

  agentark distill runs/demo --strategy da --name da-wide distill.trajectories=6 train.epochs=3

  agentark distill runs/demo --strategy pad --from rsft

  agentark distill runs/demo --strategy rft --json      # the control

  agentark evaluate runs/demo
"""


def distill(
    run: RunFolderArgument,
    overrides: Overrides = None,
    strategy: Annotated[
        str | None,
        typer.Option(help=f"{', '.join(STRATEGIES)}; by default the one of the run's config."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Of the student; by default its strategy, after --from.")
    ] = None,
    parent: Annotated[
        str | None,
        typer.Option("--from", metavar="NAME", help="A student of the run to start from."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Train one more student."""
    with clear_errors():
        if strategy is not None and strategy not in STRATEGIES:
            raise ConfigError(f"--strategy {strategy}: expected one of {', '.join(STRATEGIES)}")
        from rich.console import Console

        from agentark_ray.distillation import distill as distil
        from agentark_ray.run_folder import RunFolder

        folder = RunFolder(run)
        record = distil(folder, overrides or [], strategy, name, parent, Console(stderr=True))
        path = folder.path("students", record["name"])
        if as_json:
            print_json({"path": path, **record})
        else:
            _show(path, record)


def _show(path: str, record: "Record") -> None:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for stage, figures in record["stages"].items():
        for key, value in figures.items():
            if key not in ("attempts", "actor_seconds"):
                table.add_row(stage, key, str(value))
                stage = ""
    console = stdout()
    console.print(table)
    console.print(f"student: {path}", highlight=False, soft_wrap=True)


EVALUATE_HELP = """Let all arms and all students of a run folder answer the held-out questions.

What was answered before is not answered again. The gates, and so the decision, are those of the
run's own student, or of --student. Writes eval/summary.json, report.html and the model cards.
evaluate.* may differ from the run's config: more arms, more samples, changed questions. So may
gates.*: the decision is made anew from the same answers, and says which gates are not the run's.

Examples:

  agentark evaluate runs/demo

  agentark evaluate runs/demo --student da --json

  agentark evaluate runs/demo --regrade

  agentark evaluate runs/demo evaluate.samples=3

  agentark evaluate runs/demo gates.p95_ms=500

  agentark evaluate runs/demo \
'evaluate.endpoints.big={endpoint: "http://host:8000/v1", model: Qwen/Qwen3-32B, api_key_env: KEY}'

  agentark evaluate runs/demo --gate || echo "not adopted: exit code $?"

Exit codes with --gate: 0 adopt, 3 hybridize, 4 continue. Always: 1 a failure, 2 something to mend.
"""


def evaluate(
    run: RunFolderArgument,
    overrides: Overrides = None,
    student: Annotated[
        str | None, typer.Option(metavar="NAME", help="The student to decide on.")
    ] = None,
    regrade: Annotated[
        bool,
        typer.Option("--regrade", help="Grade the stored answers again, by the graders as now."),
    ] = False,
    gate: GateFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Compare all students."""
    with clear_errors():
        from rich.console import Console

        from agentark_ray.pipeline import evaluate_again
        from agentark_ray.run_folder import RunFolder

        console = Console(stderr=True)
        done = evaluate_again(RunFolder(run), overrides or [], student, console, regrade)
        summary = done.summary()
        show_summary(summary, done.folder.path("report.html"), as_json)
    if gate:
        exit_by(summary["decision"])
