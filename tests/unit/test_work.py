"""Floating point operations of a small Qwen3 model by hand, and the share of a GPU's peak."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from agentark_ray.train.loop import _rates
from agentark_ray.train.lora import add_adapters
from agentark_ray.train.work import Work, mfu, pairs_of, peak_flops, work_of
from agentark_ray.train.zero import split_from_the_start
from agentark_ray.train_config import LoraConfig, TrainConfig
from tests.unit.processes import in_processes
from tests.unit.trainings import job_of, small_model

pytestmark = pytest.mark.timeout(300)
# Hidden 32, 2 heads of 16, 1 of keys and values, 48 in the middle, 2 layers, 50 tokens.
LAYER = 32 * 32 + 2 * 32 * 16 + 32 * 32 + 3 * 32 * 48  # q, k and v, o, gate and up and down
WHOLE = Work(token=6 * 2 * LAYER, target=6 * 32 * 50, pair=12 * 2 * 2 * 16)


def test_a_small_model_by_hand() -> None:
    assert Work(token=92_160, target=9_600, pair=768) == WHOLE
    assert work_of(small_model()) == WHOLE
    assert WHOLE.flops(10, 5, 100) == 921_600 + 48_000 + 76_800


def test_frozen_layers_take_no_gradients_of_their_own() -> None:
    model: Any = small_model()
    model.model.layers[0].requires_grad_(False)
    assert work_of(model).token == (4 + 6) * LAYER
    model.requires_grad_(False)
    assert work_of(model) == Work(token=4 * 2 * LAYER, target=4 * 32 * 50, pair=WHOLE.pair)


def test_adapters_count_beside_what_they_adapt() -> None:
    model = small_model()
    add_adapters(model, LoraConfig(rank=3, target_modules=("q_proj", "down_proj")))
    factors = 2 * 3 * ((32 + 32) + (48 + 32))
    assert work_of(model).token == 4 * 2 * LAYER + 6 * factors


class Judge(torch.nn.Module):
    """A model around a backbone, as the process reward model is."""

    def __init__(self, backbone: Any) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = torch.nn.Linear(32, 2)


def test_a_part_of_another_model_counts_with_its_heads() -> None:
    model: Any = small_model()
    token = 6 * (2 * LAYER + 32 * 2)
    assert work_of(Judge(model.model)) == Work(token=token, target=0, pair=WHOLE.pair)
    assert work_of(Judge(model)) == Work(token=token, target=WHOLE.target, pair=WHOLE.pair)


def test_split_models_count_as_whole_ones(tmp_path: Path) -> None:
    small_model().save_pretrained(tmp_path / "model")
    in_processes(split, 1, tmp_path)
    found = torch.load(tmp_path / "found.pt", weights_only=True)
    assert found == {"empty": True, "token": WHOLE.token, "target": WHOLE.target, "frozen": 61_440}


def split(rank: int, root: Path) -> None:
    from transformers import AutoModelForCausalLM

    with split_from_the_start(TrainConfig(zero_stage=3), 1, on_gpu=False):
        model: Any = AutoModelForCausalLM.from_pretrained(root / "model")
    work, empty = work_of(model), model.model.layers[0].self_attn.q_proj.weight.numel() == 0
    frozen = work_of(model.requires_grad_(False)).token
    found = {"empty": empty, "token": work.token, "target": work.target, "frozen": frozen}
    torch.save(found, root / "found.pt")


def test_torch_counts_the_same() -> None:
    """Eager attention works on the whole square of an example, and on its masked half."""
    model: Any = small_model()
    model.set_attn_implementation("eager")
    with FlopCounterMode(display=False) as counter:
        model(input_ids=torch.arange(24)[None]).logits.sum().backward()
    assert counter.get_total_flops() == pytest.approx(WHOLE.flops(24, 24, 24 * 24), rel=0.01)


def test_tokens_attend_within_their_example() -> None:
    packed = {"position_ids": torch.tensor([[0, 1, 2, 0, 1]])}  # 1 + 2 + 3, and 1 + 2
    assert pairs_of([packed, {"position_ids": torch.tensor([[0]])}]) == 10
    assert pairs_of([]) == 0


@pytest.mark.parametrize(
    ("gpu", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA H100 NVL", 835e12),
        ("NVIDIA H200", 989e12),
        ("NVIDIA GH200 480GB", 989e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA A10G", 125e12),
        ("NVIDIA L4", 121e12),
        ("NVIDIA L40", 181e12),
        ("NVIDIA L40S", 362e12),
        ("AMD Instinct MI300X", 1307e12),
        ("Tesla V100-SXM2-16GB", None),  # no bfloat16
        ("A1000", None),
    ],
)
def test_peaks_by_the_names_that_drivers_give(gpu: str, peak: float | None) -> None:
    assert peak_flops(gpu) == peak


def test_the_share_of_the_peak() -> None:
    assert mfu(2 * 312e12, seconds=4.0, gpus=2, gpu="NVIDIA A100-PCIE-40GB") == 0.25
    assert mfu(1e12, seconds=1.0, gpus=1, gpu="a toaster") is None


def test_only_a_known_gpu_in_bfloat16_has_it(
    one_worker: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA L4")
    job = job_of(tmp_path, {})
    rates = {"seconds": 0.5, "tokens_per_s": 20.0}
    assert _rates(job, 10, 6.05e12, 0.5) == rates
    assert _rates(replace(job, on_gpu=True), 10, 6.05e12, 0.5) == {**rates, "mfu": 0.1}
    single = job_of(tmp_path, {"dtype": "fp32"})
    assert _rates(replace(single, on_gpu=True), 10, 6.05e12, 0.5) == rates
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a toaster")
    assert _rates(replace(job, on_gpu=True), 10, 6.05e12, 0.5) == rates
