"""Many questions: nothing on the driver grows with their number."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pyarrow import dataset

FEW, MANY = 20_000, 200_000
# Of the driver, from FEW to MANY questions; a list of their ids would take 16 MB. What does grow is
# what Ray Data knows of blocks.
MAY_GROW_MB = {"python and arrow": 5, "resident": 25}

GENERATE = """
import json, resource, sys, tracemalloc
import pyarrow
from rich.console import Console
from agentark_ray.config import parse_config
from agentark_ray.pipeline import Run

run = Run(parse_config({}, sys.argv[1:], "test"), Console(stderr=True))
tracemalloc.start()
run.execute(["questions", "generate"])
held = tracemalloc.get_traced_memory()[1] + pyarrow.default_memory_pool().max_memory()
resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"python and arrow": held / 1e6, "resident": resident / 1e6}))
"""


def driver_mb(folder: Path, questions: Path, n: int) -> dict[str, float]:
    """The most that the driver of a job of n questions held at once, in MB."""
    values = [
        f"output={folder}",
        "tasks.name=gsm8k",
        f"tasks.path={questions}",
        "tasks.eval_fraction=0.001",
        "debate.protocol=single",
        "engine.type=scripted",
        "engine.scripted_latency_s=0.05",
        "engine.rows_per_block=1000",
        "engine.in_flight=1000",
    ]
    done = subprocess.run(
        [sys.executable, "-c", GENERATE, *values],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    asked = dataset.dataset(folder / "requests" / "train.parquet").count_rows()
    assert dataset.dataset(folder / "traces").count_rows() == asked > 0.99 * n
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_drivers_memory_is_flat_over_200_000_questions(
    tmp_path: Path, gsm8k_file: Callable[[int], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    few, many = (driver_mb(tmp_path / str(n), gsm8k_file(n), n) for n in (FEW, MANY))
    told = ", ".join(
        f"{what} {few[what]:.1f} -> {many[what]:.1f} MB (+{many[what] - few[what]:.1f}, less than"
        f" {most} may be)"
        for what, most in MAY_GROW_MB.items()
    )
    with capsys.disabled():
        print(f"\ndriver at {FEW:,} -> {MANY:,} questions: {told}")
    assert all(many[what] - few[what] < most for what, most in MAY_GROW_MB.items()), told
