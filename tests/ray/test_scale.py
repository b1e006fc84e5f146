"""Many questions: nothing on the driver grows with their number."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from pyarrow import dataset

QUESTIONS = 200_000
MAY_GROW_MB = 60  # of the driver, over the job

GENERATE = """
import sys
from rich.console import Console
from agentark_ray.config import parse_config
from agentark_ray.pipeline import Run
Run(parse_config({}, sys.argv[1:], "test"), Console(stderr=True)).execute(["questions", "generate"])
"""


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_drivers_memory_is_flat_over_200_000_questions(
    tmp_path: Path, gsm8k_file: Callable[[int], Path]
) -> None:
    values = [
        f"output={tmp_path}/run",
        "tasks.name=gsm8k",
        f"tasks.path={gsm8k_file(QUESTIONS)}",
        "tasks.eval_fraction=0.001",
        "debate.protocol=single",
        "engine.type=scripted",
        "engine.scripted_latency_s=0.05",
        "engine.rows_per_block=1000",
        "engine.in_flight=1000",
    ]
    command = [sys.executable, "-c", GENERATE, *values]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2])
    driver = psutil.Process(process.pid)
    traces = tmp_path / "run" / "traces"
    seen: list[tuple[int, float]] = []  # blocks written, RSS of the driver in MB
    while process.poll() is None:
        time.sleep(1)
        if blocks := len(list(traces.glob("*.parquet"))):
            try:
                seen.append((blocks, driver.memory_info().rss / 1e6))
            except psutil.NoSuchProcess:
                break
    assert process.wait() == 0
    figures = json.loads((tmp_path / "run" / "manifest.json").read_text())["stages"]
    total = figures["questions"]["train"]
    assert dataset.dataset(traces).count_rows() == total > 0.99 * QUESTIONS
    early = max(rss for blocks, rss in seen if blocks <= max(20, seen[0][0]))
    print(
        f"driver: {early:.0f} MB early, {max(r for _, r in seen):.0f} MB at most;"
        f" {total} debates in {figures['generate']['seconds']} s"
    )
    assert max(rss for _, rss in seen) < early + MAY_GROW_MB
