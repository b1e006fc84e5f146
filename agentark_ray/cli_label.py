"""`agentark traces label`: grade stored debates again."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from agentark_ray.cli_base import (
    JsonFlag,
    Overrides,
    RunArgument,
    clear_errors,
    print_json,
    stdout,
)
from agentark_ray.config import Config, ConfigError, load_config, parse_config

if TYPE_CHECKING:
    from rich.console import Console

    from agentark_ray.traces.label_judge import Judge

LABEL_HELP = """Grade every turn, vote and final answer of stored debates again, as a new version.

Nothing is generated. The labels lie beside the traces, in RUN/labels/NAME: one row a debate, and a
manifest with what decided them and how they differ from the verdicts in the traces. The same
command again continues where it stopped.

Examples:

  agentark traces label runs/demo

  agentark traces label runs/demo --grader math --name math-1

  agentark traces label s3://bucket/debates --aggregate vote --json

  agentark traces stats runs/demo --labels math-1

A judge model decides where there is no right answer to compare with. With --judge-turns all it also
judges what the grader decides, and the manifest says how the two agree:

  agentark traces label runs/qmsum --judge Qwen/Qwen3-4B --too-long window gpus_per_engine=1 \
engine.max_model_len=16384

  agentark traces label runs/gsm8k --judge gpt-oss-20b --endpoint http://host:8000/v1 --votes 3 \
--judge-turns all
"""
# What a labelling takes from a config; the rest of it is about runs.
KEYS = ("engine.", "gpus_per_engine=", "seed=")


def label(
    run: RunArgument,
    overrides: Overrides = None,
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
    judge: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Judges what no grader decides.")
    ] = None,
    endpoint: Annotated[
        str | None, typer.Option(metavar="URL", help="Of a server that has the judge.")
    ] = None,
    api_key_env: Annotated[
        str | None, typer.Option(metavar="VARIABLE", help="That holds the endpoint's key.")
    ] = None,
    votes: Annotated[
        int | None, typer.Option(min=1, max=99, help="Of the judge a solution; 1 by default.")
    ] = None,
    judge_turns: Annotated[
        Literal["ungraded", "all"] | None,
        typer.Option(help="Turns to judge; by default those without a right answer to compare."),
    ] = None,
    too_long: Annotated[
        Literal["fail", "window"] | None,
        typer.Option(help="A prompt that does not fit: no verdict, or read without its middle."),
    ] = None,
    reference: Annotated[
        bool | None,
        typer.Option("--reference/--no-reference", help="Show the judge the right answer, if any."),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Whose engine settings the judge gets; KEY=VALUE too."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Grade stored debates again."""
    with clear_errors():
        chosen = {
            "votes": votes,
            "scope": judge_turns,
            "too_long": too_long,
            "reference": reference,
        }
        loaded = _config(config, overrides or [])
        from rich.console import Console

        from agentark_ray.labelling import Labelling, Settings

        settings = Settings(
            name=name,
            grader=grader,
            aggregate=aggregate,
            judge=_judge(judge, endpoint, api_key_env, chosen),
            config=loaded,
        )
        labelling = Labelling(run, settings, Console(stderr=True))
        manifest = labelling.execute()
        if as_json:
            print_json({"path": labelling.store.uri, **manifest})
            return
        _show(stdout(), labelling.store.uri, manifest["figures"])


def _config(path: Path | None, overrides: list[str]) -> Config:
    for override in overrides:
        if not override.startswith(KEYS):
            raise ConfigError(
                f"{override}: labels depend on engine.*, gpus_per_engine and seed only"
            )
    if path is None:
        return parse_config({}, overrides, "KEY=VALUE")
    return load_config(path, overrides)


def _judge(
    model: str | None, endpoint: str | None, api_key_env: str | None, chosen: dict[str, Any]
) -> "Judge | None":
    given = {name: value for name, value in chosen.items() if value is not None}
    if model is None:
        if given or endpoint or api_key_env:
            raise ConfigError("options of a judge need --judge MODEL")
        return None
    if endpoint is not None and not endpoint.startswith(("http://", "https://")):
        raise ConfigError(f"--endpoint {endpoint}: expected a URL, e.g. http://host:8000/v1")
    from agentark_ray.traces.label_judge import Judge
    from agentark_ray.types import ModelRef

    return Judge(model=ModelRef(name=model, endpoint=endpoint, api_key_env=api_key_env), **given)


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
    if figures["judge"]:
        _show_judge(console, figures["judge"])
    if figures["failed"]:
        console.print(Text(f"debates that could not be labelled: {figures['failed']:,}"))
    console.print(Text(f"labels: {path} ({figures['debates']:,} debates)"), soft_wrap=True)


def _show_judge(console: "Console", judge: dict[str, Any]) -> None:
    from rich.table import Table
    from rich.text import Text

    counts = ", ".join(f"{judge[name]:,} {name}" for name in ("judged", "cut", "failed"))
    console.print(Text(f"turns the judge was asked about: {counts}"))
    agreement = judge["agreement"]
    if not agreement["compared"]:
        return
    kappa = "unknown" if agreement["kappa"] is None else f"{agreement['kappa']:.3f}"
    console.print(
        Text(
            f"judge and grader agree on {agreement['accuracy']:.1%} of {agreement['compared']:,}"
            f" turns (Cohen's kappa {kappa})"
        )
    )
    said = sorted({name for row in agreement["confusion"].values() for name in row})
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("grader \\ judge")
    for name in said:
        table.add_column(name, justify="right")
    for graded, row in agreement["confusion"].items():
        table.add_row(graded, *(f"{row.get(name, 0):,}" for name in said))
    console.print(table)
