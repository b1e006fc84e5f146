"""`agentark serve`, `agentark serve-key` and `agentark calibrate`."""

from typing import Annotated

import typer

from agentark_ray.cli_base import (
    ConfigArgument,
    JsonFlag,
    Overrides,
    clear_errors,
    print_json,
    stdout,
)

SERVE_HELP = """Serve student, debate and hybrid behind one OpenAI-compatible endpoint.

Runs until Ctrl-C on this machine, or is handed to the cluster of RAY_ADDRESS, where it goes on.
Running it again with another rollout changes who answers `agentark` at once, without a restart.

Examples:

  agentark serve serve/config/demo.yaml

  agentark serve serve/config/demo.yaml port=8080 models='[student]'

  RAY_ADDRESS=auto agentark serve serve/config/demo.yaml rollout.weights='{student: 1}'
"""

KEY_HELP = """Make an API key: it is printed once, its hash is appended to FILE.

Example: agentark serve-key alice --file keys.jsonl
"""

CALIBRATE_HELP = """The confidence from which on a hybrid gives the student's answer.

It is found on the held-out questions of an evaluated run; `agentark serve` takes the same.

Example: agentark calibrate runs/demo --target-ratio 0.98
"""


def serve(config: ConfigArgument, overrides: Overrides = None) -> None:
    """Start, or change, the application."""
    with clear_errors():
        from agentark_ray.serving.config import load_serve_config

        settings = load_serve_config(config, overrides or [])
        from rich.console import Console

        from agentark_ray.serving.run import run

        run(settings, Console(stderr=True))


def serve_key(
    name: Annotated[str, typer.Argument(help="Of its owner; it shows in logs and metrics.")],
    file: Annotated[str, typer.Option(help="JSON lines, as in `keys.file`.")] = "keys.jsonl",
) -> None:
    """Make a key."""
    with clear_errors():
        from agentark_ray.serving.keys import add_key

        print(add_key(file, name))


def calibrate(
    run: Annotated[str, typer.Argument(metavar="RUN", help="An evaluated run folder.")],
    student: Annotated[
        str | None, typer.Option(help="One of its students; its own by default.")
    ] = None,
    target_ratio: Annotated[
        float, typer.Option(min=0.0, max=1.5, help="Accuracy to reach, over the debate's.")
    ] = 1.0,
    as_json: JsonFlag = False,
) -> None:
    """Show what a hybrid would do."""
    with clear_errors():
        from dataclasses import asdict

        from agentark_ray.calibration import calibrated
        from agentark_ray.run_folder import RunFolder
        from agentark_ray.students import own_name, run_config

        folder = RunFolder(run)
        name = student or own_name(run_config(folder))
        found = calibrated(folder, name, target_ratio)
        if as_json:
            print_json(asdict(found))
            return
        ratio = "-" if found.token_ratio is None else f"{found.token_ratio:.2f}"
        console = stdout()
        console.print(f"threshold {found.threshold:.4f} (mean log-probability)", highlight=False)
        console.print(
            f"accuracy {found.accuracy:.1%} (debate {found.debate_accuracy:.1%}, student"
            f" {found.student_accuracy:.1%}), {found.handed_over:.1%} handed to the debate,"
            f" {ratio} x its output tokens; {found.n} questions, each half by the other's"
            " threshold",
            highlight=False,
        )
