"""Advantages of GRPO, by hand arithmetic."""

import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentark_ray.train.advantages import group_advantages, leave_one_out
from agentark_ray.train.rewards import Reward


def reward(verifiable: float, steps: Sequence[float] = (), overlong: float = 0.0) -> Reward:
    return Reward(verifiable=verifiable, overlong=overlong, steps_S=steps)


def advantages(rewards: Sequence[Reward], ends: Sequence[Sequence[int]], **how: Any) -> Any:
    lengths = [end[-1] if end else 2 for end in ends]
    how = {"form": "step", "max_tokens": 10, **how}
    return group_advantages(rewards, ends, lengths, **how)


def test_leave_one_out_by_hand() -> None:
    assert leave_one_out([1.0, 0.0, 0.0, 1.0]) == pytest.approx([1 / 3, 2 / 3, 2 / 3, 1 / 3])
    with pytest.raises(ValueError, match="2 samples or more, got 1"):
        leave_one_out([1.0])


def test_verdicts_alone() -> None:
    group = [reward(1.0), reward(0.0), reward(0.0, overlong=-0.5)]
    found = advantages(group, [[2], [1], [3]])
    # The others' means: -0.25, 0.25, 0.5.
    assert not found.equal
    assert [list(tokens) for tokens in found.tokens_G_T] == [
        pytest.approx([1.25] * 2),
        pytest.approx([-0.25]),
        pytest.approx([-1.0] * 3),
    ]


def test_steps_by_hand() -> None:
    # Credited steps 0.1, 0.3 (a mean of 0.2 a step) against -0.5 alone; two tokens a step.
    group = [reward(0.0, [0.1, 0.3]), reward(0.0, [-0.5])]
    found = advantages(group, [[2, 4], [2]]).tokens_G_T
    # First: 0.4 + 2 x 0.5 to come at step 0, 0.3 + 0.5 at step 1. Second: -0.5 - 0.2.
    assert list(found[0]) == pytest.approx([1.4, 1.4, 0.8, 0.8])
    assert list(found[1]) == pytest.approx([-0.7, -0.7])


def test_tokens_by_hand() -> None:
    group = [reward(0.0, [0.1, 0.3]), reward(0.0, [-0.5])]
    found = advantages(group, [[2, 4], [2]], form="token").tokens_G_T
    # Baselines a token: -0.5 / 10 for the first, 0.4 / 10 for the second.
    assert list(found[0]) == pytest.approx([0.4 + 0.2, 0.4 + 0.15, 0.3 + 0.1, 0.3 + 0.05])
    assert list(found[1]) == pytest.approx([-0.5 - 0.08, -0.5 - 0.04])


@pytest.mark.parametrize("form", ["step", "token"])
def test_outcome_and_steps_add_up(form: str) -> None:
    steps = [[0.2, -0.1], [0.4], [-0.3, 0.1]]
    ends = [[1, 3], [2], [2, 4]]
    right = [1.0, 0.0, 1.0]
    both = [reward(v, s) for v, s in zip(right, steps, strict=True)]
    whole = advantages(both, ends, form=form).tokens_G_T
    parts = [
        advantages(group, ends, form=form).tokens_G_T
        for group in ([reward(v) for v in right], [reward(0.0, s) for s in steps])
    ]
    for all_, outcome, process in zip(whole, *parts, strict=True):
        assert list(all_) == pytest.approx([a + b for a, b in zip(outcome, process, strict=True)])


def test_a_group_of_equal_rewards_has_no_advantage() -> None:
    # The totals are equal, 1.0, although their parts are not.
    group = [reward(1.0), reward(0.5, [0.3, 0.2])]
    found = advantages(group, [[2], [1, 3]])
    assert found.equal
    assert [list(tokens) for tokens in found.tokens_G_T] == [[0.0] * 2, [0.0] * 3]
    assert not advantages([reward(1.0), reward(0.99)], [[2], [3]]).equal


def test_one_sample_is_no_group() -> None:
    with pytest.raises(ValueError, match="2 samples or more, got 1"):
        advantages([reward(1.0)], [[2]])


def test_an_empty_solution_has_the_outcome_alone() -> None:
    group = [reward(0.0, []), reward(1.0, [0.5])]
    found = advantages(group, [[], [2]]).tokens_G_T
    assert list(found[0]) == pytest.approx([-1.0, -1.0])
    assert list(found[1]) == pytest.approx([1.5, 1.5])


@given(st.lists(st.floats(-2, 2), min_size=2, max_size=16), st.floats(-5, 5))
def test_outcome_advantages_sum_to_zero_and_ignore_a_shift(
    rewards: list[float], shift: float
) -> None:
    ends = [[1]] * len(rewards)
    found = [a[0] for a in advantages([reward(r) for r in rewards], ends).tokens_G_T]
    moved = [a[0] for a in advantages([reward(r + shift) for r in rewards], ends).tokens_G_T]
    assert math.fsum(found) == pytest.approx(0.0, abs=1e-9)
    assert moved == pytest.approx(found, abs=1e-5)
