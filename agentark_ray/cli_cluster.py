"""`agentark cluster ...`: jobs on a Ray cluster, by its job API."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentark_ray import cli_distill, cli_label, cli_traces
from agentark_ray.cli_base import JsonFlag, clear_errors, print_json, stdout
from agentark_ray.cluster.submission import JOBS, job_arguments, submission
from agentark_ray.config import load_config

if TYPE_CHECKING:
    from ray.job_submission import JobDetails

    from agentark_ray.cluster.client import Jobs

app = typer.Typer(no_args_is_help=True, help="Submit jobs to a Ray cluster, follow and stop them.")

# Whose command line a job has.
COMMANDS: dict[str, Callable[..., Any]] = {
    "generate": cli_traces.generate,
    "label": cli_label.label,
    "distill": cli_distill.distill,
    "evaluate": cli_distill.evaluate,
    "pipeline": cli_traces.generate,
}
AddressOption = Annotated[
    str | None,
    typer.Option(
        metavar="URL", help="Of the job API; else RAY_API_SERVER_ADDRESS, or this machine's."
    ),
]
JobArgument = Annotated[str, typer.Argument(metavar="ID", help="Of a job, as submit printed it.")]

SUBMIT_HELP = """Submit a job: generate, label, distill, evaluate or pipeline (all of them).

The folder you are in is sent without what .gitignore names, and the job runs on the head. What can
be known to be wrong is said here, before anything is sent. ARGS are those of the job's command
(`agentark traces generate`, `traces label`, `distill`, `evaluate`, `run`). The folder of the run
must be where every node finds it. The token is read from ~/.ray/auth_token or RAY_AUTH_TOKEN_PATH.

Examples:

  agentark cluster submit pipeline --config jobs/configs/demo.yaml output=/mnt/runs/demo --wait

  agentark cluster submit generate --config jobs/configs/gsm8k.yaml tasks.path=s3://b/gsm8k \
output=s3://b/runs/gsm8k --address http://127.0.0.1:8265

  agentark cluster submit distill s3://b/runs/gsm8k --strategy da

Exit codes with --wait: that of the job's command; 130 if it was stopped.
"""


@app.command(
    help=SUBMIT_HELP,
    context_settings={"ignore_unknown_options": True},
)
def submit(
    job: Annotated[str, typer.Argument(metavar="JOB", help=", ".join(JOBS))],
    args: Annotated[
        list[str] | None, typer.Argument(metavar="[ARGS]...", help="Of the job's command.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Of generate and pipeline.")
    ] = None,
    address: AddressOption = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Show what the job writes, until it ends.")
    ] = False,
    job_id: Annotated[
        str | None, typer.Option("--id", help="Of the job; else Ray makes one up.")
    ] = None,
    working_dir: Annotated[Path, typer.Option(help="The project's folder, which is sent.")] = Path(
        "."
    ),
    requirements: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Pins to install for this job, if the nodes' differ."),
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME[=VALUE]", help="For the job; whoever may see jobs may see it."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Submit a job."""
    with clear_errors():
        arguments = job_arguments(job, args or [], config, working_dir)
        folder = _check(job, arguments, working_dir)
        sent = submission(
            job,
            arguments,
            root=working_dir,
            requirements=requirements,
            env=env or [],
            metadata={"output": folder},
        )
        jobs = _jobs(address)
        made = jobs.submit(sent, job_id)
        print(f"submitted {made}, run folder {folder}", file=sys.stderr)
        if not wait:
            print_json({"id": made, "output": folder}) if as_json else print(made)
            return
        ended = _wait(jobs, made, as_json)
    _end(ended, as_json)


