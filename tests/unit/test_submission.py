"""What `agentark cluster` sends to a cluster, and what it refuses before anything is sent."""

import logging
import stat
import zipfile
from pathlib import Path

import pytest
from click import unstyle
from ray._private.runtime_env.packaging import create_package
from ray.job_submission import JobDetails, JobStatus, JobType
from typer.testing import CliRunner, Result

from agentark_ray.cli import app
from agentark_ray.cli_cluster import COMMANDS
from agentark_ray.cluster.client import as_record, exit_code, job_address
from agentark_ray.cluster.local import LocalCluster
from agentark_ray.cluster.node import NodeProcess
from agentark_ray.cluster.submission import (
    EXCLUDES,
    JOBS,
    STOP_S,
    job_arguments,
    submission,
)
from agentark_ray.cluster.tokens import make_token, need_token, token_file
from agentark_ray.config import ConfigError
from agentark_ray.run_folder import check_shared

ROOT = Path(__file__).parents[2]
DEMO = "jobs/configs/demo.yaml"
LOGGER = logging.getLogger(__name__)
NOWHERE = "http://127.0.0.1:1"


@pytest.fixture(autouse=True)
def own_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A token file of the test's own; the environment is as it was afterwards."""
    file = tmp_path / "tokens" / "auth_token"
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(file))
    for name in ("RAY_AUTH_TOKEN", "RAY_API_SERVER_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.chdir(ROOT)
    return file


def cluster(*args: str) -> Result:
    return CliRunner().invoke(app, ["cluster", *args])


def test_every_job_has_a_script_and_a_command() -> None:
    scripts = {path.stem for path in (ROOT / "jobs").glob("*.py")}
    assert scripts == set(JOBS) == set(COMMANDS)


def test_a_job_by_config() -> None:
    arguments = job_arguments("pipeline", ["seed=3"], ROOT / DEMO, ROOT)
    sent = submission("pipeline", arguments, root=ROOT, metadata={"output": "s3://b/r"})
    assert sent.entrypoint == f"python jobs/pipeline.py {DEMO} seed=3"
    assert sent.metadata == {"agentark_job": "pipeline", "output": "s3://b/r"}
    assert sent.runtime_env == {
        "working_dir": str(ROOT),
        "excludes": list(EXCLUDES),
        "env_vars": {"PYTHONUNBUFFERED": "1", "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_S)},
    }


def test_arguments_are_quoted_for_the_shell() -> None:
    sent = submission("distill", ["s3://b/r", "model=a b; rm -rf /"], root=ROOT)
    assert sent.entrypoint == "python jobs/distill.py s3://b/r 'model=a b; rm -rf /'"


def test_pins_and_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pins = tmp_path / "pins.txt"
    pins.write_text("# pinned\nnumpy==2.3.5  # array\n\nray==2.60.0\n")
    monkeypatch.setenv("TEAM_KEY", "k=1")
    sent = submission("label", ["/r"], root=ROOT, requirements=pins, env=["A=b=c", "TEAM_KEY"])
    assert sent.runtime_env["pip"] == {
        "packages": ["numpy==2.3.5", "ray==2.60.0"],
        "pip_install_options": ["--no-deps"],
    }
    assert sent.runtime_env["env_vars"]["A"] == "b=c"
    assert sent.runtime_env["env_vars"]["TEAM_KEY"] == "k=1"


def test_a_labelling_has_its_config_where_its_command_wants_it() -> None:
    assert job_arguments("label", ["/r"], Path(DEMO), ROOT) == ["/r", "--config", DEMO]


@pytest.mark.parametrize("uri", ["s3://b/r", "gs://b/r", "/mnt/runs/r"])
def test_folders_that_every_node_sees(uri: str) -> None:
    check_shared("output", uri)


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["pipelin"], "pipelin: no such job, there is generate, label, distill"),
        (["pipeline"], "pipeline: needs --config FILE"),
        (["distill", "/r", "--config", DEMO], "distill: takes a run folder, which has its config"),
        (["generate", "--config", "/etc/hosts"], "/etc/hosts: not in the working directory"),
        (["generate", "--config", "jobs/no.yaml"], "jobs/no.yaml: no such config file"),
        (["generate", "--config", DEMO], "output=runs/demo: a job's folder must be where every"),
        (["distill", "runs/demo"], "RUN=runs/demo: a job's folder must be where every node"),
        (["generate", "--config", DEMO, "output=/r", "sed=1"], "unknown key 'sed', did you mean"),
        (["distill", "/r", "--env", "NOT_SET_HERE"], "--env NOT_SET_HERE: not set here"),
        (["distill", "/r", "--env", "=1"], "--env =1: expected NAME=VALUE or NAME"),
        (["distill", "/r", "--requirements", "/no.txt"], "--requirements /no.txt: no such file"),
        (["distill", "/r", "--working-dir", "tests"], "tests/jobs/distill.py: no such file"),
        (["distill", "/r", "--address", "head:8265"], "--address head:8265: expected a URL"),
        (["distill", "/r", "--address", NOWHERE], f"{NOWHERE}: no Ray job API answers there"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_sent(args: list[str], expected: str) -> None:
    make_token()
    done = cluster("submit", *args)
    assert done.exit_code == 2, done.output
    assert expected in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_options_of_the_jobs_command_are_checked_here() -> None:
    done = cluster("submit", "distill", "/r", "--stratgy", "da")
    assert done.exit_code == 2
    assert "--stratgy" in unstyle(done.stderr)


def test_no_cluster_is_asked_without_a_token(own_token: Path) -> None:
    for args in (["status"], ["logs", "j"], ["stop", "j"], ["submit", "distill", "/r"]):
        done = cluster(*args)
        assert done.exit_code == 2
        assert f"{own_token}: no token" in done.stderr


def test_a_token_is_made_once_and_its_owners_alone(own_token: Path) -> None:
    assert make_token() == own_token == token_file()
    assert stat.S_IMODE(own_token.stat().st_mode) == 0o600
    token = own_token.read_text()
    assert len(token) == 64
    assert make_token() is None
    assert own_token.read_text() == token
    need_token()


def test_an_empty_token_file_is_no_token(own_token: Path) -> None:
    own_token.parent.mkdir()
    own_token.write_text("\n")
    with pytest.raises(ConfigError, match="no token"):
        need_token()


def test_the_address_is_the_given_one_or_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    assert job_address(None) == "http://127.0.0.1:8265"
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "https://head/")
    assert job_address(None) == "https://head"
    assert job_address("http://other:1") == "http://other:1"


def ended(status: JobStatus, code: int | None) -> JobDetails:
    return JobDetails.model_construct(
        type=JobType.SUBMISSION,
        submission_id="j",
        status=status,
        entrypoint="python jobs/generate.py",
        driver_exit_code=code,
        start_time=1_500,
        metadata={"agentark_job": "generate", "output": "/r"},
    )


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (JobStatus.SUCCEEDED, 0, 0),
        (JobStatus.FAILED, 2, 2),
        (JobStatus.FAILED, None, 1),
        (JobStatus.STOPPED, None, 130),
        (JobStatus.STOPPED, -9, 130),
    ],
)
def test_waiting_ends_with_the_jobs_exit_code(
    status: JobStatus, code: int | None, expected: int
) -> None:
    assert exit_code(ended(status, code)) == expected


