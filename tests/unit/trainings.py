"""What tests of the step loop without Ray share: a small random model, packed rows, a job."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from agentark_ray.config import parse_config
from agentark_ray.distill.packing import pack
from agentark_ray.distill.tokens import IGNORE, Example
from agentark_ray.run_folder import RunFolder
from agentark_ray.traces.requests import write_rows
from agentark_ray.train.dataset import PACKED_SCHEMA
from agentark_ray.train.loop import ready_model
from agentark_ray.train.objective import Objective, TrainJob
from agentark_ray.train.sft import Sft
from agentark_ray.train.zero import start_engine

SEQ_LEN = 24
LENGTHS = (5, 9, 3, 7, 12, 8, 24, 2, 11)


def small_model() -> Qwen3ForCausalLM:
    """A random model of 16,960 weights, the same every time."""
    torch.manual_seed(0)
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=50,
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=16,
            intermediate_size=48,
            tie_word_embeddings=True,
        )
    )


def examples() -> list[Example]:
    """Nine, of LENGTHS random tokens."""
    generator = torch.Generator().manual_seed(5)
    found = []
    for number, length in enumerate(LENGTHS):
        ids = torch.randint(1, 50, (length,), generator=generator).tolist()
        prompt = 1 + number % (length - 1)
        found.append(Example(input_ids=ids, labels=[IGNORE] * prompt + ids[prompt:]))
    return found


def write_run(root: Path) -> None:
    """The model, and two data sets: the examples packed, and a row for each."""
    small_model().save_pretrained(root / "model")
    folder = RunFolder(str(root / "run"))
    alone = [row for example in examples() for row in pack([example], SEQ_LEN, 0)]
    for name, rows in {"packed": pack(examples(), SEQ_LEN, 0), "alone": alone}.items():
        write_rows(folder, [dict(row) for row in rows], PACKED_SCHEMA, f"datasets/{name}/part")


def job_of(
    root: Path,
    train: dict[str, Any],
    *,
    data: str = "alone",
    name: str = "test",
    objective: Callable[[TrainJob], Objective] = Sft,
) -> TrainJob:
    """A job of the run in `root`, with settings of the section `train`."""
    overrides = [f"train.{key}={value}" for key, value in train.items()]
    return TrainJob(
        folder=RunFolder(str(root / "run")),
        config=parse_config({}, overrides, "test"),
        model=str(root / "model"),
        objective=objective,
        name=name,
        data=f"datasets/{data}",
        out=f"students/{name}",
        on_gpu=False,
        progress=None,
    )


def engine_of(job: TrainJob, objective: Objective) -> Any:
    """A DeepSpeed engine around the job's model, as the step loop starts it."""
    workers = torch.distributed.get_world_size()
    model = ready_model(objective.build, job.config.train, workers, on_gpu=False)
    return start_engine(model, job.config.train, workers, on_gpu=False)


def by_name(batches: Sequence[Any]) -> dict[str, torch.Tensor]:
    """All tensors of these batches, named NUMBER.TENSOR."""
    return {
        f"{i}.{name}": value for i, batch in enumerate(batches) for name, value in batch.items()
    }
