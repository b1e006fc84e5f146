"""`agentark traces ...`: generate debates, look at them, count them, export them."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from agentark_ray.cli_base import (
    ConfigArgument,
    JsonFlag,
    Overrides,
    RunArgument,
    clear_errors,
    print_json,
    run_stages,
    stdout,
)
from agentark_ray.cli_rows import LabelsOption, counted, progress, stored_rows
from agentark_ray.config import ConfigError

if TYPE_CHECKING:
    from agentark_ray.prices import TokenPrices
    from agentark_ray.traces.stats import Tally

app = typer.Typer(
    no_args_is_help=True, help="Generate debates, look at them, count them, export them."
)

GENERATE_HELP = """Debate the training questions of a config; nothing is trained or evaluated.

Running the same command again continues where it stopped. `agentark run` with the same config and
output goes on from there.

Examples:

  agentark traces generate jobs/configs/gsm8k.yaml tasks.path=data/gsm8k output=runs/gsm8k

  agentark traces generate jobs/configs/gsm8k.yaml tasks.path=s3://b/q.parquet output=s3://b/runs/q
"""


@app.command(help=GENERATE_HELP)
def generate(
    config: ConfigArgument,
    overrides: Overrides = None,
    as_json: JsonFlag = False,
) -> None:
    """Generate traces."""
    with clear_errors():
        run = run_stages(config, overrides, ["questions", "generate"])
        figures = run.finished("generate")
        if as_json:
            print_json(figures)
        else:
            print(f"traces: {run.folder.path('traces')} ({figures['rows']:,} debates)")


SHOW_HELP = """Show one debate, turn by turn; without a choice, the first.

Examples:

  agentark traces show runs/demo

  agentark traces show runs/demo 3e22acbbb728fba6 --prompts

  agentark traces show runs/demo --question "how many cups" --json

  agentark traces show s3://bucket/runs/big/traces --index 41
"""


@app.command(help=SHOW_HELP)
def show(
    run: RunArgument,
    debate_id: Annotated[str | None, typer.Argument(metavar="[DEBATE_ID]")] = None,
    question: Annotated[
        str | None, typer.Option(help="The first debate on a question that contains this text.")
    ] = None,
    index: Annotated[int | None, typer.Option(min=0, help="A debate's place, from 0.")] = None,
    prompts: Annotated[
        bool, typer.Option("--prompts", help="Also show what every agent was given.")
    ] = False,
    labels: LabelsOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Show one debate."""
    with clear_errors():
        if sum(choice is not None for choice in (debate_id, question, index)) > 1:
            raise ConfigError("choose a debate by one of DEBATE_ID, --question and --index")
        from agentark_ray.traces import show as shows
        from agentark_ray.traces.read import open_traces, readable

        with readable(run):
            traces = open_traces(run)
            if debate_id is not None:
                row = shows.find_by_id(traces, debate_id)
            elif question is not None:
                row = shows.find_by_question(traces, question)
            else:
                row = shows.find_by_index(traces, index or 0)
            if labels is not None:
                from agentark_ray.label_rows import open_labels, trace_folder

                row = open_labels(trace_folder(run), labels).row(row)
        view = shows.debate_view(row, prompts)
        if as_json:
            print_json(view)
            return
        from agentark_ray.traces.terminal import render_debate

        stdout().print(render_debate(view))


STATS_HELP = """Count stored debates: accuracy by round, who changed their mind, tokens, time, cost.

One pass over the figures, without texts; memory does not grow with the number of debates.

Examples:

  agentark traces stats runs/demo

  agentark traces stats runs/demo --json

  agentark traces stats runs/demo --plot stats.html

  agentark traces stats runs/demo --price-output 0.60 --price-prompt 0.15 --price-cached 0.07

  agentark traces stats runs/demo/eval/transcripts/base --arm debate

  agentark traces stats runs/demo --labels math-1
"""