def _check(job: str, arguments: list[str], root: Path) -> str:
    """The run folder of a job, once its command line and config are found right.

    Raises:
        click.UsageError: the job's command does not take these arguments.
        ConfigError: the config is wrong, or the folder is not one that every node sees.
    """
    from agentark_ray.run_folder import check_shared

    single = typer.Typer(add_completion=False)
    single.command(name=job)(COMMANDS[job])
    params = typer.main.get_command(single).make_context(job, list(arguments)).params
    if "run" in params:
        folder = params["run"]
        check_shared("RUN", folder)
    else:
        folder = load_config(root / params["config"], params["overrides"] or []).output
        check_shared("output", folder)
    return folder


def _jobs(address: str | None) -> "Jobs":
    from agentark_ray.cluster.tokens import need_token

    need_token()
    from agentark_ray.cluster.client import Jobs, job_address

    return Jobs(job_address(address))


def _wait(jobs: "Jobs", job: str, as_json: bool) -> "JobDetails":
    out = sys.stderr if as_json else sys.stdout

    def show(text: str) -> None:
        print(text, end="", file=out, flush=True)

    try:
        return jobs.follow(job, show)
    except KeyboardInterrupt:
        print(
            f"\n{job} goes on. agentark cluster logs --follow {job} shows it, agentark cluster"
            f" stop {job} stops it.",
            file=sys.stderr,
        )
        raise typer.Exit(130) from None


def _end(job: "JobDetails", as_json: bool) -> None:
    """Say how a job ended and exit with its code."""
    from agentark_ray.cluster.client import as_record, exit_code

    if as_json:
        print_json(as_record(job))
    else:
        print(f"{job.submission_id}: {job.status}. {job.message or ''}", file=sys.stderr)
    raise typer.Exit(exit_code(job))


@app.command()
def status(
    job: Annotated[str | None, typer.Argument(metavar="[ID]", help="One job; else all.")] = None,
    address: AddressOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Show a job, or all of them, the last one first.

    Example: agentark cluster status --address http://127.0.0.1:8265
    """
    with clear_errors():
        jobs = _jobs(address)
        found = jobs.all() if job is None else [jobs.details(job)]
        from agentark_ray.cluster.client import as_record

        records = [as_record(one) for one in found]
        if as_json:
            print_json(records if job is None else records[0])
        elif job is None:
            _table(records)
        else:
            for key, value in records[0].items():
                print(f"{key:<11}{_shown(key, value)}")


def _table(records: list[dict[str, Any]]) -> None:
    from rich.table import Table

    columns = ("id", "job", "status", "started", "output")
    table = Table(*columns, box=None, padding=(0, 2, 0, 0))
    for record in records:
        table.add_row(*(_shown(key, record[key]) for key in columns))
    stdout().print(table)


def _shown(key: str, value: Any) -> str:
    from datetime import datetime

    if value is None:
        return "-"
    if key in ("started", "ended"):
        return datetime.fromtimestamp(value).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    return str(value)


@app.command()
def logs(
    job: JobArgument,
    follow: Annotated[bool, typer.Option("--follow", help="Until the job ends.")] = False,
    address: AddressOption = None,
) -> None:
    """Show what a job has written.

    Example: agentark cluster logs raysubmit_Xe7cvjyGJCyuCvm2 --follow
    """
    with clear_errors():
        jobs = _jobs(address)
        if not follow:
            print(jobs.logs(job), end="")
            return
        ended = _wait(jobs, job, as_json=False)
    _end(ended, as_json=False)


@app.command()
def stop(job: JobArgument, address: AddressOption = None, as_json: JsonFlag = False) -> None:
    """Stop a job and wait until it has. Submitted again, it goes on where it stopped.

    Example: agentark cluster stop raysubmit_Xe7cvjyGJCyuCvm2
    """
    with clear_errors():
        from agentark_ray.cluster.submission import STOP_S

        print(f"stopping {job}; killed after {STOP_S} s", file=sys.stderr)
        jobs = _jobs(address)
        ended = jobs.stop(job)
        from agentark_ray.cluster.client import as_record

        print_json(as_record(ended)) if as_json else print(f"{job}: {ended.status}")
