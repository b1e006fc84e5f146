"""The pure parts of the scaling benchmark, by hand."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from benchmarks.scaling import middle
from benchmarks.scaling_paper import extrapolation, quarter, sizes
from benchmarks.watched import CpuMeter, Look


def looks(*files: int) -> list[Look]:
    return [
        Look(seconds=2.0 * i, files=n, driver_mb=100.0 + i, gcs_mb=50.0, cpu_s=float(i))
        for i, n in enumerate(files)
    ]


def test_rates_are_taken_between_ramp_up_and_tail() -> None:
    first, last = middle(looks(0, 10, 16, 40, 86, 100), 100)
    assert (first.files, last.files) == (16, 86)
    with pytest.raises(ValueError, match="too short: 2 to 4 of 4 files"):
        middle(looks(0, 2, 4), 4)


def test_memory_is_compared_with_that_of_a_quarter() -> None:
    assert quarter(looks(0, 10, 30, 60, 100)).files == 30


def test_the_extrapolation_by_hand() -> None:
    found = extrapolation(per_debate=8.0, cpu_s=0.001, debates=342_000)
    assert found["completions_per_s"] == 64 * 9_000 / 250
    assert found["hours"] == pytest.approx(342_000 * 8 / 2304 / 3600, abs=0.01)
    assert (found["cores_of_orchestration"], found["cores_a_gpu"]) == (2.3, 0.04)


def test_sizes_of_files(tmp_path: Path) -> None:
    for name, size in (("a", 1_000_000), ("b", 3_000_000)):
        (tmp_path / f"{name}.parquet").write_bytes(b"0" * size)
    (tmp_path / "c.tmp").write_bytes(b"0")
    assert sizes(tmp_path) == {"files": 2, "mean_mb": 2.0, "largest_mb": 3.0}


def test_what_an_ended_process_used_still_counts() -> None:
    meter = CpuMeter()
    work = "import time; t = time.process_time\nwhile t() < 0.5: pass\nprint(flush=True); input()"
    child = subprocess.Popen(
        [sys.executable, "-c", work], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    child.stdout.readline()
    process = psutil.Process(child.pid)
    before = meter.seconds([process])
    assert before >= 0.45
    child.communicate("\n")
    assert meter.seconds([process]) == before
