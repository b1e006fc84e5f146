"""What only a GPU can show: the attention kernel, offload, weights handed to vLLM by NCCL.

Run with `-m gpu` in an environment of requirements/gpu.txt.
"""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from agentark_ray.distill.packing import pack
from agentark_ray.train.attention import implementation
from agentark_ray.train.sft import collate, loss_sum
from tests.ray import grpo_runs
from tests.ray.test_train import TINY, prepared, train
from tests.unit.trainings import SEQ_LEN, examples

GPUS = torch.cuda.device_count()
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.timeout(900),
    pytest.mark.skipif(GPUS == 0, reason="no CUDA device"),
]


def loss_and_gradient(attention: str) -> tuple[float, torch.Tensor]:
    """Of packed examples, per target, in bfloat16."""
    model: Any = AutoModelForCausalLM.from_pretrained(
        TINY, dtype=torch.bfloat16, attn_implementation=implementation(attention)
    )
    model.cuda()
    batch = collate(pack(examples(), SEQ_LEN, 0), torch.device("cuda"))
    loss = loss_sum(model, batch) / len(batch["targets"])
    loss.backward()
    return loss.item(), torch.cat([p.grad.flatten().float() for p in model.parameters()])


def test_the_kernel_attends_as_a_dense_mask_does() -> None:
    loss, gradient = loss_and_gradient("varlen")
    dense_loss, dense_gradient = loss_and_gradient("sdpa")
    assert loss == pytest.approx(dense_loss, rel=1e-2)
    off = (gradient - dense_gradient).norm() / dense_gradient.norm()
    assert off < 0.05


@pytest.mark.usefixtures("ray_cluster")
def test_a_model_is_trained_whose_weights_live_in_cpu_memory(tmp_path: Path) -> None:
    curve = train(
        *prepared(tmp_path, "gpus_per_engine=1", "train.zero_stage=3", "train.offload=all")
    )
    assert curve[-1]["loss"] < curve[0]["loss"]
    assert all(math.isfinite(row["grad_norm"]) for row in curve)
    assert (tmp_path / "students" / "rsft" / "model.safetensors").exists()


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.skipif(GPUS < 2, reason="a trainer and an engine need a GPU each")
def test_engines_get_every_version_of_the_weights(tmp_path: Path) -> None:
    curve = grpo_runs.train(*grpo_runs.prepared(tmp_path, "gpus_per_engine=1"))
    assert [row["version"] for row in curve] == [0, 1, 2]
    assert all(row["mismatch"] < 0.05 for row in curve)
