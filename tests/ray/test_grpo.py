"""Reinforcement learning with vLLM engines as Ray actors: what is rewarded is learned."""

from pathlib import Path
from statistics import fmean
from typing import Any

import psutil
import pytest
import ray

from agentark_ray.config import ConfigError
from agentark_ray.train.group_scores import Grade, Row
from agentark_ray.types import Rollout
from tests.ray.grpo_runs import count_nines, prepared, train
from tests.ray.helpers import children

pytestmark = [pytest.mark.usefixtures("ray_cluster"), pytest.mark.timeout(900)]


@pytest.mark.slow
@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_planted_reward_is_learned_within_30_steps(tmp_path: Path, asynchronous: bool) -> None:
    # The tiny model is sure of itself: without heat all samples of a group are the same.
    hot = ("distill.grpo.temperature=2.0", "distill.grpo.lr=2e-3", "distill.grpo.steps=30")
    folder, config = prepared(tmp_path, *hot, f"distill.grpo.asynchronous={asynchronous}")
    curve = train(folder, config)
    assert [row["step"] for row in curve] == list(range(1, 31))
    rewards = [row["reward"] for row in curve]
    before, after = fmean(rewards[:3]), fmean(rewards[-3:])
    assert before < 0.3
    assert after > before + 0.3, rewards
    # Every sample is of the newest weights, or one round behind them.
    lags = [0, *[int(asynchronous)] * 29]
    assert [row["version_lag"] for row in curve] == lags
    assert [row["version"] for row in curve] == [i - lag for i, lag in enumerate(lags)]
    for row in curve:
        assert row["mismatch"] < 0.3  # of bfloat16, at this heat; 0.1 to 0.2 nats at the end
        assert min(row["entropy"], row["sync_s"] + (row["step"] == 30)) > 0
    assert folder.exists("students", "grpo", "model.safetensors")


class Killed:
    """A grading that kills the engine's actor once, when the first samples have come."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __call__(self, row: Row, rollout: Rollout) -> Grade:
        if not self._mark.exists():
            self._mark.touch()
            raylet = psutil.Process().parent()
            assert raylet is not None
            (actor,) = children("RolloutActor", raylet.pid)
            actor.kill()
        return count_nines(row, rollout)


@pytest.mark.slow
def test_an_engine_that_dies_comes_back_with_the_newest_weights(tmp_path: Path) -> None:
    folder, config = prepared(tmp_path, "distill.grpo.steps=3")
    curve = train(folder, config, Killed(tmp_path / "killed"))
    assert (tmp_path / "killed").exists()
    assert [row["version"] for row in curve] == [0, 1, 2]
    assert all(row["mismatch"] < 0.05 for row in curve)


def test_a_cluster_without_room_is_refused(tmp_path: Path) -> None:
    cpus: Any = ray.cluster_resources()["CPU"]
    folder, config = prepared(tmp_path, f"distill.grpo.actors={int(cpus)}")
    with pytest.raises(ConfigError, match=r"distill\.grpo\.actors="):
        train(folder, config)
