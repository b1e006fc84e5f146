"""What Ray's job API answers, as a user reads it: a server that says what a test wants."""

import http.server
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from agentark_ray.cluster import client
from agentark_ray.cluster.client import Jobs
from agentark_ray.config import ConfigError

JOB = "night-404"
Answers = dict[str, tuple[int, str]]


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Jobs, Answers]]:
    """A client, and what is answered to a path: status and text."""
    version = {"version": "4", "ray_version": "2.60.0", "ray_commit": "", "session_name": "s"}
    answers: Answers = {"/api/version": (200, json.dumps(version))}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, text = answers[self.path]
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        do_POST = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            """Not on the terminal."""

    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Jobs(f"http://127.0.0.1:{server.server_port}"), answers
        server.shutdown()


ASKED: dict[str, tuple[str, Callable[[Jobs], object]]] = {
    "details": (f"/api/jobs/{JOB}", lambda jobs: jobs.details(JOB)),
    "logs": (f"/api/jobs/{JOB}/logs", lambda jobs: jobs.logs(JOB)),
    "stop": (f"/api/jobs/{JOB}/stop", lambda jobs: jobs.stop(JOB)),
    "all": ("/api/jobs/", lambda jobs: jobs.all()),
}


@pytest.mark.parametrize("asked", ["details", "logs", "stop"])
def test_a_job_that_is_not_there(api: tuple[Jobs, Answers], asked: str) -> None:
    jobs, answers = api
    path, ask = ASKED[asked]
    answers[path] = (404, f"Job {JOB} does not exist")
    with pytest.raises(ConfigError, match=f"^{JOB} at http://127.0.0.1:.*: no such job$"):
        ask(jobs)


@pytest.mark.parametrize("asked", ASKED)
def test_a_refusal_is_said_as_it_is(api: tuple[Jobs, Answers], asked: str) -> None:
    """Also where the job's name has the number of another answer."""
    jobs, answers = api
    path, ask = ASKED[asked]
    answers[path] = (500, f"{JOB}: the head is busy\nTraceback")
    with pytest.raises(ConfigError) as error:
        ask(jobs)
    assert str(error.value).endswith(f"status code 500: {JOB}: the head is busy")


def test_of_a_stack_trace_the_reason_is_said(api: tuple[Jobs, Answers]) -> None:
    """As Ray's head answers for its agent, when a job's name is taken."""
    jobs, answers = api
    agent = (
        "Traceback (most recent call last):\n"
        '  File "job_agent.py", line 45, in submit_job\n'
        "    submission_id = await self.get_job_manager().submit_job(\n"
        "ValueError: Job with submission_id first already exists. Please use a different one.\n"
    )
    answers[f"/api/jobs/{JOB}"] = (
        500,
        "Traceback (most recent call last):\n"
        '  File "job_head.py", line 134, in _raise_error\n'
        f"RuntimeError: Request failed with status code 400: {agent}.\n",
    )
    with pytest.raises(ConfigError) as error:
        jobs.details(JOB)
    words = "Job with submission_id first already exists. Please use a different one"
    assert str(error.value) == f"{JOB} at {jobs.address}: {words}"


@pytest.mark.parametrize("asked", ASKED)
def test_a_head_that_has_gone(
    api: tuple[Jobs, Answers], asked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs, _ = api
    monkeypatch.setattr(jobs._client, "_address", "http://127.0.0.1:1")
    with pytest.raises(ConfigError, match="no Ray job API answers there"):
        ASKED[asked][1](jobs)


@pytest.fixture
def ended(api: tuple[Jobs, Answers], monkeypatch: pytest.MonkeyPatch) -> Jobs:
    """A client of a head that says that the job has failed; nobody has its log."""
    jobs, answers = api
    job = {"type": "SUBMISSION", "submission_id": JOB, "status": "FAILED", "entrypoint": "x"}
    answers[f"/api/jobs/{JOB}"] = (200, json.dumps(job | {"message": "its node has died"}))
    answers[f"/api/jobs/{JOB}/logs/tail"] = (500, "no connection to the agent")
    monkeypatch.setattr(client, "POLL_S", 0.01)
    monkeypatch.setattr(client, "LOST_S", 0.1)
    return jobs


def test_a_job_that_ended_with_its_head_is_not_waited_for(ended: Jobs) -> None:
    """The restarted head knows how it ended, but not where its log is."""
    job = ended.follow(JOB, print)
    assert (job.status, job.message) == ("FAILED", "its node has died")


def test_the_rest_of_a_log_is_shown_when_the_job_ended_meanwhile(
    ended: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection broke, but the head still has the log."""
    there = ["first\n"]

    async def tail(job: str) -> AsyncIterator[str]:
        yield "".join(there)
        if len(there) == 1:
            there.append("last\n")
            raise RuntimeError("WebSocket connection closed unexpectedly")

    monkeypatch.setattr(ended._client, "tail_job_logs", tail)
    shown: list[str] = []
    assert ended.follow(JOB, shown.append).status == "FAILED"
    assert "".join(shown) == "first\nlast\n"
