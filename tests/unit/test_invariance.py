"""Loss and gradients of a step do not depend on packing, micro-batches, workers or the ZeRO stage.

Real DeepSpeed engines in processes with gloo, in float32, through the step loop's own functions.
The reference is plain PyTorch: every example alone, under a dense causal mask, summed.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM

from agentark_ray.distill.tokens import IGNORE
from agentark_ray.train.loop import accumulate, sizes, take_step
from agentark_ray.train.sft import Sft
from tests.unit.processes import in_processes
from tests.unit.trainings import LENGTHS, engine_of, examples, job_of, write_run

pytestmark = pytest.mark.timeout(300)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A way to make the same step."""

    data: str
    zero_stage: int
    micro_batch_size: int
    offload: str = "none"

    def values(self, workers: int) -> dict[str, Any]:
        """Settings. A batch holds all rows of either data set, and rows are missing."""
        return {
            "dtype": "fp32",
            "workers": workers,
            "zero_stage": self.zero_stage,
            "batch_size": 12,
            "micro_batch_size": self.micro_batch_size,
            "offload": self.offload,
            "epochs": 1,
            "clip_norm": 1e9,
        }


CASES = [
    *(Case(data="packed", zero_stage=stage, micro_batch_size=3) for stage in range(4)),
    *(Case(data="alone", zero_stage=stage, micro_batch_size=2) for stage in (0, 3)),
    *(Case(data="packed", zero_stage=stage, micro_batch_size=6) for stage in (0, 2, 3)),
    *(Case(data="alone", zero_stage=s, micro_batch_size=1, offload="optimizer") for s in (2, 3)),
]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random model and both data sets."""
    root = tmp_path_factory.mktemp("invariance")
    write_run(root)
    return root


def reference(root: Path) -> tuple[float, dict[str, torch.Tensor]]:
    model = AutoModelForCausalLM.from_pretrained(
        root / "model", dtype=torch.float32, attn_implementation="eager"
    )
    total, targets = torch.zeros(()), 0
    for example in examples():
        logits = model(input_ids=torch.tensor([example.input_ids])).logits[0, :-1]
        labels = torch.tensor(example.labels[1:])
        total = total + cross_entropy(logits, labels, ignore_index=IGNORE, reduction="sum")
        targets += int((labels != IGNORE).sum())
    (total / targets).backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return total.item() / targets, gradients


def steps(rank: int, root: Path, workers: int) -> None:
    """Make the step in every way; rank 0 saves what it found."""
    found = [one_step(root, workers, case) for case in CASES]
    if rank == 0:
        torch.save(found, root / f"found-{workers}.pt")


def one_step(root: Path, workers: int, case: Case) -> dict[str, Any]:
    from deepspeed.utils import safe_get_full_grad

    job = job_of(root, case.values(workers), data=case.data)
    objective = Sft(job)
    assert objective.steps == 1
    engine = engine_of(job, objective)
    batches = objective.batches(engine, 0)
    weight, tokens, *_ = sizes(objective, batches, engine)
    means, _ = accumulate(engine, objective, batches, weight)
    gradients = {
        n: torch.Tensor(safe_get_full_grad(p)).clone() for n, p in engine.module.named_parameters()
    }
    return {
        "loss": means["loss"],
        "weight": weight,
        "tokens": tokens,
        "gradients": gradients,
        "norm": take_step(engine),
    }


@pytest.mark.parametrize("workers", [1, 2])
def test_a_step_is_the_same_however_it_is_made(root: Path, workers: int) -> None:
    in_processes(steps, workers, root, workers)
    loss, gradients = reference(root)
    norm = torch.nn.utils.get_total_norm(list(gradients.values())).item()
    close = partial(torch.allclose, atol=1e-5, rtol=1e-5)
    found = torch.load(root / f"found-{workers}.pt", weights_only=True)
    for case, step in zip(CASES, found, strict=True):
        assert step["weight"] == sum(
            label != IGNORE for example in examples() for label in example.labels
        )
        assert sum(LENGTHS) <= step["tokens"] <= sum(LENGTHS) + 12, case  # 1 for a missing row
        assert step["loss"] == pytest.approx(loss, abs=1e-5), case
        assert step["norm"] == pytest.approx(norm, rel=1e-4), case
        wrong = [n for n, g in gradients.items() if not close(step["gradients"][n], g)]
        assert not wrong, (case, wrong)
