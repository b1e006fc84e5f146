"""Training on real Ray Train and DeepSpeed: workers, ZeRO stages, a killed worker, divergence."""

import json
import shutil
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
import torch
from safetensors.torch import load_file, save_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import AutoModelForCausalLM

from agentark_ray.config import Config, parse_config
from agentark_ray.console import State
from agentark_ray.debate.layouts import LAYOUTS
from agentark_ray.distill.packing import pack
from agentark_ray.distill.tokens import encode
from agentark_ray.grading.numeric import INSTRUCTION
from agentark_ray.run_folder import RunFolder
from agentark_ray.student import steps_of
from agentark_ray.tasks.arithmetic import problem
from agentark_ray.tiny.path import tiny_model_path
from agentark_ray.traces.requests import write_rows
from agentark_ray.train.dataset import PACKED_SCHEMA, PackedRows, epoch_order, load_tokenizer
from agentark_ray.train.launch import start_progress, train_model
from agentark_ray.train.loop import NonFinite
from agentark_ray.train.nonfinite import TENSORS
from agentark_ray.train.objective import loss_curve
from tests.ray.helpers import children

pytestmark = [pytest.mark.usefixtures("ray_cluster"), pytest.mark.timeout(600)]
TINY = str(tiny_model_path())


def prepared(path: Path | str, *overrides: str) -> tuple[RunFolder, Config]:
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


def train(
    folder: RunFolder, config: Config, model: str = TINY, progress: Any = None
) -> list[dict[str, float]]:
    train_model(
        folder,
        config,
        model,
        progress or start_progress(),
        name="rsft",
        data="datasets/rsft/packed",
        out="students/rsft",
    )
    return folder.read_json(*loss_curve("rsft"))


def test_two_workers_with_zero_3_learn_what_one_learns(tmp_path: Path) -> None:
    # As an object store is: Ray Train's checkpoints and the export go through its file system.
    one = train(*prepared(f"file://{tmp_path}/one", "train.zero_stage=2"))
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


@pytest.mark.slow
def test_divergence_stops_before_a_weight_changes(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(TINY, broken)
    weights = load_file(broken / "model.safetensors")
    weights["model.norm.weight"][0] = float("nan")
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    folder, config = prepared(tmp_path / "run", "train.max_failures=2")
    # Raised by train_model: a worker that raised would be restarted and end as a
    # TrainingFailedError.
    with pytest.raises(NonFinite, match="step 1: the loss is nan; no weight was changed") as error:
        train(folder, config, str(broken))
    assert not folder.exists("students", "rsft")
    where = ("checkpoints", "rsft", "nonfinite", "step-1-worker-0", TENSORS)
    assert str(error.value).endswith(folder.path(*where))
    stored = load_file(folder.inner(*where))
    assert stored["0.rows"].shape == (2,) and stored["1.input_ids"].shape[0] == 1


@ray.remote(num_cpus=0)
class Killer:
    """A TrainProgress that remembers all steps, and kills a worker when one is done."""

    def __init__(self, after: int) -> None:
        self._steps: list[int] = []
        self._after = after

    def put(self, step: int, total: int, figures: dict[str, float]) -> None:
        self._steps.append(step)
        if step == self._after and self._steps.count(step) == 1:
            raylet = psutil.Process().parent()
            assert raylet is not None
            children("RayTrainWorker", raylet.pid)[-1].kill()

    def steps(self) -> list[int]:
        return self._steps

    def divergence(self) -> None:
        """None was met."""


@pytest.mark.slow
def test_a_killed_worker_costs_at_most_one_checkpoint_interval(tmp_path: Path) -> None:
    settings = ("train.epochs=3", "train.checkpoint_every=4", "train.workers=2")
    whole = train(*prepared(tmp_path / "whole", *settings))
    folder, config = prepared(tmp_path / "killed", *settings)
    killer: Any = Killer.remote(5)  # the first checkpoint has just been written
    curve = train(folder, config, progress=killer)
    steps = ray.get(killer.steps.remote())
    assert steps == [*range(1, 6), *range(5, len(whole) + 1)]
    for name in ("step", "loss", "lr", "weight"):
        assert [row[name] for row in curve] == pytest.approx([row[name] for row in whole], rel=1e-4)
    assert curve[-1]["loss"] < curve[0]["loss"]
    stored = (tmp_path / "killed" / "checkpoints" / "rsft" / "steps.jsonl").read_text()
    assert [json.loads(line) for line in stored.splitlines()] == curve
    events = EventAccumulator(str(tmp_path / "killed" / "checkpoints" / "rsft" / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("train/loss")] == [row["step"] for row in curve]


def test_progress_has_the_rate_and_on_a_gpu_its_use() -> None:
    progress = start_progress()
    assert steps_of(progress, on_gpu=True) is None
    figures = {"loss": 1.25, "tokens_per_s": 12_345.6}
    ray.get(progress.put.remote(3, 10, figures))
    state = steps_of(progress, on_gpu=False)
    assert state == State(done=3, total=10, text="loss 1.2500, 12,346 tokens/s")
    ray.get(progress.put.remote(4, 10, {**figures, "reward": 0.5, "mfu": 0.4321}))
    state = steps_of(progress, on_gpu=True)
    assert state == State(done=4, total=10, text="reward 0.5000, 12,346 tokens/s, MFU 43.2%")
    ray.get(progress.put.remote(5, 10, figures))
    assert steps_of(progress, on_gpu=True).text.endswith(" tokens/s, MFU unknown")  # type: ignore[union-attr]


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
