"""Jobs submitted to several Ray nodes on this machine, by the command line, with the token only."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pyarrow import dataset

from agentark_ray.cluster.local import LocalCluster, NodeSpec
from tests.ray.nodes import (
    DEADLINE_S,
    ROOT,
    Client,
    files,
    ids,
    local_cluster,
    scripted,
    wait_for,
    workers,
)

CHECKPOINT_EVERY = 5  # steps
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("token") / "auth_token"


@pytest.fixture(scope="module")
def cluster(token: Path) -> Iterator[LocalCluster]:
    with local_cluster(token, [NodeSpec(cpus=4)] * 2) as cluster:
        yield cluster


@pytest.fixture
def client(cluster: LocalCluster, token: Path) -> Client:
    return Client(cluster.state().dashboard, token)


def test_without_the_token_nothing_is_told(cluster: LocalCluster, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    address = cluster.state().dashboard
    assert "no token" in Client(address, wrong)("status", code=2).stderr
    wrong.write_text("0" * 64)
    refused = Client(address, wrong)("status", code=2)
    assert len(refused.stderr.strip().splitlines()) == 1
    assert f"{address}: refuses the token of {wrong}" in refused.stderr


def test_a_job_that_is_stopped_goes_on_when_it_is_submitted_again(
    client: Client, tmp_path: Path, gsm8k_file: Callable[[int], Path]
) -> None:
    folder = tmp_path / "run"
    args = scripted(folder, gsm8k_file(200), "engine.actors=2")
    client("submit", "generate", "--id", "first", *args)
    wait_for("traces", lambda: files(folder, "traces/*.parquet") >= 4, client.runs("first"))
    stopped = json.loads(client("stop", "first", "--json").stdout)
    assert (stopped["status"], stopped["output"]) == ("STOPPED", str(folder))
    assert "Run the same command again to continue" in client("logs", "first").stdout
    kept = set(ids(folder, "traces"))
    assert kept

    again = client("submit", "generate", "--wait", *args)
    assert "traces:" in again.stdout and "\r" not in again.stdout
    held = ids(folder, "traces")
    assert held == ids(folder, "requests/train.parquet") and len(set(held)) == len(held) > 100
    assert kept < set(held)
    listed = json.loads(client("status", "--json").stdout)
    assert [job["status"] for job in listed[:2]] == ["SUCCEEDED", "STOPPED"]


def test_a_job_that_fails_ends_with_its_code_and_reason(client: Client, tmp_path: Path) -> None:
    failed = client(
        "submit", "generate", "--wait", *scripted(tmp_path / "run", tmp_path / "none.jsonl"), code=2
    )
    assert "none.jsonl" in failed.stdout


def test_a_job_that_cannot_fit_says_so(
    client: Client, tmp_path: Path, gsm8k_file: Callable[[int], Path]
) -> None:
    args = scripted(tmp_path / "run", gsm8k_file(20), "engine.actors=2", "gpus_per_engine=4")
    failed = client("submit", "generate", "--wait", *args, code=2)
    assert "needs 8 GPUs (2 x 4, each group on one node), the cluster has 0" in failed.stdout


def test_rays_own_command_runs_the_demo_with_the_same_result(
    cluster: LocalCluster, token: Path, tmp_path: Path, gsm8k_file: Callable[[int], Path]
) -> None:
    known = ["tasks.name=gsm8k", f"tasks.path={gsm8k_file(100)}", "tasks.train_questions=60"]
    small = ["tasks.eval_questions=40", "train.epochs=1", "distill.seq_len=256"]
    fast = ["engine.type=scripted", "evaluate.latency_queries=2", "gates.min_traces=50"]
    job = ["jobs/pipeline.py", "jobs/configs/demo.yaml", *known, *small, *fast]
    here, there = tmp_path / "here", tmp_path / "there"
    ray = [str(Path(sys.executable).with_name("ray")), "job", "submit", "--working-dir", "."]
    local = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    access = {
        "RAY_API_SERVER_ADDRESS": cluster.state().dashboard,
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_AUTH_MODE": "token",
    }
    for command, env in (
        ([sys.executable, *job, f"output={here}"], local),
        ([*ray, "--", "python", *job, f"output={there}"], {**local, **access}),
    ):
        subprocess.run(command, cwd=ROOT, env=env, check=True, timeout=DEADLINE_S)

    def result(folder: Path) -> tuple[Any, ...]:
        summary = json.loads((folder / "eval/summary.json").read_text())
        arms = {name: (arm["n"], arm["accuracy"]) for name, arm in summary["arms"].items()}
        stages = json.loads((folder / "manifest.json").read_text())["stages"].keys()
        return list(stages), arms, ids(folder, "traces"), (folder / "report.html").exists()

    def losses(folder: Path) -> list[float]:
        curve = json.loads((folder / "checkpoints/rsft/loss.json").read_text())
        return [row["loss"] for row in curve]

    assert result(there) == result(here)
    assert losses(there) == pytest.approx(losses(here), rel=1e-3) and losses(here)
    assert "student" in result(there)[1]
    refused = subprocess.run(
        [*ray, "--", "python", *job],
        cwd=ROOT,
        env={**local, **access},
        text=True,
        capture_output=True,
    )
    assert "run folder=runs/demo: a job's folder must be" in refused.stdout


def test_a_pipeline_loses_a_node_in_every_stage_and_uses_new_ones(
    cluster: LocalCluster,
    client: Client,
    tmp_path: Path,
    gsm8k_file: Callable[[int], Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "run"
    args = scripted(
        folder,
        gsm8k_file(700),
        "engine.actors=2",
        "engine.max_actors=4",
        "tasks.eval_questions=60",
        "evaluate.latency_queries=2",
        "evaluate.robustness.questions=5",
        "train.workers=2",
        "train.batch_size=4",
        "train.micro_batch_size=2",
        f"train.checkpoint_every={CHECKPOINT_EVERY}",
        "distill.seq_len=256",
    )
    client("submit", "pipeline", "--id", "whole", *args)
    goes_on = client.runs("whole")

    def lose_and_add(name: str) -> str:
        """Kill a node that runs tasks or actors of this name; the node that takes its place."""
        (victim, *_) = wait_for(name, lambda: workers(cluster, name), goes_on)
        cluster.kill(victim)
        return cluster.add(NodeSpec(cpus=4)).name

    wait_for("traces", lambda: files(folder, "traces/*.parquet") >= 10, goes_on)
    added = lose_and_add("DebateActor")
    wait_for("work", lambda: added in workers(cluster, "DebateActor"), goes_on)
    lose_and_add("Curate")
    wait_for("a checkpoint", lambda: files(folder, "checkpoints/rsft/checkpoint_*"), goes_on)
    time.sleep(1)  # into the next interval
    lose_and_add("RayTrainWorker")
    wait_for("answers", lambda: files(folder, "eval/transcripts/base/*.parquet") >= 2, goes_on)
    lose_and_add("DebateActor")

    ended = client("logs", "whole", "--follow")
    assert "SUCCEEDED" in ended.stderr, ended.stdout[-3000:]
    held = ids(folder, "traces")
    assert held == ids(folder, "requests/train.parquet") and len(set(held)) == len(held) > 500
    learned = dataset.dataset(folder / "datasets/rsft/rows", format="parquet").to_table()
    asked = dataset.dataset(folder / "questions/train.parquet", format="parquet").to_table()
    assert sorted(learned["question_id"].to_pylist()) == sorted(asked["question_id"].to_pylist())
    curve = json.loads((folder / "checkpoints/rsft/loss.json").read_text())
    assert [row["step"] for row in curve] == list(range(1, len(curve) + 1))
    summary = json.loads((folder / "eval/summary.json").read_text())
    assert {arm["failed"] for arm in summary["arms"].values()} == {0}
    assert (folder / "report.html").exists()

    def told(words: str) -> int:
        found = re.search(words, ended.stdout)
        return int(found[1]) if found else 0

    again = told(r"debates: (\d+) held again")
    steps = told(r"rsft: (\d+) steps taken again")
    assert 0 < again < 0.05 * len(held)
    assert files(folder, "checkpoints/rsft/tensorboard/events*") > 1, "training was not disturbed"
    assert steps <= CHECKPOINT_EVERY
    with capsys.disabled():
        print(f"\n{again} of {len(held)} debates held again ({again / len(held):.1%})")
        print(f"{steps} of {len(curve)} steps taken again, a checkpoint every {CHECKPOINT_EVERY}")
        print("\n".join(re.findall(r".*a node was lost.*", ended.stdout)))
