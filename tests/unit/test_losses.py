"""Loss, schedule, batch plan and packed attention."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention
from transformers import AutoModelForCausalLM, Qwen3Config

from agentark_ray.distill.packing import PackedRow, pack
from agentark_ray.distill.tokens import IGNORE, Example
from agentark_ray.train import sft
from agentark_ray.train.attention import bounds, implementation, varlen_attention
from agentark_ray.train.losses import token_loss_sum
from agentark_ray.train.schedule import learning_rate, micro_batches, total_steps


def test_the_loss_is_the_sum_over_targets_by_hand() -> None:
    # V=2; p(token 1) is 3/4 of the first and 1/2 of the second.
    logits = torch.tensor([[0.0, math.log(3.0)], [0.0, 0.0]])
    expected = math.log(4 / 3) + math.log(2)
    assert token_loss_sum(logits, torch.tensor([1, 0])).item() == pytest.approx(expected)
    assert token_loss_sum(logits[1:], torch.tensor([0])).item() == pytest.approx(math.log(2))
    assert token_loss_sum(logits[:0], torch.tensor([], dtype=torch.int64)).item() == 0.0


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


@pytest.fixture(scope="module", params=["varlen", "sdpa"])
def model(request: pytest.FixtureRequest) -> torch.nn.Module:
    attention = implementation(request.param)
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
    return AutoModelForCausalLM.from_config(config, attn_implementation=attention).eval()


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


def test_a_batch_has_no_padding_and_knows_its_targets() -> None:
    rows = pack([Example(input_ids=[5, 6, 7], labels=[IGNORE, 6, 7])], 8, 0) + pack(
        [Example(input_ids=[0, 9], labels=[IGNORE, 9]), Example(input_ids=[8], labels=[8])],
        3,
        0,
    )
    batch = sft.collate([*rows, sft.empty_row(rows[0])], torch.device("cpu"))
    assert batch["input_ids"].tolist() == [[5, 6, 7, 0, 9, 8, 5]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 0, 1, 0, 0]]
    assert batch["targets"].tolist() == [1, 2, 4]
    assert bounds(batch["position_ids"]).lengths == (3, 2, 1, 1)


def test_a_model_that_makes_all_logits_has_the_same_loss(model: torch.nn.Module) -> None:
    batch = sft.collate(pack(examples(), 32, 0), torch.device("cpu"))

    def all_logits(logits_to_keep: torch.Tensor, **inputs: torch.Tensor) -> torch.nn.Module:
        return model(**inputs)

    with torch.no_grad():
        assert sft.loss_sum(all_logits, batch) == pytest.approx(sft.loss_sum(model, batch))


def test_varlen_attention_is_that_of_a_dense_mask() -> None:
    generator = torch.Generator().manual_seed(3)
    lengths = [4, 1, 7]
    positions = torch.cat([torch.arange(n) for n in lengths])[None]
    query = torch.randn(1, 4, 12, 8, generator=generator)
    key, value = (torch.randn(1, 2, 12, 8, generator=generator) for _ in range(2))
    example = torch.repeat_interleave(torch.arange(3), torch.tensor(lengths))
    for window in (None, 3):
        near = torch.ones(12, 12).tril() * torch.ones(12, 12).triu(1 - (window or 12))
        mask = (example[:, None] == example) & near.bool()
        expected = scaled_dot_product_attention(query, key, value, mask, scale=0.3, enable_gqa=True)
        out, _ = varlen_attention(
            torch.nn.Identity(),
            *(query, key, value, None),
            scaling=0.3,
            sliding_window=window,
            position_ids=positions,
        )
        assert torch.allclose(out, expected.transpose(1, 2), atol=1e-6)


def test_rows_of_a_batch_are_cut_too() -> None:
    positions = torch.tensor([[3, 4, 0], [1, 2, 3]])  # the second goes on where nothing was before
    assert bounds(positions).lengths == (2, 1, 3)


def test_attention_that_varlen_has_not_is_refused() -> None:
    heads = torch.zeros(1, 1, 2, 8)
    with pytest.raises(ValueError, match="Identity comes with no position ids, softcap, expected"):
        varlen_attention(torch.nn.Identity(), heads, heads, heads, None, softcap=30.0)
