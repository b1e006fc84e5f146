"""Jobs on a cluster, by Ray's job API: submit, look, follow, stop."""

import asyncio
import logging
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import aiohttp
import requests
from ray.exceptions import AuthenticationError
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from agentark_ray.cluster.submission import STOP_S, Submission
from agentark_ray.cluster.tokens import token_file
from agentark_ray.config import ConfigError

DEFAULT_ADDRESS = "http://127.0.0.1:8265"
POLL_S = 0.5
LOST_S = 120.0  # a head that restarts may be away for so long
# They tell of every file that is left out and every connection.
CHATTY = ("ray", "ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk")
# The last line of a stack trace; traces of the head hold those of its agent.
_RAISED = re.compile(r"[A-Za-z_][\w.]*: (?!.*Traceback)(.+)")
EXIT_CODES = {JobStatus.SUCCEEDED: 0, JobStatus.FAILED: 1, JobStatus.STOPPED: 130}


def job_address(given: str | None) -> str:
    """The URL of the job API: as given, RAY_API_SERVER_ADDRESS, or a head on this machine.

    Raises:
        ConfigError: it is no http(s) URL.
    """
    address = given or os.environ.get("RAY_API_SERVER_ADDRESS") or DEFAULT_ADDRESS
    if not address.startswith(("http://", "https://")):
        raise ConfigError(f"--address {address}: expected a URL, e.g. {DEFAULT_ADDRESS}")
    return address.rstrip("/")


class Jobs:
    """The jobs of one cluster."""

    def __init__(self, address: str) -> None:
        """Raises ConfigError: nothing answers there, or the token is refused."""
        self.address = address
        for name in CHATTY:
            logging.getLogger(name).setLevel(logging.ERROR)
        with self._refusals():
            self._client = JobSubmissionClient(address)

    def submit(self, job: Submission, name: str | None) -> str:
        """Send files and command; returns the job's id."""
        with self._refusals(name or "job"):
            return self._client.submit_job(
                entrypoint=job.entrypoint,
                runtime_env=job.runtime_env,
                metadata=job.metadata,
                submission_id=name,
            )

    def details(self, job: str) -> JobDetails:
        """Raises ConfigError: there is no such job."""
        with self._refusals(job):
            return self._client.get_job_info(job)

    def all(self) -> list[JobDetails]:
        """Jobs that were submitted, the last one first."""
        with self._refusals():
            there = [job for job in self._client.list_jobs() if job.submission_id]
        return sorted(there, key=lambda job: job.start_time or 0, reverse=True)

    def logs(self, job: str) -> str:
        """All that a job has written so far."""
        with self._refusals(job):
            return self._client.get_job_logs(job)

    def follow(self, job: str, show: Callable[[str], object]) -> JobDetails:
        """Show what a job writes until it ends; a head that restarts in between is waited for."""
        self.details(job)
        asyncio.run(self._follow(job, show))
        return self.details(job)

    async def _follow(self, job: str, show: Callable[[str], object]) -> None:
        shown = 0
        lost: float | None = None
        over = False
        while True:
            skip = shown  # a new connection begins with the first line
            try:
                async for text in self._client.tail_job_logs(job):
                    new, skip = text[skip:], max(0, skip - len(text))
                    shown += len(new)
                    if new:
                        show(new)
                if self._client.get_job_status(job).is_terminal():
                    return
                lost = None
            except (aiohttp.ClientError, OSError, RuntimeError) as error:
                if over:  # and nobody has its log, as after a restart of the head
                    return
                over = self._over(job)
                lost = lost or time.monotonic()
                if not over and time.monotonic() - lost > LOST_S:
                    raise ConfigError(f"{self.address}: lost for {LOST_S:.0f} s: {error}") from None
            await asyncio.sleep(POLL_S)

    def _over(self, job: str) -> bool:
        """Whether it has ended, as far as the head answers."""
        try:
            return self._client.get_job_status(job).is_terminal()
        except (OSError, RuntimeError):
            return False

    def stop(self, job: str) -> JobDetails:
        """Tell a job to stop and wait until it has; one that has ended stays as it is."""
        with self._refusals(job):
            self._client.stop_job(job)
        deadline = time.monotonic() + STOP_S + 30
        while not (found := self.details(job)).status.is_terminal():
            if time.monotonic() > deadline:
                raise ConfigError(f"{job}: still {found.status} {STOP_S + 30} s after it was asked")
            time.sleep(POLL_S)
        return found

    @contextmanager
    def _refusals(self, job: str | None = None) -> Iterator[None]:
        """What the API refuses, as an error of the user's."""
        what = f"{job} at {self.address}" if job else self.address
        try:
            yield
        except (ConnectionError, requests.ConnectionError, requests.Timeout):
            raise ConfigError(f"{what}: no Ray job API answers there") from None
        except AuthenticationError:
            raise ConfigError(f"{what}: refuses the token of {token_file()}") from None
        except (RuntimeError, ValueError) as error:
            words = _reason(error)
            if job and words.startswith("Request failed with status code 404"):
                words = "no such job"
            raise ConfigError(f"{what}: {words}") from None


def _reason(error: Exception) -> str:
    """The first line; of a stack trace, which the API sends as its answer, what was raised."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    if "Traceback" not in lines[0]:
        return lines[0]
    raised = [match[1] for line in lines if (match := _RAISED.match(line))]
    return raised[-1].rstrip(".") if raised else lines[0]


def exit_code(job: JobDetails) -> int:
    """That of the job's command; 130 if it was stopped, 1 if it never started."""
    if job.status == JobStatus.STOPPED:
        return EXIT_CODES[job.status]
    return EXIT_CODES[job.status] if job.driver_exit_code is None else job.driver_exit_code


def as_record(job: JobDetails) -> dict[str, Any]:
    """What --json shows; times in seconds since 1970."""
    metadata = job.metadata or {}
    return {
        "id": job.submission_id,
        "job": metadata.get("agentark_job"),
        "output": metadata.get("output"),
        "status": str(job.status),
        "message": job.message,
        "entrypoint": job.entrypoint,
        "started": job.start_time and job.start_time / 1000,
        "ended": job.end_time and job.end_time / 1000,
        "exit_code": job.driver_exit_code,
    }