def test_a_job_as_json_says_it() -> None:
    record = as_record(ended(JobStatus.FAILED, 2))
    assert (record["id"], record["job"], record["output"]) == ("j", "generate", "/r")
    assert (record["status"], record["exit_code"]) == ("FAILED", 2)
    assert (record["started"], record["ended"]) == (1.5, None)


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (
            ["--nodes", "2", "--down"],
            "one of --nodes, --add, --kill, --drain, --restart-head, --down at a time",
        ),
        (["--nodes", "2", "--label", "spot"], "--label spot: expected KEY=VALUE"),
        (["--add"], "no local cluster runs"),
        (["--kill", "worker-1"], "no local cluster runs"),
        ([], "no local cluster runs"),
    ],
)
def test_a_local_cluster_says_what_is_wrong(tmp_path: Path, args: list[str], expected: str) -> None:
    done = cluster("local", "--folder", str(tmp_path / "c"), *args)
    assert done.exit_code == 2, done.output
    assert expected in done.stderr


def test_down_without_a_cluster_is_no_error(tmp_path: Path) -> None:
    LocalCluster(tmp_path).down()


def test_a_process_id_that_was_taken_again_is_another_process() -> None:
    import psutil

    own = psutil.Process()
    node = NodeProcess(name="head", pid=own.pid, started=own.create_time())
    assert node.process() == own
    assert NodeProcess(name="head", pid=own.pid, started=own.create_time() - 1).process() is None


def test_what_is_sent_is_the_project_without_runs_secrets_and_tests(tmp_path: Path) -> None:
    """Packed by Ray as it does when a job is submitted."""
    kept = [
        "agentark_ray/cluster/local.py",
        "agentark_ray/tiny/weights/model.safetensors",
        "jobs/configs/demo.yaml",
        "jobs/generate.py",
        "serve/app.py",
        "pyproject.toml",
        "questions/train.jsonl",
    ]
    left_out = [
        ".env",
        ".git/config",
        ".venv/bin/python",
        "agentark_ray/__pycache__/cli.pyc",
        "cluster/aws.yaml",
        "cluster.token",
        "deep/down/private.key",
        "head.pem",
        "ignored/data",
        "keys.json",
        "keys.jsonl",
        "runs/demo/manifest.json",
        "tests/unit/test_x.py",
    ]
    project = tmp_path / "project"
    for name in (*kept, *left_out):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text("x")
    (project / ".gitignore").write_text("ignored/\n")
    package = tmp_path / "package.zip"
    create_package(
        str(project), package, include_gitignore=True, excludes=list(EXCLUDES), logger=LOGGER
    )
    names = {name for name in zipfile.ZipFile(package).namelist() if not name.endswith("/")}
    assert names - {".gitignore"} == set(kept)
