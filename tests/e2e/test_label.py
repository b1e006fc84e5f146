"""`agentark traces label` with a real judge model in vLLM."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from agentark_ray.label_rows import labelled_traces
from agentark_ray.run_folder import RunFolder
from tests.unit.labelled import write_traces

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.e2e


def label(*args: str, limit_s: float = 100) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "agentark_ray.cli", "traces", "label", *args]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=limit_s)


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_the_tiny_model_judges_in_vllm(tmp_path: Path) -> None:
    run = write_traces(tmp_path, 20)
    args = ["--aggregate", "vote", "--name", "judge-1", "--judge", "tiny", "--votes", "3"]
    engine = ["engine.max_model_len=1024", "engine.in_flight=32"]
    done = label(str(tmp_path), *args, "--judge-turns", "all", "--json", *engine, limit_s=400)
    assert done.returncode == 0, done.stderr[-4000:]
    manifest = json.loads(done.stdout)
    judge = manifest["figures"]["judge"]
    # The tiny model knows nothing of judging, but its answers are constrained to true and false.
    assert (judge["judged"], judge["failed"], judge["cut"]) == (40, 0, 0)
    assert judge["agreement"]["compared"] == 40
    assert 0 <= judge["agreement"]["accuracy"] <= 1
    verdicts = {
        turn["verdict"]
        for row in labelled_traces(RunFolder(run.uri), "traces", "judge-1")
        for turn in row["turns"]
    }
    assert verdicts <= {"correct", "incorrect"}
    again = label(str(tmp_path), *args, "--judge-turns", "all", "--json", *engine)
    assert json.loads(again.stdout) == manifest
