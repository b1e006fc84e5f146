"""A run of the paper's size on one machine: memory, files, and what 64 GPUs would take."""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agentark_ray.run_folder import RunFolder
from agentark_ray.traces.compact import compact
from agentark_ray.traces.read import trace_dataset
from benchmarks.common import finish
from benchmarks.watched import Look, job, nodes, output_of, settings, watch

# The extrapolation: engines of one GPU each, as measured figures of a cluster have it.
GPUS = 64
TOKENS_PER_S = 9_000  # output tokens a second of one GPU's engine
TOKENS_PER_COMPLETION = 250


def run_paper(args: argparse.Namespace) -> None:
    """A run of the paper's size: memory of driver and GCS over it, sizes of files."""
    with (
        tempfile.TemporaryDirectory(dir=args.place) as place,
        nodes(1, args.actors[0] + 4) as state,
    ):
        output = output_of(Path(place))
        (actors,) = args.actors
        began = time.monotonic()
        looks = watch(job(args, output, actors, args.questions), state, output / "traces")
        seconds = time.monotonic() - began
        folder = RunFolder(str(output))
        rows = trace_dataset(folder, "traces").count_rows()
        assert rows == args.questions, f"{rows} of {args.questions} debates"
        completions = count_turns(folder)
        before = sizes(output / "traces")
        merged = compact(folder, 256_000_000)
        after = sizes(output / "traces")
        manifest = json.loads((output / "manifest.json").read_text())
    early, late = quarter(looks), looks[-1]
    details = {
        "debates": rows,
        "completions": completions,
        "seconds": round(seconds),
        "stages": {name: stage["seconds"] for name, stage in manifest["stages"].items()},
        "driver_mb": [round(early.driver_mb), round(max(look.driver_mb for look in looks))],
        "gcs_mb": [round(early.gcs_mb), round(max(look.gcs_mb for look in looks))],
        "files": before,
        "files_after_compaction": after,
        "bytes_per_debate": round(merged.bytes / rows),
        "extrapolation": extrapolation(completions / rows, late.cpu_s / completions, rows),
        "settings": settings(args),
    }
    ratios = {
        "driver_memory_end_over_first_quarter": max(look.driver_mb for look in looks)
        / early.driver_mb,
        "gcs_memory_end_over_first_quarter": max(look.gcs_mb for look in looks) / early.gcs_mb,
    }
    finish("scaling_paper", ratios, details)


def quarter(looks: Sequence[Look]) -> Look:
    """The first look with a quarter of the files: all that is needed once has been allocated."""
    return next(look for look in looks if look.files >= looks[-1].files / 4)


def count_turns(folder: RunFolder) -> int:
    """Completions in all traces, read in parts."""
    batches = trace_dataset(folder, "traces").to_batches(columns=["output_tokens", "turns"])
    return sum(len(turns) for batch in batches for turns in batch["turns"])


def sizes(folder: Path) -> dict[str, float]:
    """How many files, and megabytes of the mean and the largest one."""
    found = [path.stat().st_size / 1e6 for path in folder.glob("*.parquet")]
    return {
        "files": len(found),
        "mean_mb": round(sum(found) / len(found), 2),
        "largest_mb": round(max(found), 2),
    }


def extrapolation(per_debate: float, cpu_s: float, debates: int) -> dict[str, Any]:
    """What 64 GPUs would take, and what the measured orchestration costs beside them.

    Args:
        per_debate: completions of a debate.
        cpu_s: CPU seconds of everything but engines, of a completion.
        debates: of the run.
    """
    completions_per_s = GPUS * TOKENS_PER_S / TOKENS_PER_COMPLETION
    return {
        "assumptions": (
            f"{GPUS} engines of one GPU at {TOKENS_PER_S} output tokens/s, completions of"
            f" {TOKENS_PER_COMPLETION} tokens; rates add up, as measured with `actors`"
        ),
        "completions_per_s": round(completions_per_s),
        "hours": round(debates * per_debate / completions_per_s / 3600, 2),
        "cores_of_orchestration": round(completions_per_s * cpu_s, 1),
        "cores_a_gpu": round(completions_per_s * cpu_s / GPUS, 2),
    }
