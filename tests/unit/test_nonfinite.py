"""A step that is not finite changes nothing and leaves its batches; real DeepSpeed, two workers."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed
from safetensors.torch import load_file

from agentark_ray.train.export import full_weights
from agentark_ray.train.loop import NonFinite, _step
from agentark_ray.train.nonfinite import ABOUT, TENSORS
from agentark_ray.train.objective import Batch, Sums, TrainJob
from agentark_ray.train.sft import Sft
from agentark_ray.train.work import work_of
from tests.unit.processes import in_processes
from tests.unit.trainings import by_name, engine_of, job_of, write_run

pytestmark = pytest.mark.timeout(300)
POISONED = 5  # a row of the data: only one of the workers has it, in one of its micro-batches
BASE = {"workers": 2, "batch_size": 12, "micro_batch_size": 2, "epochs": 1, "lr": 0.1}
CASES: dict[str, dict[str, Any]] = {
    **{f"{dtype}_{stage}": {"dtype": dtype, "zero_stage": stage}
       for dtype in ("fp32", "bf16") for stage in range(4)},
    "offload_2": {"dtype": "bf16", "zero_stage": 2, "offload": "optimizer"},
    "offload_3": {"dtype": "bf16", "zero_stage": 3, "offload": "all"},
}  # fmt: skip
REASONS = {"loss": "the loss is nan", "gradient": "the gradient's norm is ", "infinite": "norm is "}


class Poisoned(Sft):
    """The loss of one row is not a number, or its gradient is none, or is infinite."""

    what = "loss"

    def loss(self, engine: Any, batch: Batch) -> tuple[torch.Tensor, Sums]:
        loss, figures = super().loss(engine, batch)
        if POISONED in batch["rows"].tolist():
            loss = {
                "loss": loss * float("nan"),
                "gradient": loss + (loss * 0).sqrt(),  # + 0, whose derivative is infinite times 0
                "infinite": loss + (loss - loss.detach()) * 1e38 * 1e10,  # + 0; overflows
            }[self.what]
        return loss, figures


class PoisonedGradient(Poisoned):
    what = "gradient"


class PoisonedInfinite(Poisoned):
    what = "infinite"


def meet(rank: int, root: Path) -> None:
    """Every case meets each number once; each worker says what it had and what it met."""
    found = {}
    for case, settings in CASES.items():
        for kind in (Poisoned, PoisonedGradient, PoisonedInfinite):
            found[f"{case}-{kind.what}"] = met(root, f"{case}-{kind.what}", settings, kind)
    torch.save(found, root / f"found-{rank}.pt")


def met(root: Path, name: str, settings: dict[str, Any], kind: type[Poisoned]) -> dict[str, Any]:
    job = job_of(root, {**BASE, **settings}, name=name, objective=kind)
    objective = kind(job)
    engine = engine_of(job, objective)
    before = full_weights(engine)
    with pytest.raises(NonFinite) as error:
        _step(engine, job, objective, work_of(engine.module), 0)
    after = full_weights(engine)
    found = {
        "said": str(error.value),
        "changed": [name for name in before if not torch.equal(before[name], after[name])],
        "weights": len(before),
        "batches": [dict(batch) for batch in objective.batches(engine, 0)],
    }
    engine.destroy()
    return found


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("nonfinite")
    write_run(root)
    in_processes(meet, 2, root)
    return root


def found(root: Path, name: str) -> list[dict[str, Any]]:
    """What the two workers met."""
    return [torch.load(root / f"found-{rank}.pt", weights_only=True)[name] for rank in range(2)]


def saved(root: Path, name: str, worker: int) -> Path:
    return root / "run" / "checkpoints" / name / "nonfinite" / f"step-1-worker-{worker}"


def rows(batches: Sequence[Batch], *numbers: int) -> list[list[int]]:
    """What of the data is in these batches; -1 fills the last batch of an epoch."""
    return [[row for row in batches[n]["rows"].tolist() if row >= 0] for n in numbers]


@pytest.mark.parametrize("what", REASONS)
@pytest.mark.parametrize("case", CASES)
def test_no_weight_changes_and_all_workers_say_why(root: Path, case: str, what: str) -> None:
    one, other = found(root, f"{case}-{what}")
    assert one["said"] == other["said"]
    assert one["said"].startswith("step 1: ") and REASONS[what] in one["said"]
    assert "no weight was changed" in one["said"]
    assert one["weights"] == 24 and one["changed"] == []


@pytest.mark.parametrize("case", CASES)
def test_a_loss_that_is_not_finite_leaves_its_batch_alone(root: Path, case: str) -> None:
    name = f"{case}-loss"
    workers = found(root, name)
    ((worker, number),) = [
        (worker, number)
        for worker, one in enumerate(workers)
        for number, batch in enumerate(one["batches"])
        if POISONED in batch["rows"].tolist()
    ]
    folder = saved(root, name, worker)
    assert not saved(root, name, 1 - worker).exists()
    assert workers[0]["said"].endswith(f"Saved: {folder / TENSORS}")
    batches = workers[worker]["batches"]
    stored = load_file(folder / TENSORS)
    wanted = {k: v for k, v in by_name(batches).items() if k.startswith(f"{number}.")}
    assert stored.keys() == wanted.keys() and len(stored) == 5
    assert all(torch.equal(stored[key], wanted[key]) for key in wanted)
    about = json.loads((folder / ABOUT).read_text())
    (one,) = about.pop("batches")
    assert POISONED in one["rows"]
    assert one == {"batch": number, "rows": rows(batches, number)[0], "loss": "nan"}
    assert about == {
        **{"step": 1, "worker": worker, "reason": "the loss is nan", "data": "datasets/alone"}
    }


@pytest.mark.parametrize("what", ["gradient", "infinite"])
@pytest.mark.parametrize("case", CASES)
def test_a_gradient_leaves_all_batches_of_its_step(root: Path, case: str, what: str) -> None:
    name = f"{case}-{what}"
    every: list[int] = []
    for worker, one in enumerate(found(root, name)):
        folder = saved(root, name, worker)
        assert str(folder / TENSORS) in one["said"]
        wanted, stored = by_name(one["batches"]), load_file(folder / TENSORS)
        assert stored.keys() == wanted.keys()
        assert all(torch.equal(stored[key], wanted[key]) for key in wanted)
        about = json.loads((folder / ABOUT).read_text())
        numbers = range(len(one["batches"]))
        assert [batch["rows"] for batch in about["batches"]] == rows(one["batches"], *numbers)
        assert all(0 <= batch["loss"] < 1e4 for batch in about["batches"])
        every += [row for batch in about["batches"] for row in batch["rows"]]
    assert sorted(every) == list(range(9))  # the step was an epoch


def test_a_stored_batch_is_learned_from_as_it_was(root: Path) -> None:
    """Its loss is finite without what was planted in it."""
    job: TrainJob = job_of(root, {**BASE, "dtype": "fp32"})
    (folder,) = (root / "run" / "checkpoints" / "fp32_0-loss" / "nonfinite").iterdir()
    batch = {k.split(".")[1]: v for k, v in load_file(folder / TENSORS).items()}
    loss, _ = Sft(job).loss(Sft(job).build(), batch)
    assert 0 < loss.item() < 1e4
