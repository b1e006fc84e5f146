"""The policy loss, by hand arithmetic."""

import math

import pytest
import torch
from torch import tensor

from agentark_ray.train.policy import (
    PolicyLoss,
    Tokens,
    importance_weights,
    k3,
    policy_loss,
    target_logprobs,
)


def logs(*values: float) -> torch.Tensor:
    return tensor([math.log(value) for value in values])


def loss(
    now: torch.Tensor,
    advantages: torch.Tensor,
    old: torch.Tensor | None = None,
    sampler: torch.Tensor | None = None,
    reference: torch.Tensor | None = None,
    kl: float = 0.0,
) -> PolicyLoss:
    old = now.detach() if old is None else old
    tokens = Tokens(
        advantages=advantages,
        old=old,
        sampler=old if sampler is None else sampler,
        reference=reference,
    )
    return policy_loss(now, tokens, clip=0.2, kl=kl, cap=2.0)


def test_target_logprobs_and_entropy_by_hand() -> None:
    logits, targets = tensor([[0.0, math.log(3)], [0.0, 0.0]]), tensor([1, 0])
    found, entropy = target_logprobs(logits, targets, 1.0)
    assert found.tolist() == pytest.approx([math.log(0.75), math.log(0.5)])
    three_quarters = -0.75 * math.log(0.75) - 0.25 * math.log(0.25)
    assert entropy.tolist() == pytest.approx([three_quarters, math.log(2)])
    # A temperature of 0.5 doubles the logits: 9 to 1.
    found, _ = target_logprobs(logits, targets, 0.5)
    assert found.tolist() == pytest.approx([math.log(0.9), math.log(0.5)])


def test_the_first_update_is_the_plain_policy_gradient() -> None:
    now = logs(0.5, 0.25).requires_grad_()
    found = loss(now, tensor([1.0, -2.0]))
    found.loss.backward()
    assert found.loss.item() == pytest.approx(-1.0 + 2.0)
    assert now.grad is not None
    assert now.grad.tolist() == pytest.approx([-1.0, 2.0])  # -A


def test_a_ratio_beyond_the_clip_has_no_gradient() -> None:
    # Ratios 1.5 and 0.5: clipped where the advantage would drive them further away.
    now = logs(0.3, 0.3, 0.1, 0.1).requires_grad_()
    found = loss(now, tensor([1.0, -1.0, 1.0, -1.0]), old=logs(0.2, 0.2, 0.2, 0.2))
    found.loss.backward()
    # min(1.5, 1.2), min(-1.5, -1.2), min(0.5, 0.8), min(-0.5, -0.8)
    assert found.loss.item() == pytest.approx(-(1.2 - 1.5 + 0.5 - 0.8))
    assert found.clipped == 2
    assert now.grad is not None
    assert now.grad.tolist() == pytest.approx([0.0, 1.5, -0.5, 0.0])


def test_k3_by_hand() -> None:
    # d = ln 2: 2 - ln 2 - 1; d = -ln 2: 1/2 + ln 2 - 1; d = 0: 0.
    found = k3(logs(0.25, 0.5, 0.5), logs(0.5, 0.25, 0.5))
    log2 = math.log(2)
    assert found.tolist() == pytest.approx([1 - log2, log2 - 0.5, 0.0], abs=1e-6)


def test_k3_is_unbiased() -> None:
    # Its mean under the policy (1/4, 3/4) is the KL divergence to (1/2, 1/2).
    policy, reference = logs(0.25, 0.75), logs(0.5, 0.5)
    mean = (policy.exp() * k3(policy, reference)).sum().item()
    assert mean == pytest.approx(0.25 * math.log(0.5) + 0.75 * math.log(1.5))


def test_the_divergence_is_added_and_pulls_back() -> None:
    now = logs(0.5).requires_grad_()
    found = loss(now, tensor([0.0]), reference=logs(0.25), kl=0.1)
    found.loss.backward()
    assert found.kl == pytest.approx(math.log(2) - 0.5)
    assert found.loss.item() == pytest.approx(0.1 * found.kl)
    assert now.grad is not None
    assert now.grad.tolist() == pytest.approx([0.1 * 0.5])  # kl x (1 - exp(d)): it must come down


def test_importance_weights_by_hand() -> None:
    found = importance_weights(logs(0.2, 0.1, 0.9), logs(0.1, 0.2, 0.1), 2.0)
    assert found.tolist() == pytest.approx([2.0, 0.5, 2.0])


def test_the_importance_weight_scales_loss_and_gradient() -> None:
    now = logs(0.2, 0.1, 0.9).requires_grad_()
    found = loss(now, tensor([1.0, 1.0, 1.0]), sampler=logs(0.125, 0.2, 0.1))
    found.loss.backward()
    assert found.loss.item() == pytest.approx(-(1.6 + 0.5 + 2.0))
    assert now.grad is not None
    assert now.grad.tolist() == pytest.approx([-1.6, -0.5, -2.0])
    assert found.truncated == 1
    gaps = [math.log(1.6), math.log(2), math.log(9)]
    assert found.mismatch == pytest.approx(sum(gaps))
    assert found.mismatch_max == pytest.approx(math.log(9))


def test_the_divergence_is_not_weighed() -> None:
    found = loss(logs(0.5), tensor([0.0]), sampler=logs(0.9), reference=logs(0.25), kl=1.0)
    assert found.loss.item() == pytest.approx(math.log(2) - 0.5)


def test_numbers_far_apart_stay_finite() -> None:
    now = tensor([-0.1]).requires_grad_()
    found = loss(now, tensor([1.0]), old=tensor([-500.0]), sampler=tensor([-900.0]))
    assert math.isfinite(found.loss.item())
    assert math.isfinite(k3(tensor([-900.0]), tensor([-0.1])).item())


def test_the_gradient_agrees_with_finite_differences() -> None:
    torch.manual_seed(3)
    now = (-torch.rand(6, dtype=torch.float64) - 0.1).requires_grad_()
    old, sampler, reference = ((now.detach() + 0.1 * torch.randn(6)) for _ in range(3))
    tokens = Tokens(
        advantages=torch.randn(6).double(), old=old, sampler=sampler, reference=reference
    )
    assert torch.autograd.gradcheck(
        lambda x: policy_loss(x, tokens, clip=0.2, kl=0.3, cap=2.0).loss, (now,)
    )


def test_a_batch_without_output_tokens_has_a_loss_of_zero() -> None:
    empty = torch.zeros(0, requires_grad=True)
    found = loss(empty, torch.zeros(0), reference=torch.zeros(0), kl=0.1)
    assert found.loss.item() == 0.0 == found.mismatch_max
    found.loss.backward()
