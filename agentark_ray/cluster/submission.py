"""What is sent to a cluster when a job is submitted: command, files, environment. Sends nothing."""

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentark_ray.config import ConfigError

JOBS = ("generate", "label", "distill", "evaluate", "pipeline")
BY_CONFIG = ("generate", "pipeline")  # take a config; the others take a run folder
# In the working directory, beside what .gitignore names, and of no use to a job.
EXCLUDES = (
    "/.git/",
    "/.venv/",
    "/runs/",
    "/tests/",
    "/docs/",
    "/benchmarks/",
    "/cluster/",
    "*.egg-info/",
    "__pycache__/",
    ".*_cache/",
    ".hypothesis/",
    ".env",
    "*.pem",
    "*.key",
    "*.token",
    "keys.json*",
)
# Seconds between SIGTERM and SIGKILL: a stage that is told to stop leaves its folder resumable.
STOP_S = 60
ENVIRONMENT: Mapping[str, str] = {
    "PYTHONUNBUFFERED": "1",
    "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_S),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A job as Ray's job API takes it."""

    entrypoint: str
    runtime_env: dict[str, Any]
    metadata: dict[str, str]


def job_arguments(job: str, given: Sequence[str], config: Path | None, root: Path) -> list[str]:
    """The command line of jobs/JOB.py.

    Raises:
        ConfigError: `config` is missing, of no use, or not below `root`.
    """
    if job not in JOBS:
        raise ConfigError(f"{job}: no such job, there is {', '.join(JOBS)}")
    if config is None:
        if job in BY_CONFIG:
            raise ConfigError(f"{job}: needs --config FILE")
        return list(given)
    if job in BY_CONFIG:
        return [_inside(config, root), *given]
    if job == "label":
        return [*given, "--config", _inside(config, root)]
    raise ConfigError(f"{job}: takes a run folder, which has its config; got --config {config}")


def _inside(file: Path, root: Path) -> str:
    """A file's path as the job sees it."""
    try:
        return str(file.resolve().relative_to(root.resolve()))
    except ValueError:
        raise ConfigError(
            f"{file}: not in the working directory {root.resolve()} that is sent to the cluster"
        ) from None


def submission(
    job: str,
    arguments: Sequence[str],
    *,
    root: Path,
    requirements: Path | None = None,
    env: Sequence[str] = (),
    metadata: Mapping[str, str] | None = None,
) -> Submission:
    """A job with its files and environment.

    Args:
        job: one of JOBS.
        arguments: of `job_arguments`.
        root: the folder that is sent; it has jobs/JOB.py.
        requirements: pins that the nodes install for this job, if their own are others.
        env: NAME=VALUE, or NAME to send this process's value.

    Raises:
        ConfigError: a file is not there, or a variable is not set.
    """
    script = f"jobs/{job}.py"
    if not (root / script).is_file():
        raise ConfigError(
            f"{root.resolve() / script}: no such file; run this in the project's folder, or name it"
            " by --working-dir"
        )
    runtime_env: dict[str, Any] = {
        "working_dir": str(root.resolve()),
        "excludes": list(EXCLUDES),
        "env_vars": {**ENVIRONMENT, **dict(map(_variable, env))},
    }
    if requirements is not None:
        runtime_env["pip"] = {"packages": _pins(requirements), "pip_install_options": ["--no-deps"]}
    return Submission(
        entrypoint=shlex.join(["python", script, *arguments]),
        runtime_env=runtime_env,
        metadata={"agentark_job": job, **(metadata or {})},
    )


def _pins(file: Path) -> list[str]:
    if not file.is_file():
        raise ConfigError(f"--requirements {file}: no such file")
    lines = [line.partition("#")[0].strip() for line in file.read_text().splitlines()]
    return [line for line in lines if line]


def _variable(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not name:
        raise ConfigError(f"--env {text}: expected NAME=VALUE or NAME")
    if separator:
        return name, value
    if name not in os.environ:
        raise ConfigError(f"--env {name}: not set here; expected NAME=VALUE or a variable that is")
    return name, os.environ[name]
