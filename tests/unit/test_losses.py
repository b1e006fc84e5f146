"""Loss, schedule, batch plan and packed attention."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, Qwen3Config

from agentark_ray.distill.packing import PackedRow, pack
from agentark_ray.distill.tokens import IGNORE, Example
from agentark_ray.train import sft
from agentark_ray.train.losses import count_targets, next_token_loss_sum
from agentark_ray.train.schedule import learning_rate, micro_batches, total_steps


def test_the_loss_is_the_sum_over_targets_by_hand() -> None:
    # V=2; p(token 1) is 3/4 at t=0 and 1/2 at t=1; a NaN sits where no target looks.
    logits = torch.tensor([[[0.0, math.log(3.0)], [0.0, 0.0], [float("nan"), 0.0]]])
    labels = torch.tensor([[IGNORE, 1, 0]])
    expected = math.log(4 / 3) + math.log(2)
    assert next_token_loss_sum(logits, labels).item() == pytest.approx(expected)
    assert count_targets(labels) == 2
    only_last = torch.tensor([[IGNORE, IGNORE, 0]])
    assert next_token_loss_sum(logits, only_last).item() == pytest.approx(math.log(2))


def test_a_label_on_the_first_token_is_no_target() -> None:
    logits = torch.zeros(1, 2, 4)
    assert count_targets(torch.tensor([[3, IGNORE]])) == 0
    assert next_token_loss_sum(logits, torch.tensor([[3, IGNORE]])).item() == 0.0


def test_learning_rate_by_hand() -> None:
    rates = [learning_rate(step, 10, 1.0, 0.2) for step in range(10)]
    assert rates[:3] == pytest.approx([0.5, 1.0, 1.0])
    assert rates[6] == pytest.approx(0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi / 2)))
    assert 0.1 < rates[9] < rates[8]
    assert learning_rate(0, 10, 1.0, 0.0) == 1.0


def test_steps_count_smaller_last_batches() -> None:
    assert total_steps(rows=33, batch_size=16, epochs=2) == 6
    assert total_steps(rows=32, batch_size=16, epochs=1) == 2


def test_micro_batches_by_hand() -> None:
    assert micro_batches([7, 8, 9, 3], 4, 2, rank=0, workers=1) == [[7, 8], [9, 3]]
    assert micro_batches([7, 8, 9], 4, 1, rank=1, workers=2) == [[8], [-1]]


@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.data())
def test_workers_share_a_batch_without_gap_or_overlap(
    workers: int, micro: int, steps: int, data: st.DataObject
) -> None:
    batch_size = workers * micro * steps
    batch = list(range(data.draw(st.integers(1, batch_size))))
    plans = [micro_batches(batch, batch_size, micro, rank, workers) for rank in range(workers)]
    assert {len(plan) for plan in plans} == {steps}
    seen = [i for plan in plans for part in plan for i in part]
    assert sorted(i for i in seen if i >= 0) == batch
    assert len(seen) == batch_size


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=50,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        intermediate_size=48,
    )
    return AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval()


def examples() -> list[Example]:
    generator = torch.Generator().manual_seed(1)
    found = []
    for length in (5, 9, 3, 7):
        ids = torch.randint(1, 50, (length,), generator=generator).tolist()
        found.append(Example(input_ids=ids, labels=[IGNORE, IGNORE, *ids[2:]]))
    return found


def test_packing_changes_neither_loss_nor_gradient(model: torch.nn.Module) -> None:
    def loss_and_gradient(rows: list) -> tuple[float, torch.Tensor]:
        model.zero_grad()
        total = 0.0
        for row in rows:
            loss = sft.loss_sum(model, sft.collate([row], torch.device("cpu")))
            loss.backward()
            total += loss.item()
        grads = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
        return total, torch.cat(grads)

    alone = [row for e in examples() for row in pack([e], len(e.input_ids), 0)]
    packed = pack(examples(), 16, 0)
    assert len(packed) == 2
    loss_alone, gradient_alone = loss_and_gradient(alone)
    loss_packed, gradient_packed = loss_and_gradient(packed)
    assert loss_packed == pytest.approx(loss_alone, rel=1e-5)
    assert torch.allclose(gradient_packed, gradient_alone, atol=1e-5)


def test_packed_examples_do_not_see_each_other(model: torch.nn.Module) -> None:
    first, second = examples()[:2]
    row = pack([second, first], 16, 0)[0]
    changed: PackedRow = {**row, "input_ids": [1] * 9 + row["input_ids"][9:]}
    batch = [sft.collate([r], torch.device("cpu")) for r in (row, changed)]
    with torch.no_grad():
        logits = [
            model(input_ids=b["input_ids"], position_ids=b["position_ids"], use_cache=False).logits
            for b in batch
        ]
    assert torch.allclose(logits[0][0, 9:14], logits[1][0, 9:14], atol=1e-6)
    assert not torch.allclose(logits[0][0, :9], logits[1][0, :9], atol=1e-3)