@app.command(help=STATS_HELP)
def stats(
    run: RunArgument,
    arm: Annotated[str | None, typer.Option(help="Needed if the traces are of several.")] = None,
    labels: LabelsOption = None,
    price_output: Annotated[
        float | None,
        typer.Option(min=0, help="USD per million output tokens. Default: the run's config."),
    ] = None,
    price_prompt: Annotated[
        float | None, typer.Option(min=0, help="USD per million prompt tokens not in the cache.")
    ] = None,
    price_cached: Annotated[
        float | None, typer.Option(min=0, help="USD per million prompt tokens from the cache.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Write charts to a file.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Count stored debates."""
    with clear_errors():
        from agentark_ray.traces import stats as statistics

        prices = _prices(run, price_output, price_prompt, price_cached)
        if plot is not None and not plot.parent.is_dir():
            raise ConfigError(f"--plot {plot}: no such folder {plot.parent}")
        tally = _tally(run, arm, labels)
        found = statistics.stats(tally, prices)
        if plot is not None:
            plot.write_text(_charts_page(run, found, tally), encoding="utf-8")
        if as_json:
            print_json(found)
            return
        from agentark_ray.traces.terminal import render_stats

        stdout().print(render_stats(found))


def _prices(
    run: str, output: float | None, prompt: float | None, cached: float | None
) -> "TokenPrices | None":
    """The prices that were stated, else those of the run's config."""
    from agentark_ray.prices import PricesConfig, TokenPrices

    if output is None and prompt is None and cached is None:
        from agentark_ray.traces.read import read_manifest

        config = (read_manifest(run) or {}).get("config", {})
        return PricesConfig.model_validate(config.get("prices", {})).tokens
    if output is None or prompt is None or cached is None:
        raise ConfigError("a cost needs all of --price-output, --price-prompt and --price-cached")
    return TokenPrices(output=output, prompt=prompt, cached=cached)


def _tally(run: str, arm: str | None, labels: str | None) -> "Tally":
    from agentark_ray.debate_rows import BATCH_ROWS
    from agentark_ray.traces.read import open_traces, readable
    from agentark_ray.traces.stats import COLUMNS, tally

    with readable(run):
        traces = open_traces(run)
        counts: Counter[str] = Counter()
        with progress("counting debates", traces, counts):
            return tally(
                counted(stored_rows(run, traces, labels, COLUMNS, BATCH_ROWS), counts), arm
            )


def _charts_page(run: str, found: dict[str, Any], tally: "Tally") -> str:
    from agentark_ray.page.html import charts_page
    from agentark_ray.traces.charts import WALL_BINS, stats_charts
    from agentark_ray.traces.terminal import figures

    charts = stats_charts(found, tally.wall_s.coarse(WALL_BINS))
    return charts_page("Debate statistics", f"Of the traces in {run}.", figures(found), charts)


EXPORT_HELP = """Write turns as chat JSON lines: the prompt, what was said, and where it is from.

By default every agent's last turn, if its answer is right. Debates that failed are left out.

Examples:

  agentark traces export runs/demo right.jsonl

  agentark traces export runs/demo everything.jsonl --only all --turns all --force
"""


@app.command(help=EXPORT_HELP)
def export(
    run: RunArgument,
    out: Annotated[Path, typer.Argument(metavar="OUT.jsonl", help="A local file.")],
    only: Annotated[
        Literal["correct", "all"], typer.Option(help="Turns with a right answer, or all.")
    ] = "correct",
    turns: Annotated[
        Literal["final", "all"],
        typer.Option(help="The last turn of everyone who solves; all has judges' turns too."),
    ] = "final",
    force: Annotated[bool, typer.Option("--force", help="Replace OUT if it exists.")] = False,
    labels: LabelsOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Write turns as chat JSON lines."""
    with clear_errors():
        from agentark_ray.traces.export import BATCH_ROWS, COLUMNS, check_target, write_chat
        from agentark_ray.traces.read import open_traces, readable

        check_target(out, force)
        counts: Counter[str] = Counter()
        with readable(run):
            traces = open_traces(run)
            with progress("exporting debates", traces, counts):
                rows = stored_rows(run, traces, labels, COLUMNS, BATCH_ROWS)
                write_chat(rows, out, only, turns, counts)
        if as_json:
            print_json({"path": str(out), **counts})
        else:
            text = f"{out}: {counts['lines']:,} turns of {counts['debates']:,} debates"
            left_out = f" ({counts['left_out']:,} that failed left out)"
            print(text + (left_out if counts["left_out"] else ""))
