"""The figures of a step of GRPO, over all workers."""

import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed

from agentark_ray.train.group_scores import Group
from agentark_ray.train.policy import PolicyLoss
from agentark_ray.types import FinishReason

PARTS: tuple[str, ...] = ("rollout", "reward", "train", "sync")  # of a step's time


class Figures:
    """What a worker counts in a step and, of the samples, in a round."""

    def __init__(self) -> None:
        self._round: Counter[str] = Counter()
        self._versions = {"version": 0, "version_lag": 0}
        self._last = time.perf_counter()
        self.begin_step()

    def begin_step(self) -> None:
        """Forget the last step; what is known of the round stays."""
        self._sums: Counter[str] = Counter()
        self._mismatch_max = 0.0
        self._seconds: dict[str, float] = dict.fromkeys(PARTS, 0.0)

    def begin_round(
        self, groups: Sequence[Group], *, too_long: int, version: int, lag: int
    ) -> None:
        """Count the samples of a round. `lag`: optimizer steps that the sampler's weights miss."""
        self._round = Counter(group_sums(groups))
        self._round["too_long"] = too_long
        self._versions = {"version": version, "version_lag": lag}

    def add_batch(self, loss: PolicyLoss, entropy_N: torch.Tensor) -> None:
        """Count the output tokens of a batch."""
        self._sums.update(
            {
                "learned": len(entropy_N),
                "entropy": entropy_N.sum().item(),
                "clipped": loss.clipped,
                "kl": loss.kl,
                "mismatch": loss.mismatch,
                "truncated": loss.truncated,
            }
        )
        self._mismatch_max = max(self._mismatch_max, loss.mismatch_max)

    def took(self, part: str, seconds: float) -> None:
        """Add to a part of the step's time."""
        self._seconds[part] += seconds

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Time a part of the step."""
        began = time.perf_counter()
        yield
        self.took(part, time.perf_counter() - began)

    def over_workers(self, engine: Any) -> dict[str, float]:
        """The figures of the step; every worker must call this. Seconds are of the slowest."""
        names = (*_ROUND, *_STEP)
        counted = {**self._round, **self._sums}
        sums = _reduce([float(counted.get(name, 0.0)) for name in names], engine, "SUM")
        now = time.perf_counter()
        whole, self._last = now - self._last, now
        peaks = _reduce([self._mismatch_max, whole, *self._seconds.values()], engine, "MAX")
        return {
            **means(dict(zip(names, sums, strict=True))),
            "mismatch_max": peaks[0],
            **self._versions,
            "step_s": peaks[1],  # since the last step ended, with all that the loop does
            **{f"{part}_s": value for part, value in zip(PARTS, peaks[2:], strict=True)},
        }


_ROUND = (
    *("groups", "equal_groups", "too_long", "samples", "tokens", "cut", "unanswered"),
    *("value", "process", "reward", "reward_squared"),
)
_STEP = ("learned", "entropy", "clipped", "kl", "mismatch", "truncated")


def group_sums(groups: Sequence[Group]) -> dict[str, float]:
    """Sums over all samples of these groups."""
    samples = [sample.rollout for group in groups for sample in group.samples]
    rewards = [reward for group in groups for reward in group.rewards]
    grades = [grade for group in groups for grade in group.grades]
    return {
        "groups": len(groups),
        "equal_groups": sum(group.equal for group in groups),
        "samples": len(samples),
        "tokens": sum(len(sample.token_ids) for sample in samples),
        "cut": sum(sample.finish_reason == FinishReason.LENGTH for sample in samples),
        "unanswered": sum(not grade.answered for grade in grades),
        "value": sum(grade.value for grade in grades),
        "process": sum(reward.process for reward in rewards),
        "reward": sum(reward.total for reward in rewards),
        "reward_squared": sum(reward.total**2 for reward in rewards),
    }


def means(sums: Mapping[str, float]) -> dict[str, float]:
    """Means over samples, over groups and over the tokens that were learned from."""
    samples, learned = max(1.0, sums["samples"]), max(1.0, sums["learned"])
    mean = sums["reward"] / samples
    variance = sums["reward_squared"] / samples - mean**2
    return {
        "reward": mean,
        "reward_std": math.sqrt(max(0.0, variance)),
        "accuracy": sums["value"] / samples,
        "process_reward": sums["process"] / samples,
        "output_tokens": sums["tokens"] / samples,
        "cut_share": sums["cut"] / samples,
        "unanswered_share": sums["unanswered"] / samples,
        "equal_groups": sums["equal_groups"] / max(1.0, sums["groups"]),
        "too_long": sums["too_long"],
        "entropy": sums["entropy"] / learned,
        "clip_fraction": sums["clipped"] / learned,
        "kl": sums["kl"] / learned,
        "mismatch": sums["mismatch"] / learned,
        "truncated_share": sums["truncated"] / learned,
    }


def _reduce(values: Sequence[float], engine: Any, how: str) -> list[float]:
    tensor = torch.tensor(values, dtype=torch.float64, device=engine.device)
    torch.distributed.all_reduce(tensor, op=getattr(torch.distributed.ReduceOp, how))
    return tensor.tolist()
