"""`agentark traces recommend`: which strategy stored debates are good for."""

from collections import Counter
from typing import Annotated, Any

import typer

from agentark_ray.cli_base import JsonFlag, RunArgument, clear_errors, print_json, stdout
from agentark_ray.cli_rows import LabelsOption, counted, progress, stored_rows
from agentark_ray.config import ConfigError

RECOMMEND_HELP = """Say which strategy (RSFT, DA or PAD) stored debates are good for, and why.

Many solved questions with corrected solutions of several steps are for PAD, with second solutions
or corrections for DA, and all else for RSFT. A trained run has the same in its report. Nothing is
changed; memory does not grow with the number of debates.

Examples:

  agentark traces recommend runs/demo

  agentark traces recommend s3://bucket/debates --labels math-1 --json
"""
BATCH_ROWS = 200  # texts are read
FIGURES = {
    "questions": "questions",
    "solved": "with a right solution",
    "median_steps": "steps of a right solution, median",
    "different": "different right solutions of such a question",
    "corrected": "agents that were wrong and then right",
    "step_level": "questions with such an agent and several steps",
}


def recommend(
    run: RunArgument,
    arm: Annotated[str, typer.Option(help="Whose debates count.")] = "debate",
    labels: LabelsOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Recommend a strategy."""
    with clear_errors():
        found = _recommendation(run, arm, labels)
        if as_json:
            print_json(found)
            return
        from rich.table import Table
        from rich.text import Text

        from agentark_ray.page.form import number

        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        for name, words in FIGURES.items():
            table.add_row(Text(words, style="dim"), Text(number(found["figures"][name])))
        console = stdout()
        console.print(Text.assemble((found["strategy"], "bold"), f"  {found['reason']}"))
        console.print(table)


def _recommendation(run: str, arm: str, labels: str | None) -> dict[str, Any]:
    from agentark_ray.distill.card import count_debates, figures
    from agentark_ray.distill.facts import COLUMNS
    from agentark_ray.distill.recommend import recommend
    from agentark_ray.distill.record import debates_row_of
    from agentark_ray.traces.read import open_traces, readable

    with readable(run):
        traces = open_traces(run)
        counts: Counter[str] = Counter()
        with progress("reading debates", traces, counts):
            rows = counted(stored_rows(run, traces, labels, COLUMNS, BATCH_ROWS), counts)
            wanted = (row for row in rows if row["kind"] == "main" and row["arm"] == arm)
            found = figures(count_debates(map(debates_row_of, wanted)))
    if not found.questions:
        raise ConfigError(f"{run}: there are no debates of arm {arm} and kind main")
    return recommend(found).to_json()
