"""`agentark plan`: what generating traces would cost."""

from typing import TYPE_CHECKING, Annotated

import typer

from agentark_ray.cli_base import (
    ConfigArgument,
    JsonFlag,
    Overrides,
    clear_errors,
    print_json,
    stdout,
)
from agentark_ray.config import ConfigError, load_config

if TYPE_CHECKING:
    from agentark_ray.plan import Estimate, Measured

PLAN_HELP = """Estimate GPU-hours, days, money and storage of generating traces.

Figures come from a run that was measured (--from) or are stated; what is stated goes first. Every
assumption is printed. CONFIG says how many GPUs an engine has (gpus_per_engine).

Examples:

  agentark plan jobs/configs/demo.yaml --from runs/demo --questions 342000

  agentark plan jobs/configs/gsm8k.yaml gpus_per_engine=1 --questions 342000 --gpus 64 \
--tokens-per-s 9000 --output-tokens-per-debate 2500 --gpu-hour-price 2.5
"""


def plan(
    config: ConfigArgument,
    overrides: Overrides = None,
    questions: Annotated[
        int | None, typer.Option(min=1, help="Default: the config's tasks.train_questions.")
    ] = None,
    from_run: Annotated[
        str | None, typer.Option("--from", metavar="RUN", help="A run folder to measure from.")
    ] = None,
    tokens_per_s: Annotated[
        float | None, typer.Option(min=1e-9, help="Output tokens a second of one engine.")
    ] = None,
    output_tokens_per_debate: Annotated[
        float | None, typer.Option(min=1e-9, help="Output tokens of all agents and rounds.")
    ] = None,
    bytes_per_debate: Annotated[
        float | None, typer.Option(min=0, help="On disk, compressed.")
    ] = None,
    gpus: Annotated[
        int | None, typer.Option(min=1, help="Default: engine.actors times gpus_per_engine.")
    ] = None,
    gpu_hour_price: Annotated[
        float | None, typer.Option(min=0, help="USD. Default: the config's prices.gpu_hour.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Estimate what generating traces will cost."""
    with clear_errors():
        from agentark_ray.plan import Stated, estimate

        stated = Stated(
            questions=questions,
            tokens_per_s=tokens_per_s,
            output_tokens_per_debate=output_tokens_per_debate,
            bytes_per_debate=bytes_per_debate,
            gpus=gpus,
            gpu_hour_price=gpu_hour_price,
        )
        run = None if from_run is None else _measured(from_run)
        _show_plan(estimate(load_config(config, overrides or []), stated, run), as_json)


def _measured(uri: str) -> "Measured":
    from agentark_ray.plan import measured
    from agentark_ray.run_folder import RunFolder
    from agentark_ray.traces.read import read_manifest

    manifest = read_manifest(uri)
    if manifest is None:
        raise ConfigError(f"--from {uri}: no run folder (manifest.json is missing)")
    return measured(uri, manifest, RunFolder(uri).size("traces"))


def _show_plan(found: "Estimate", as_json: bool) -> None:
    if as_json:
        from dataclasses import asdict

        print_json(asdict(found))
        return
    from rich.table import Table
    from rich.text import Text

    from agentark_ray.plan import lines

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, value in lines(found):
        table.add_row(Text(name, style="dim"), Text(value))
    console = stdout()
    console.print(table)
    console.print(Text("\nassumed", style="bold"))
    for text in found.assumptions:
        console.print(Text(f"- {text}"))
    for text in found.warnings:
        console.print(Text(f"! {text}", style="yellow"))
