"""The supervised contrastive loss, by hand."""

import math

import pytest
import torch

from agentark_ray.train.contrastive import supcon_sum

X, Y = [1.0, 0.0], [0.0, 1.0]


def loss(vectors: list[list[float]], classes: list[int], temperature: float = 1.0) -> float:
    return supcon_sum(torch.tensor(vectors), torch.tensor(classes), temperature).item()


def test_by_hand() -> None:
    # Anchor 1: cosine 1 to its positive, 0 to the other two: -log(e / (e + 2)); and so on.
    alone = -math.log(math.e / (math.e + 2))
    assert loss([X, X, Y, Y], [0, 0, 1, 1]) == pytest.approx(4 * alone)
    # Classes across the vectors: the positive has cosine 0.
    across = -math.log(1 / (math.e + 2))
    assert loss([X, X, Y, Y], [0, 1, 0, 1]) == pytest.approx(4 * across)
    # Lengths do not matter, the temperature does.
    long = [[3.0, 0.0], [0.5, 0.0], [0.0, 7.0], [0.0, 1.0]]
    sharp = -math.log(math.exp(4) / (math.exp(4) + 2))
    assert loss(long, [0, 0, 1, 1], 0.25) == pytest.approx(4 * sharp, rel=1e-3)


def test_several_positives_are_averaged_outside_the_logarithm() -> None:
    # Anchor X has positives X (cosine 1) and Y (0); anchor Y has two X with cosine 0.
    x = -(math.log(math.e / (math.e + 1)) + math.log(1 / (math.e + 1))) / 2
    y = -math.log(1 / 2)
    assert loss([X, X, Y], [1, 1, 1]) == pytest.approx(2 * x + y)


def test_an_anchor_without_a_positive_adds_nothing() -> None:
    pair = -math.log(math.e / (math.e + 1))
    assert loss([X, X, Y], [0, 0, 1]) == pytest.approx(2 * pair)
    assert loss([X, Y], [0, 1]) == 0.0


@pytest.mark.parametrize("steps", [0, 1])
def test_too_few_steps_have_no_loss_and_a_finite_gradient(steps: int) -> None:
    vectors = torch.randn(steps, 4, requires_grad=True)
    found = supcon_sum(vectors, torch.zeros(steps, dtype=torch.long), 0.1)
    found.backward()
    assert found.item() == 0.0
    assert vectors.grad is not None and torch.equal(vectors.grad, torch.zeros(steps, 4))


def test_the_gradient_is_that_of_differences() -> None:
    torch.manual_seed(0)
    vectors = torch.randn(5, 3, dtype=torch.float32, requires_grad=True)
    classes = torch.tensor([0, 0, 1, 1, 1])
    supcon_sum(vectors, classes, 0.5).backward()
    assert vectors.grad is not None
    step = torch.zeros(5, 3)
    step[1, 2] = 1e-2
    up, down = (supcon_sum((vectors + sign * step).detach(), classes, 0.5) for sign in (1, -1))
    assert vectors.grad[1, 2].item() == pytest.approx((up - down).item() / 2e-2, rel=1e-2)
    assert torch.isfinite(vectors.grad).all()
