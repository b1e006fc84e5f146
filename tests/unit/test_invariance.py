"""Loss and gradients of a step do not depend on packing, micro-batches, workers or the ZeRO stage.

Real DeepSpeed engines in processes with gloo, in float32, through the step loop's own functions.
The reference is plain PyTorch: every example alone, under a dense causal mask, summed.
"""

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.multiprocessing.spawn import spawn
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, Qwen3Config, Qwen3ForCausalLM

from agentark_ray.config import parse_config
from agentark_ray.distill.packing import pack
from agentark_ray.distill.tokens import IGNORE, Example
from agentark_ray.run_folder import RunFolder
from agentark_ray.traces.requests import write_rows
from agentark_ray.train.dataset import PACKED_SCHEMA

SEQ_LEN = 24
LENGTHS = (5, 9, 3, 7, 12, 8, 24, 2, 11)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A way to make the same step."""

    data: str
    zero_stage: int
    micro_batch_size: int
    offload: str = "none"

    def values(self, workers: int) -> list[str]:
        """Config overrides. A batch holds all rows of either data set, and rows are missing."""
        section = {
            "dtype": "fp32",
            "workers": workers,
            "zero_stage": self.zero_stage,
            "batch_size": 12,
            "micro_batch_size": self.micro_batch_size,
            "offload": self.offload,
            "epochs": 1,
            "clip_norm": 1e9,
        }
        return [f"train.{name}={value}" for name, value in section.items()]


CASES = [
    *(Case(data="packed", zero_stage=stage, micro_batch_size=3) for stage in range(4)),
    *(Case(data="alone", zero_stage=stage, micro_batch_size=2) for stage in (0, 3)),
    *(Case(data="packed", zero_stage=stage, micro_batch_size=6) for stage in (0, 2, 3)),
    *(Case(data="alone", zero_stage=s, micro_batch_size=1, offload="optimizer") for s in (2, 3)),
]


def examples() -> list[Example]:
    generator = torch.Generator().manual_seed(5)
    found = []
    for number, length in enumerate(LENGTHS):
        ids = torch.randint(1, 50, (length,), generator=generator).tolist()
        prompt = 1 + number % (length - 1) if length > 1 else 1
        found.append(Example(input_ids=ids, labels=[IGNORE] * prompt + ids[prompt:]))
    return found


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random model and both data sets."""
    root = tmp_path_factory.mktemp("invariance")
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=50,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        intermediate_size=48,
        tie_word_embeddings=True,
    )
    Qwen3ForCausalLM(config).save_pretrained(root / "model")
    folder = RunFolder(str(root / "run"))
    alone = [row for example in examples() for row in pack([example], SEQ_LEN, 0)]
    for name, rows in {"packed": pack(examples(), SEQ_LEN, 0), "alone": alone}.items():
        write_rows(folder, [dict(row) for row in rows], PACKED_SCHEMA, f"datasets/{name}/part")
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


def worker(rank: int, root: Path, workers: int, port: int) -> None:
    """Make the step in every way; rank 0 saves what it found."""
    os.environ |= {"DS_ACCELERATOR": "cpu", "RANK": str(rank), "WORLD_SIZE": str(workers)}
    os.environ |= {"LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")
    found = [one_step(root, workers, case) for case in CASES]
    if rank == 0:
        torch.save(found, root / f"found-{workers}.pt")
    torch.distributed.barrier()


def one_step(root: Path, workers: int, case: Case) -> dict[str, Any]:
    from deepspeed.utils import safe_get_full_grad

    from agentark_ray.train.loop import accumulate, sizes, take_step
    from agentark_ray.train.objective import TrainJob
    from agentark_ray.train.sft import Sft
    from agentark_ray.train.zero import split_from_the_start, start_engine

    config = parse_config({}, case.values(workers), "test")
    job = TrainJob(
        folder=RunFolder(str(root / "run")),
        config=config,
        model=str(root / "model"),
        objective=Sft,
        name="test",
        data=f"datasets/{case.data}",
        out="students/test",
        on_gpu=False,
        progress=None,
    )
    objective = Sft(job)
    assert objective.steps == 1
    with split_from_the_start(config.train, workers, on_gpu=False):
        model = objective.build()
    engine = start_engine(model.train(), config.train, workers, on_gpu=False)
    batches = objective.batches(engine, 0)
    weight, tokens, *_ = sizes(objective, batches, engine)
    means, _ = accumulate(engine, objective, batches, weight)
    gradients = {
        n: torch.Tensor(safe_get_full_grad(p)).clone() for n, p in model.named_parameters()
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
    port = 29_600 + os.getpid() % 1_000 + workers
    spawn(worker, args=(root, workers, port), nprocs=workers)
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
