"""Advantages of a group's samples over each other, as pure functions of their rewards.

Every sample of a question is compared with the mean of the *others* (leave-one-out, RLOO,
2402.14740): unlike a mean that includes it, this baseline leaves the gradient unbiased. It is not
divided by the standard deviation, which favours questions that are nearly always or nearly never
solved (Dr. GRPO, 2503.20783).

The rule for groups of equal reward: if all samples of a group earned the same in all, every
advantage in it is exactly 0, whatever their steps earned; nobody did better than anybody. Such
groups are counted.

Shapes: G samples of a group, S steps of a sample (each has its own number).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from agentark_ray.train.rewards import Reward

EQUAL = 1e-6  # rewards of a group that differ by no more are equal


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupAdvantages:
    """Of every token of every sample of a group."""

    tokens_G_T: Sequence[Sequence[float]]  # a value for each output token
    equal: bool  # all rewards were equal, and all advantages are 0


def leave_one_out(values_G: Sequence[float]) -> list[float]:
    """The mean of the other values, for each.

    Raises:
        ValueError: there is no other.
    """
    if len(values_G) < 2:
        raise ValueError(f"a group has 2 samples or more, got {len(values_G)}")
    total = math.fsum(values_G)
    return [(total - value) / (len(values_G) - 1) for value in values_G]


def group_advantages(
    rewards_G: Sequence[Reward],
    step_ends_G_S: Sequence[Sequence[int]],
    lengths_G: Sequence[int],
    *,
    form: Literal["step", "token"],
    max_tokens: int,
) -> GroupAdvantages:
    """The advantage of every output token.

    A token's advantage is that of the outcome, the same for all tokens of its sample, plus that of
    the steps: what is still to be earned from its step on (PURE, 2504.15275, equation 6, without
    discount), less what the others earn on average over the same stretch.

    Args:
        rewards_G: of every sample.
        step_ends_G_S: output tokens up to and with each step; the last is the sample's length.
        lengths_G: output tokens of every sample.
        form: `step`: the others' mean reward a step, for every step from here on. `token`: their
            mean reward over `max_tokens`, for every token from here on; so neither many short
            steps nor few long ones are favoured.
        max_tokens: that a sample may have.

    Raises:
        ValueError: fewer than two samples.
    """
    totals = [reward.total for reward in rewards_G]
    if max(totals, default=0.0) - min(totals, default=0.0) <= EQUAL and len(totals) > 1:
        return GroupAdvantages(tokens_G_T=[[0.0] * n for n in lengths_G], equal=True)
    outcomes = [reward.outcome for reward in rewards_G]
    shared = [o - b for o, b in zip(outcomes, leave_one_out(outcomes), strict=True)]
    if form == "step":
        means = [r.process / max(1, len(r.steps_S)) for r in rewards_G]
    else:
        means = [r.process / max_tokens for r in rewards_G]
    process = _step_form if form == "step" else _token_form
    tokens = [
        [outcome + value for value in process(reward.steps_S, ends, length, baseline)]
        for reward, ends, length, outcome, baseline in zip(
            rewards_G, step_ends_G_S, lengths_G, shared, leave_one_out(means), strict=True
        )
    ]
    return GroupAdvantages(tokens_G_T=tokens, equal=False)


def _step_form(
    credited_S: Sequence[float], ends_S: Sequence[int], length: int, baseline: float
) -> list[float]:
    """All tokens of a step have its advantage."""
    values: list[float] = []
    for step, end in enumerate(ends_S[: len(credited_S)]):
        to_come = math.fsum(credited_S[step:]) - baseline * (len(credited_S) - step)
        values += [to_come] * (end - len(values))
    return values + [0.0] * (length - len(values))


def _token_form(
    credited_S: Sequence[float], ends_S: Sequence[int], length: int, baseline: float
) -> list[float]:
    """A step's reward stands at its last token; the baseline is due at every token."""
    values = [-baseline * (length - token) for token in range(length)]
    start = 0
    for step, end in enumerate(ends_S[: len(credited_S)]):
        to_come = math.fsum(credited_S[step:])
        for token in range(start, end):
            values[token] += to_come
        start = end
    return values
