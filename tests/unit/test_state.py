"""Models split by ZeRO in two processes: loading, offload, adapters, export, checkpoints."""

import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from agentark_ray.train.checkpoint import only_data
from agentark_ray.train.export import INDEX
from tests.unit.processes import in_processes
from tests.unit.zero_cases import (
    CASES,
    DTYPES,
    RESIZED,
    RESUMED,
    SHARD,
    TINY,
    TRAINED,
    go_on,
    train,
    train_and_store,
)

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    in_processes(train, 2, str(folder))
    return folder


def figures(trained: Path, case: str) -> dict[str, Any]:
    return json.loads((trained / case / "figures.json").read_text())


def weights(folder: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        found |= load_file(file)
    return found


@pytest.mark.parametrize("case", TRAINED)
def test_a_loaded_model_is_the_shipped_one(trained: Path, case: str) -> None:
    found = figures(trained, case)
    assert found["split"] == (CASES[case].zero_stage == 3)
    assert found["before"] == 0


@pytest.mark.parametrize(
    "case", ["zero_1", "zero_2", "zero_3", "again", "offload_2", "offload_all"]
)
def test_what_saves_memory_does_not_change_a_step(trained: Path, case: str) -> None:
    plain, found = (figures(trained, name)["curve"] for name in ("zero_0", case))
    assert [loss for loss, _ in found] == pytest.approx([loss for loss, _ in plain], rel=1e-5)
    assert [norm for _, norm in found] == pytest.approx([norm for _, norm in plain], rel=1e-5)
    assert min(norm for _, norm in plain) > 1  # so that clipping is part of it
    one, other = weights(trained / "zero_0"), weights(trained / case)
    for name, weight in one.items():
        torch.testing.assert_close(other[name], weight, rtol=1e-3, atol=2e-5)


def test_steps_in_bfloat16_are_those_of_float32(trained: Path) -> None:
    """Adam counts its steps from one in every stage, which the first ones depend on most."""
    exact = weights(trained / "zero_0")
    for case in ("bf16", "bf16_0"):
        for name, weight in weights(trained / case).items():
            start = load_file(Path(TINY, "model.safetensors"))[name].float()
            moved, expected = weight.float() - start, exact[name].float() - start
            if name.endswith("proj.weight"):
                assert float(moved.norm()) == pytest.approx(float(expected.norm()), rel=0.03)


@pytest.mark.parametrize("case", ["zero_0", "zero_1", "zero_2", "zero_3"])
def test_an_export_in_shards_is_a_model_that_transformers_loads(trained: Path, case: str) -> None:
    files = sorted((trained / case).glob("*.safetensors"))
    assert len(files) > 1
    stored = weights(trained / case)
    # float32: no file is larger than asked for, but for its header
    assert all(file.stat().st_size < SHARD + 10_000 for file in files)
    index = json.loads((trained / case / INDEX).read_text())
    assert index["metadata"]["total_size"] == sum(weight.nbytes for weight in stored.values())
    assert index["weight_map"].keys() == stored.keys()
    for file in files:
        assert {n for n, f in index["weight_map"].items() if f == file.name} == set(load_file(file))
    model = AutoModelForCausalLM.from_pretrained(trained / case, dtype=DTYPES[CASES[case].dtype])
    assert model.lm_head.weight is model.model.embed_tokens.weight  # tied, stored once
    assert "lm_head.weight" not in stored
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, stored[name]), name
    base = load_file(Path(TINY, "model.safetensors"))
    assert all(not torch.equal(stored[n].float(), base[n].float()) for n in base if "proj" in n)


@pytest.mark.parametrize("case", [name for name in CASES if CASES[name].lora])
def test_a_merged_model_is_the_base_plus_the_product_of_the_factors(
    trained: Path, case: str
) -> None:
    base, merged = load_file(Path(TINY, "model.safetensors")), weights(trained / case)
    deltas = torch.load(trained / case / "deltas.pt")
    assert len(deltas) == 2 * 4  # two modules of four layers
    assert merged.keys() == base.keys()
    atol = 1e-3 if CASES[case].dtype == "bf16" else 1e-6
    for name, weight in base.items():
        delta = deltas.get(name.removesuffix(".weight"))
        expected = weight.double() + (0 if delta is None else delta)
        torch.testing.assert_close(merged[name].double(), expected, rtol=atol, atol=atol)
        if delta is not None:
            assert float(delta.abs().max()) > 1e-4  # something was learned


@pytest.mark.parametrize("case", [name for name in CASES if CASES[name].lora])
def test_only_adapters_are_trained(trained: Path, case: str) -> None:
    # rank x (in + out): q_proj 192 -> 256, down_proj 512 -> 192, in 4 layers
    assert figures(trained, case)["trained"] == 4 * 4 * (192 + 256 + 512 + 192)


def test_adapters_learn_the_same_in_every_stage(trained: Path) -> None:
    curves = [figures(trained, case)["curve"] for case in ("lora_2", "lora_3", "lora_again")]
    first = [loss for loss, _ in curves[0]]
    assert first[0] == figures(trained, "zero_0")["curve"][0][0]  # the first product is zero
    for curve in curves[1:]:
        assert [loss for loss, _ in curve] == pytest.approx(first, rel=1e-5)


def test_the_peak_of_memory_is_that_of_the_process(trained: Path) -> None:
    peaks = [figures(trained, case)["peak"] for case in TRAINED]
    assert peaks == sorted(peaks)  # of one process, so it never falls
    assert 2e8 < peaks[0] < 5e9  # bytes


@pytest.mark.parametrize("case", RESUMED)
def test_a_resumed_training_equals_an_uninterrupted_one(trained: Path, case: str) -> None:
    found = figures(trained, case)
    before, whole, again = found["curve"], found["uninterrupted"], found["resumed"]
    assert [loss for loss, _ in again] == pytest.approx([loss for loss, _ in whole], rel=1e-4)
    assert [norm for _, norm in again] == pytest.approx([norm for _, norm in whole], rel=1e-3)
    assert whole[0][0] < before[0][0]  # three steps had changed something


def test_a_training_resumes_with_offload_and_smaller_micro_batches(trained: Path) -> None:
    found = figures(trained, "zero_2")
    whole = [loss for loss, _ in found["uninterrupted"]]
    assert [loss for loss, _ in found["offloaded"]] == pytest.approx(whole, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1)])
def test_a_training_resumes_with_another_number_of_workers(
    tmp_path: Path, before: int, after: int
) -> None:
    in_processes(train_and_store, before, str(tmp_path))
    in_processes(go_on, after, str(tmp_path), str(tmp_path / "result.json"))
    found = json.loads((tmp_path / "result.json").read_text())
    assert found.keys() == set(RESIZED)
    for name, curve in found.items():
        whole = json.loads((tmp_path / name / "curve.json").read_text())[3:]
        rel = 1e-4 if CASES[name].dtype == "fp32" else 1e-3  # bfloat16 sums in another order
        assert [loss for loss, _ in curve] == pytest.approx([loss for loss, _ in whole], rel=rel)


def test_a_checkpoint_cannot_run_code(tmp_path: Path) -> None:
    torch.save({"module": Evil(str(tmp_path / "ran"))}, tmp_path / "state.pt")
    with only_data(), pytest.raises(pickle.UnpicklingError, match="mkdir"):
        torch.load(tmp_path / "state.pt", weights_only=False)  # as DeepSpeed calls it
    assert not (tmp_path / "ran").exists()
    torch.load(tmp_path / "state.pt", weights_only=False)
    assert (tmp_path / "ran").exists()  # without it, it does


class Evil:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (self.folder,)
