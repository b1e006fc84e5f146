"""Imports run downward only, heavy packages stay where they belong, `__init__.py` stay empty."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import agentark_ray

PACKAGE = "agentark_ray"
ROOT = Path(agentark_ray.__file__).parent

# Lowest first. A module may import its own component and what is in a lower row, never its row.
# A dotted name takes a module or a sub-package out of its package.
TIERS: tuple[tuple[str, ...], ...] = (
    (
        "types",
        "section",
        "doctor_checks",
        "console",
        "location",
        "tiny.path",
        "page",
        "similar",
        "histogram",
    ),
    ("engine_config", "train_config", "prices", "team", "questions", "strategy", "gates_config"),
    ("engine.base", "grading.base"),
    ("debate",),
    ("monitoring",),
    ("robustness_config",),
    ("evaluate_config",),
    ("config", "resources"),
    ("cluster.processes", "lease"),
    (
        *("run_folder", "session", "models", "doctor", "debate_rows", "round_tally", "cluster"),
        "lost_nodes",
    ),
    ("grading", "label_rows", "students"),
    ("tasks",),
    ("debate.protocols.peer",),
    ("debate.protocol",),
    ("engine.settings",),
    ("plan",),
    ("distill",),
    ("evaluate.perturb",),
    ("train.losses", "train.rewards", "train.policy", "train.schedule"),
    ("train.advantages",),
    ("engine", "tiny"),
    ("traces", "train", "evaluate"),
    ("model_card", "process_reward", "step_scores", "gold_scores", "workspace"),
    ("student", "evaluation", "upkeep", "load"),
    ("report_source",),
    ("reporting",),
    ("student_sft", "student_pad"),
    ("distillation",),
    ("pipeline", "labelling", "cli_rows"),
    ("calibration",),
    ("serving",),
    ("cli_base",),
    (
        "cli_traces",
        "cli_label",
        "cli_local",
        "cli_compact",
        "cli_plan",
        "cli_recommend",
        "cli_serve",
        "cli_distill",
        "cli_report",
        "cli_upkeep",
        "cli_load",
    ),
    ("cli_cluster",),
    ("cli",),
)
RANK = {component: rank for rank, row in enumerate(TIERS) for component in row}
# tiny/ makes the shipped model: it knows the debate's prompts and nothing that runs a debate.
TINY_MAY = ("types", "grading", "tasks", "debate.layouts", "tiny")
CONFINED = {
    "vllm": ("engine", "tiny.measure"),
    "deepspeed": ("train", "tiny"),
    "torch": ("train", "tiny"),
}
PURE = (
    "types",
    "config",
    "engine.settings",
    "plan",
    "grading",
    "debate",
    "distill",
    "evaluate.perturb",
    "train.losses",
    "train.policy",
    "train.advantages",
    "train.rewards",
    "train.schedule",
)
HEAVY = ("torch", "ray", "vllm", "transformers", "deepspeed")


def within(name: str, prefixes: tuple[str, ...]) -> bool:
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)


def component(name: str) -> str | None:
    """The longest known prefix of a dotted name (without the package), or None."""
    parts = name.split(".")
    prefixes = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((prefix for prefix in prefixes if prefix in RANK), None)


def imported(module: str, source: str) -> Iterator[str]:
    """Absolute dotted names a module imports, anywhere in it; `from a import b` gives `a.b`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = f"{PACKAGE}.{module}".split(".")[: -node.level] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def violations(module: str, source: str) -> list[str]:
    """What a module (dotted, without the package) imports although it must not."""
    own = component(module)
    if own is None:
        return [f"{module} has no place in TIERS"]
    found = []
    for name in imported(module, source):
        if name.startswith(f"{PACKAGE}."):
            found += _inner(module, own, name.removeprefix(f"{PACKAGE}."))
        else:
            found += _outer(module, name)
    return found


