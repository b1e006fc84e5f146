"""The machine on which a load was made, and what a model weighs."""

import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

import psutil

from agentark_ray.models import weights_bytes

ANSWER_S = 20.0


def machine() -> dict[str, Any]:
    """Of this process, as load.json has it; the load average is that of 1, 5 and 15 minutes."""
    return {
        "host": platform.node(),
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": psutil.virtual_memory().total,
        "gpus": _nvidia_smi("name"),
        "load_average": [round(value, 2) for value in os.getloadavg()],
    }


def gpu_bytes(n_gpus: int) -> int | None:
    """Bytes in use on the GPUs that Ray gave this process, by anybody; None without GPUs."""
    if not n_gpus:
        return None
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    used = _nvidia_smi("memory.used", *(["-i", visible] if visible else []))
    return sum(int(mebibytes) for mebibytes in used) * 2**20 if used else None


def model_bytes(model: str) -> int | None:
    """Bytes of a model's weights: of a folder, or of an id that was downloaded here; else None."""
    local = weights_bytes(model)
    if local is not None:
        return local
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return weights_bytes(snapshot_download(model, local_files_only=True))
    except LocalEntryNotFoundError:
        return None


def _cpu() -> str:
    """Its name as Linux has it, else the architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _nvidia_smi(what: str, *options: str) -> list[str]:
    """One line a GPU; none where there is no driver."""
    if shutil.which("nvidia-smi") is None:
        return []
    command = ["nvidia-smi", f"--query-gpu={what}", "--format=csv,noheader,nounits", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_S)
    return done.stdout.strip().splitlines() if done.returncode == 0 else []
