"""Training on real Ray Train and DeepSpeed: workers, ZeRO stages, a killed worker, divergence."""

import os
import shutil
import signal
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from agentark_ray.config import Config, parse_config
from agentark_ray.debate.layouts import LAYOUTS
from agentark_ray.distill.packing import pack
from agentark_ray.distill.tokens import encode
from agentark_ray.grading.numeric import INSTRUCTION
from agentark_ray.run_folder import RunFolder
from agentark_ray.tasks.arithmetic import problem
from agentark_ray.tiny.path import tiny_model_path
from agentark_ray.traces.requests import write_rows
from agentark_ray.train.dataset import PACKED_SCHEMA, PackedRows, epoch_order, load_tokenizer
from agentark_ray.train.launch import start_progress, train_model
from agentark_ray.train.loop import NonFinite
from agentark_ray.train.objective import loss_curve

pytestmark = [pytest.mark.usefixtures("ray_cluster"), pytest.mark.timeout(300)]
TINY = str(tiny_model_path())


def prepared(path: Path, *overrides: str) -> tuple[RunFolder, Config]:
    """A run folder with packed solutions of 60 problems."""
    values = [f"output={path}", "distill.seq_len=256", "train.lr=1e-3", "train.batch_size=4"]
    values += ["train.micro_batch_size=2", "train.epochs=2"]
    config = parse_config({}, [*values, *overrides], "test")
    folder, tokenizer = RunFolder(config.output), load_tokenizer(config, TINY)
    problems = [problem("train", index) for index in range(60)]
    examples = [
        encode(tokenizer, LAYOUTS["paper"](p.text, INSTRUCTION, [], 0, ""), p.solution(), {})
        for p in problems
    ]
    rows = [dict(row) for row in pack(examples, 256, 0)]
    write_rows(folder, rows, PACKED_SCHEMA, "datasets/rsft/packed/part")
    return folder, config


def train(folder: RunFolder, config: Config, model: str = TINY) -> list[dict[str, float]]:
    train_model(
        folder,
        config,
        model,
        start_progress(),
        name="rsft",
        data="datasets/rsft/packed",
        out="students/rsft",
    )
    return folder.read_json(*loss_curve("rsft"))


def test_two_workers_with_zero_3_learn_what_one_learns(tmp_path: Path) -> None:
    one = train(*prepared(tmp_path / "one", "train.zero_stage=2"))
    two = train(*prepared(tmp_path / "two", "train.zero_stage=3", "train.workers=2"))
    assert [row["step"] for row in one] == [row["step"] for row in two]
    assert [row["weight"] for row in one] == [row["weight"] for row in two]
    assert two[0]["loss"] == pytest.approx(one[0]["loss"], rel=1e-3)
    assert two[-1]["loss"] == pytest.approx(one[-1]["loss"], rel=0.1)
    assert one[0]["grad_norm"] == pytest.approx(two[0]["grad_norm"], rel=0.02)
    for name in ("one", "two"):
        student = AutoModelForCausalLM.from_pretrained(tmp_path / name / "students" / "rsft")
        base = AutoModelForCausalLM.from_pretrained(TINY)
        pairs = zip(student.parameters(), base.parameters(), strict=True)
        assert any(not torch.equal(a, b) for a, b in pairs)
        assert (tmp_path / name / "students" / "rsft" / "chat_template.jinja").exists()


def test_divergence_stops_before_a_weight_changes(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(TINY, broken)
    weights = load_file(broken / "model.safetensors")
    weights["model.norm.weight"][0] = float("nan")
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    folder, config = prepared(tmp_path / "run", "train.max_failures=2")
    # Raised by train_model: a worker that raised would be restarted and end as a
    # TrainingFailedError.
    with pytest.raises(NonFinite, match="step 1: the loss is nan; no weight was changed"):
        train(folder, config, str(broken))
    assert not folder.exists("students", "rsft")


def test_a_killed_worker_resumes_from_the_last_checkpoint(tmp_path: Path) -> None:
    folder, config = prepared(tmp_path / "run", "train.epochs=10", "train.checkpoint_every=4")
    checkpoints = tmp_path / "run" / "checkpoints" / "rsft"
    killed: list[int] = []

    def kill() -> None:
        while not list(checkpoints.glob("checkpoint_*")):
            time.sleep(0.05)
        for process in psutil.process_iter(["pid", "cmdline"]):
            if "RayTrainWorker" in " ".join(process.info["cmdline"] or []):
                os.kill(process.info["pid"], signal.SIGKILL)
                killed.append(process.info["pid"])

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    curve = train(folder, config)
    killer.join(timeout=5)
    assert len(killed) == 1
    assert [row["step"] for row in curve] == list(range(1, len(curve) + 1))
    assert curve[-1]["loss"] < curve[0]["loss"]


def test_packed_rows_are_read_by_index(tmp_path: Path) -> None:
    folder, _ = prepared(tmp_path / "run")
    rows = PackedRows(folder.filesystem, folder.inner("datasets", "rsft", "packed"))
    assert len(rows) == len({tuple(rows[i]["input_ids"]) for i in range(len(rows))})
    again: Any = PackedRows(folder.filesystem, folder.inner("datasets", "rsft", "packed"))
    last = len(rows) - 1
    assert again[last] == rows[last]
    order = epoch_order(len(rows), 7, 0)
    assert sorted(order) == list(range(len(rows)))
    assert order == epoch_order(len(rows), 7, 0) != epoch_order(len(rows), 7, 1)
