"""`agentark`: the command line. Parses and validates first, imports the heavy packages after."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, NoReturn

import typer

from agentark_ray.config import ConfigError, load_config
from agentark_ray.tasks.base import TaskError

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
JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]


@app.command(help=RUN_HELP)
def run(
    config: Annotated[str, typer.Argument(metavar="CONFIG", help="A YAML file.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Values to replace.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Run every stage that is not done yet."""
    with clear_errors():
        loaded = load_config(config, overrides or [])
        from rich.console import Console

        from agentark_ray.pipeline import Run

        run_ = Run(loaded, Console(stderr=True))
        summary = run_.execute()
        _show(summary, run_.folder.path("report.html"), as_json)


@app.command()
def report(
    folder: Annotated[str, typer.Argument(metavar="RUN", help="A run folder.")],
    as_json: JsonFlag = False,
) -> None:
    """Write report.html of a finished run again and show its result.

    Example: agentark report runs/demo
    """
    with clear_errors():
        from agentark_ray.pipeline import SUMMARY, write_report
        from agentark_ray.run_folder import RunFolder

        run_folder = RunFolder(folder)
        if not run_folder.exists(*SUMMARY):
            raise ConfigError(f"{folder}: no evaluated run ({'/'.join(SUMMARY)} is missing)")
        write_report(run_folder)
        summary = run_folder.read_json(*SUMMARY)
        _show(summary, run_folder.path("report.html"), as_json)


@app.command()
def doctor(as_json: JsonFlag = False) -> None:
    """Check this machine: versions, accelerator, memory, and how to mend what is missing.

    Exits with 1 if the main job cannot run.
    """
    from agentark_ray import doctor as checks

    raise typer.Exit(checks.run(as_json))


def _show(summary: dict[str, Any], report_path: str, as_json: bool) -> None:
    if as_json:
        import json

        print(json.dumps(summary))
        return
    from rich.console import Console

    from agentark_ray.evaluate.table import render_table

    console = Console(width=None if sys.stdout.isatty() else 100)
    console.print(render_table(summary))
    console.print(f"report: {report_path}", highlight=False, soft_wrap=True)


@contextmanager
def clear_errors() -> Iterator[None]:
    """Errors a user can mend become one line and exit code 2; a stop becomes 130."""
    try:
        yield
    except KeyboardInterrupt:
        print("\nStopped. Run the same command again to continue.", file=sys.stderr)
        raise typer.Exit(130) from None
    except (ConfigError, TaskError) as error:
        print(f"error: {_root_cause(error)}", file=sys.stderr)
        raise typer.Exit(2) from None
    except OSError as error:
        _failed(error)
    except Exception as error:
        if not type(error).__module__.startswith(("ray.", "agentark_ray.")):
            raise
        _failed(error)


def _failed(error: Exception) -> NoReturn:
    """What stopped a run, without the stack of every process it went through."""
    cause = _root_cause(error)
    print(f"error: {type(cause).__name__}: {cause}", file=sys.stderr)
    print(
        "Nothing that was written is lost: mend it and run the same command again."
        " Logs of the workers: /tmp/ray/session_latest/logs",
        file=sys.stderr,
    )
    raise typer.Exit(1) from None


def _root_cause(error: BaseException) -> BaseException:
    """The exception a worker raised, below what Ray Data, Ray Train and Ray wrapped it into."""
    failures = getattr(error, "worker_failures", None)
    inner = next(iter(failures.values())) if failures else None
    inner = inner or getattr(error, "cause", None) or error.__cause__
    return _root_cause(inner) if isinstance(inner, BaseException) else error


def main() -> None:
    """Entry point of the console script."""
    app()


if __name__ == "__main__":
    main()
