"""What all commands share: arguments, the console, and errors that a user can read."""

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from agentark_ray.config import ConfigError, load_config
from agentark_ray.lost_nodes import root_cause
from agentark_ray.tasks.base import TaskError

if TYPE_CHECKING:
    from rich.console import Console

    from agentark_ray.pipeline import Run

ConfigArgument = Annotated[str, typer.Argument(metavar="CONFIG", help="A YAML file.")]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Values to replace.")
]
RunFolderArgument = Annotated[str, typer.Argument(metavar="RUN", help="A run folder.")]
RunArgument = Annotated[
    str, typer.Argument(metavar="RUN", help="A run folder, or a folder of trace Parquet files.")
]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]
GateFlag = Annotated[
    bool,
    typer.Option(
        "--gate",
        help="For CI: exit with 0 if the decision is adopt, 3 if hybridize, 4 if continue.",
    ),
]
# After a line break, or as the file name of an OSError.
RETRY_ADVICE = re.compile(
    r"(?:\n|: ['\"])Failed to [\w ]+ after \d+/\d+ attempts \(total backoff .*", re.DOTALL
)


def stdout() -> "Console":
    """A console as wide as the terminal; elsewhere of 100 columns."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 100)


def print_json(value: Any) -> None:
    """One JSON object, as --json promises it."""
    import json

    print(json.dumps(value, ensure_ascii=False, allow_nan=False))


def run_stages(
    config: str, overrides: Sequence[str] | None, stages: Sequence[str] | None = None
) -> "Run":
    """Run what is not done yet of `stages`, all by default, and return the run.

    Raises:
        ConfigError, TaskError: what the user has to mend.
    """
    loaded = load_config(config, overrides or [])
    from rich.console import Console

    from agentark_ray.pipeline import Run

    run = Run(loaded, Console(stderr=True))
    run.execute(stages)
    return run


def show_summary(summary: dict[str, Any], report_path: str, as_json: bool) -> None:
    """The result of an evaluation."""
    if as_json:
        print_json(summary)
        return
    from agentark_ray.evaluate.table import render_table

    console = stdout()
    console.print(render_table(summary))
    console.print(f"report: {report_path}", highlight=False, soft_wrap=True)


def exit_by(decision: str) -> NoReturn:
    """End with the exit code of a decision, as --gate promises it."""
    from agentark_ray.evaluate.decision import EXIT_CODES, Decision

    raise typer.Exit(EXIT_CODES[Decision(decision)])


@contextmanager
def clear_errors(stopped: str = "Run the same command again to continue.") -> Iterator[None]:
    """Errors a user can mend become one line and exit code 2; a stop becomes 130."""
    try:
        yield
    except KeyboardInterrupt:
        print(f"\nStopped. {stopped}", file=sys.stderr)
        raise typer.Exit(130) from None
    except (ConfigError, TaskError) as error:
        print(f"error: {_words(root_cause(error))}", file=sys.stderr)
        raise typer.Exit(2) from None
    except OSError as error:
        _failed(error)
    except Exception as error:
        if not type(error).__module__.startswith(("ray.", "agentark_ray.")):
            raise
        _failed(error)


def _failed(error: Exception) -> NoReturn:
    """What stopped a run, without the stack of every process it went through."""
    cause = root_cause(error)
    print(f"error: {type(cause).__name__}: {_words(cause)}", file=sys.stderr)
    print(
        "Nothing that was written is lost: mend it and run the same command again."
        " Logs of the workers: /tmp/ray/session_latest/logs",
        file=sys.stderr,
    )
    raise typer.Exit(1) from None


def _words(error: BaseException) -> str:
    """What an exception says, without the advice on retries that Ray Data appends to it."""
    return RETRY_ADVICE.sub("", str(error))
