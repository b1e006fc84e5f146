"""Rewards of one sampled solution, as pure functions: what it earns, and for which step.

S is the number of steps of a solution (distill/steps.py).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from agentark_ray.types import FinishReason, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Reward:
    """What a solution earned, in weighted parts."""

    verifiable: float  # for its final answer
    overlong: float  # <= 0, for its length
    steps_S: Sequence[float]  # for each step; empty without a process reward model

    @property
    def outcome(self) -> float:
        """What the solution earns as a whole, shared by all its tokens."""
        return self.verifiable + self.overlong

    @property
    def process(self) -> float:
        """The soft minimum of the step rewards."""
        return math.fsum(self.steps_S)

    @property
    def total(self) -> float:
        """All of it."""
        return self.outcome + self.process


def step_reward(good: float) -> float:
    """p(good) - p(bad) of a step, between -1 and 1 (AgentArk, 2602.03955)."""
    return 2 * good - 1


def soft_min_weights(rewards_S: Sequence[float], temperature: float) -> list[float]:
    """softmax(-r / T): near 1 for the worst step (PURE, 2504.15275, section 3.2)."""
    worst = min(rewards_S, default=0.0)
    powers = [math.exp((worst - reward) / temperature) for reward in rewards_S]
    return [power / math.fsum(powers) for power in powers]


def credited(rewards_S: Sequence[float], temperature: float) -> list[float]:
    """Each step reward by its soft-min weight; their sum is a soft minimum.

    It is never less than the smallest reward, nor more than the mean.
    """
    weights = soft_min_weights(rewards_S, temperature)
    return [weight * reward for weight, reward in zip(weights, rewards_S, strict=True)]


def verifiable(verdict: str | None) -> float:
    """1 for a right answer, else 0.

    A timeout of the grader, and a question without a gold answer, say nothing: 0 too.
    """
    return float(verdict == Verdict.CORRECT)


def overlong(tokens: int, max_tokens: int, share: float) -> float:
    """0 to -1: linear over the last `share` of `max_tokens` (DAPO, 2503.14476, equation 13)."""
    margin = max_tokens * share
    if not margin:
        return -float(tokens >= max_tokens)
    return -min(1.0, max(0.0, (tokens - (max_tokens - margin)) / margin))


def guarded(good_S: Sequence[float], texts_S: Sequence[str], finished: bool) -> list[float]:
    """Step rewards of which none is earned by a trick.

    - A solution that was cut or gives no answer earns nothing by good steps: none is above 0.
      Else a solution that goes on for ever, or only plans, would be as good as one that solves.
    - A step that says again what an earlier one said earns nothing above 0 either.
    """
    seen: set[str] = set()
    rewards = []
    for good, text in zip(good_S, texts_S, strict=True):
        said = " ".join(text.split())
        free = finished and said not in seen
        rewards.append(step_reward(good) if free else min(0.0, step_reward(good)))
        seen.add(said)
    return rewards


def answered(verdict: str | None, finish_reason: str) -> bool:
    """Whether a solution ended by itself and with an answer that could be read."""
    return finish_reason == FinishReason.STOP and verdict != Verdict.UNPARSABLE