def _inner(module: str, own: str, name: str) -> list[str]:
    target = component(name)
    if target is None:
        return [f"{module} imports {name}, which has no place in TIERS"]
    if own == "tiny" and not within(name, TINY_MAY):
        return [f"{module} imports {name}; tiny may only import {', '.join(TINY_MAY)}"]
    if target != own and RANK[target] >= RANK[own]:
        return [f"{module} imports {name}, which is not below it"]
    return []


def _outer(module: str, name: str) -> list[str]:
    top = name.split(".")[0]
    if top in CONFINED and not within(module, CONFINED[top]):
        return [f"{module} imports {top}, confined to {', '.join(CONFINED[top])}"]
    if top == "ray" and within(module, PURE):
        return [f"{module} imports ray, but it is pure"]
    if top in ("jobs", "serve", "benchmarks", "tests"):
        return [f"{module} imports {top}, which is above the package"]
    return []


def sources() -> Iterator[tuple[str, str]]:
    for path in sorted(ROOT.rglob("*.py")):
        if path.name != "__init__.py":
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            yield module, path.read_text(encoding="utf-8")


def test_imports_run_downward() -> None:
    found = [line for module, source in sources() for line in violations(module, source)]
    assert not found, "\n".join(found)


def test_init_files_are_empty() -> None:
    assert [str(path) for path in ROOT.rglob("__init__.py") if path.stat().st_size] == []


@pytest.mark.parametrize(
    "module", ["config", "cli", "cli_traces", "cli_label", "plan", "doctor", "tiny.path"]
)
def test_light_modules_import_nothing_heavy(module: str) -> None:
    code = f"import sys, {PACKAGE}.{module}; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr


@pytest.mark.parametrize(
    ("module", "source", "reason"),
    [
        ("types", "from agentark_ray.config import Config", "not below"),
        ("config", "import agentark_ray.run_folder", "not below"),
        ("debate.run", "from agentark_ray.engine.vllm import VllmEngine", "not below"),
        ("debate.run", "def f():\n    from agentark_ray.traces import actor", "not below"),
        ("debate.run", "from ..traces.actor import DebateActor", "not below"),
        ("traces.actor", "from agentark_ray.train.loop import TrainJob", "not below"),
        ("evaluate.metrics", "from agentark_ray import traces", "not below"),
        ("train.losses", "from agentark_ray.train.zero import start_engine", "not below"),
        ("train.loop", "from agentark_ray.pipeline import run", "not below"),
        ("pipeline", "from agentark_ray.cli import main", "not below"),
        ("tiny.corpus", "from agentark_ray.debate.run import run_debate", "tiny may only"),
        ("tiny.corpus", "from agentark_ray.config import Config", "tiny may only"),
        ("traces.actor", "import vllm", "confined"),
        ("engine.vllm", "import torch.nn.functional as F", "confined"),
        ("traces.actor", "from deepspeed import comm", "confined"),
        ("debate.run", "import ray", "pure"),
        ("cli", "from jobs import run", "above the package"),
        ("novelty", "import os", "no place"),
        ("cli", "from agentark_ray.novelty import x", "no place"),
    ],
)
def test_a_planted_import_is_found(module: str, source: str, reason: str) -> None:
    (found,) = violations(module, f"import os\n{source}\n")
    assert reason in found


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("config", "from agentark_ray.types import Split"),
        ("debate.run", "from agentark_ray.engine.base import Generate"),
        ("debate.run", "from . import layouts"),
        ("models", "from agentark_ray.tiny.path import tiny_model_path"),
        ("engine.vllm", "import vllm"),
        ("engine.make", "from agentark_ray.engine.base import Engine"),
        ("tiny.measure", "import vllm, torch"),
        ("tiny.corpus", "from agentark_ray.debate.layouts import LAYOUTS"),
        ("train.sft", "import torch, ray\nfrom agentark_ray.train.losses import loss"),
        ("cli", "from agentark_ray import pipeline"),
    ],
)
def test_a_downward_import_passes(module: str, source: str) -> None:
    assert violations(module, source) == []
