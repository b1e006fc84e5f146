"""Rewards of GRPO, by hand arithmetic."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentark_ray.train import rewards
from agentark_ray.train.rewards import Reward
from agentark_ray.types import FinishReason, Verdict

STEPS = st.lists(st.floats(-1, 1), min_size=1, max_size=12)


def test_a_step_earns_what_is_good_less_what_is_bad() -> None:
    assert [rewards.step_reward(good) for good in (0.0, 0.5, 0.75, 1.0)] == [-1.0, 0.0, 0.5, 1.0]


def test_soft_min_weights_by_hand() -> None:
    # T = 1, r = 0 and ln 3: exp(-r) = 1 and 1/3, so 3/4 and 1/4.
    assert rewards.soft_min_weights([0.0, math.log(3)], 1.0) == pytest.approx([0.75, 0.25])
    # T = 0.1, r = 0.8 and 0.6: the worse one e^2 times as heavy.
    heavy = math.e**2 / (1 + math.e**2)
    assert rewards.soft_min_weights([0.8, 0.6], 0.1) == pytest.approx([1 - heavy, heavy])
    assert rewards.soft_min_weights([], 0.1) == []
    assert rewards.soft_min_weights([1.0, -1.0], 1e-4) == [0.0, 1.0]  # no overflow


def test_step_rewards_are_credited_by_their_weights() -> None:
    log3 = math.log(3)
    assert rewards.credited([0.0, log3], 1.0) == pytest.approx([0.0, 0.25 * log3])
    assert rewards.credited([0.4, 0.4], 0.1) == pytest.approx([0.2, 0.2])


@given(STEPS, st.sampled_from([0.01, 0.1, 1.0]))
def test_credited_rewards_sum_to_a_soft_minimum(steps: list[float], temperature: float) -> None:
    found = math.fsum(rewards.credited(steps, temperature))
    assert min(steps) - 1e-9 <= found <= math.fsum(steps) / len(steps) + 1e-9


@given(STEPS)
def test_a_cold_soft_minimum_is_the_minimum(steps: list[float]) -> None:
    assert math.fsum(rewards.credited(steps, 1e-4)) == pytest.approx(min(steps), abs=1e-3)


def test_only_a_right_answer_is_rewarded() -> None:
    verdicts = [Verdict.CORRECT, Verdict.INCORRECT, Verdict.UNPARSABLE, Verdict.TIMEOUT, None]
    assert [rewards.verifiable(verdict) for verdict in verdicts] == [1.0, 0.0, 0.0, 0.0, 0.0]


def test_the_penalty_grows_over_the_last_share_of_the_length() -> None:
    # 100 tokens, the last 20: nothing at 80, half at 90, all at 100.
    found = [rewards.overlong(n, 100, 0.2) for n in (0, 80, 85, 90, 100)]
    assert found == pytest.approx([0.0, 0.0, -0.25, -0.5, -1.0])
    assert [rewards.overlong(n, 100, 0.0) for n in (99, 100)] == [0.0, -1.0]


def test_good_steps_of_a_solution_that_does_not_answer_earn_nothing() -> None:
    texts = ["Tom has 3.", "Now 5."]
    assert rewards.guarded([0.9, 0.2], texts, True) == pytest.approx([0.8, -0.6])
    assert rewards.guarded([0.9, 0.2], texts, False) == pytest.approx([0.0, -0.6])


def test_a_step_that_is_said_again_earns_nothing() -> None:
    texts = ["Tom has 3.", "Tom  has 3.", "Now 5.", "Tom has 3."]
    found = rewards.guarded([0.9, 0.9, 1.0, 0.1], texts, True)
    assert found == pytest.approx([0.8, 0.0, 1.0, -0.8])


def test_what_counts_as_answered() -> None:
    stop, length = FinishReason.STOP, FinishReason.LENGTH
    assert rewards.answered(Verdict.INCORRECT, stop) and rewards.answered(None, stop)
    assert not rewards.answered(Verdict.UNPARSABLE, stop)
    assert not rewards.answered(Verdict.CORRECT, length)


def test_the_parts_of_a_reward_add_up() -> None:
    reward = Reward(verifiable=1.0, overlong=-0.25, steps_S=[0.1, -0.3])
    assert (reward.outcome, reward.process) == pytest.approx((0.75, -0.2))
    assert reward.total == pytest.approx(0.55)
