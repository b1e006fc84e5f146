"""Samples of a policy, made up."""

from collections.abc import Sequence
from typing import Any

from agentark_ray.types import FinishReason, Rollout


def rollout(ids: Sequence[int], text: str = "", version: int = 0, **how: Any) -> Rollout:
    how = {"logprobs": [-1.0] * len(ids), "finish_reason": FinishReason.STOP, **how}
    return Rollout(text=text, token_ids=ids, version=version, **how)
