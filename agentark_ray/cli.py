"""`agentark`: the command line. Parses and validates first, imports the heavy packages after."""

import typer

from agentark_ray import (
    cli_cluster,
    cli_compact,
    cli_distill,
    cli_label,
    cli_load,
    cli_local,
    cli_plan,
    cli_recommend,
    cli_report,
    cli_serve,
    cli_traces,
    cli_upkeep,
)
from agentark_ray.cli_base import (
    ConfigArgument,
    JsonFlag,
    Overrides,
    clear_errors,
    run_stages,
    show_summary,
)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Distil a debate of language models into one model, on Ray.",
)

RUN_HELP = """Debate, distil, evaluate and report, in one run folder.

Running the same command again continues where it stopped. Values of the config can be replaced by
`section.key=value`.

Examples:

  agentark run jobs/configs/demo.yaml

  agentark run jobs/configs/demo.yaml debate.agents=7 output=runs/seven

  agentark run jobs/configs/gsm8k.yaml tasks.path=data/gsm8k model=Qwen/Qwen3-0.6B gpus_per_engine=1
"""


@app.command(help=RUN_HELP)
def run(
    config: ConfigArgument,
    overrides: Overrides = None,
    as_json: JsonFlag = False,
) -> None:
    """Run every stage that is not done yet."""
    with clear_errors():
        done = run_stages(config, overrides)
        show_summary(done.summary(), done.folder.path("report.html"), as_json)


@app.command()
def doctor(as_json: JsonFlag = False) -> None:
    """Check this machine: versions, accelerator, memory, and how to mend what is missing.

    Exits with 1 if the main job cannot run.
    """
    from agentark_ray import doctor as checks

    raise typer.Exit(checks.run(as_json))


cli_traces.app.command(help=cli_label.LABEL_HELP)(cli_label.label)
cli_traces.app.command(help=cli_compact.COMPACT_HELP)(cli_compact.compact)
cli_traces.app.command(help=cli_recommend.RECOMMEND_HELP)(cli_recommend.recommend)
app.command(help=cli_distill.DISTILL_HELP)(cli_distill.distill)
app.command(help=cli_distill.EVALUATE_HELP)(cli_distill.evaluate)
app.add_typer(cli_traces.app, name="traces")
cli_cluster.app.command(help=cli_local.LOCAL_HELP)(cli_local.local)
app.add_typer(cli_cluster.app, name="cluster")
app.command(help=cli_load.LOAD_HELP)(cli_load.load)
app.command(help=cli_plan.PLAN_HELP)(cli_plan.plan)
app.command(help=cli_serve.SERVE_HELP)(cli_serve.serve)
app.command(help=cli_serve.KEY_HELP)(cli_serve.serve_key)
app.command(help=cli_serve.CALIBRATE_HELP)(cli_serve.calibrate)
app.command(help=cli_report.REPORT_HELP)(cli_report.report)
app.command(help=cli_upkeep.ROI_HELP)(cli_upkeep.roi)
app.command(help=cli_upkeep.RETRAIN_HELP)(cli_upkeep.retrain_check)
app.command(help=cli_upkeep.CHECKLIST_HELP)(cli_upkeep.checklist)


def main() -> None:
    """Entry point of the console script."""
    app()


if __name__ == "__main__":
    main()
