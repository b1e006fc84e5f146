"""A run folder known by its URI only, as in a bucket: real engines, from debates to a server.

A store is a folder of this machine, but a URI is never taken for one: models are copied to where an
engine starts.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agentark_ray.tiny.path import tiny_model_path
from benchmarks.serve import free_port, server
from tests.ray.serving import client

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(1800)]
CLI = [sys.executable, "-m", "agentark_ray.cli"]
MESSAGES: list[Any] = [{"role": "user", "content": "Tom has 3 apples and buys 4. How many has he?"}]


def command(cache: Path, *args: str) -> str:
    env = {**os.environ, "HF_HOME": str(cache)}
    done = subprocess.run([*CLI, *args], capture_output=True, text=True, timeout=900, env=env)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def copies(cache: Path) -> list[Path]:
    """Folders of models that were copied with their weights."""
    return [path.parent for path in cache.rglob("model.safetensors")]


def test_a_run_in_a_store_is_made_evaluated_loaded_and_served(tmp_path: Path) -> None:
    cache, store = tmp_path / "cache", tmp_path / "store"
    shutil.copytree(tiny_model_path(), store / "base")
    run = f"file://{store}/run"
    out = command(
        cache,
        "run",
        "jobs/configs/demo.yaml",
        f"output={run}",
        f"model=file://{store}/base",
        "tasks.train_questions=24",
        "tasks.eval_questions=6",
        "evaluate.arms=[single, debate, student]",
        "evaluate.latency_queries=1",
        "evaluate.robustness.questions=0",
        "evaluate.peer_questions=0",
        "debate.agents=3",
        "train.epochs=1",
        "--json",
    )
    arms = json.loads(out)["arms"]
    assert {(name, arm["n"], arm["failed"]) for name, arm in arms.items()} == {
        (name, 6, 0) for name in ("single", "debate", "student")
    }
    assert (store / "run" / "report.html").is_file()
    assert len(copies(cache)) == 2, "the base model and the student, once each"

    shutil.rmtree(cache)
    offered = ["--rates", "2", "--seconds", "2"]
    command(cache, "load", run, "--arm", "student", *offered)
    measured = json.loads((store / "run" / "eval" / "load.json").read_text())["arms"]["student"]
    assert measured["rates"][0]["answered"] > 0 and measured["weights_bytes"] > 0
    assert len(copies(cache)) == 1

    shutil.rmtree(cache)
    settings, port = tmp_path / "serve.yaml", free_port()
    settings.write_text(json.dumps({"run": run, "port": port, "models": ["student"]}))
    with server([*CLI, "serve", str(settings)], port, HF_HOME=str(cache)):
        found = client(port).chat.completions.create(model="student", messages=MESSAGES)
        assert found.choices[0].message.content
    assert len(copies(cache)) == 1
