"""Which arm answers whom. Pure."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from agentark_ray.serving.config import RolloutConfig

BITS = 64


def place(key: str, salt: str) -> float:
    """Where a user stands between 0 and 1; always the same for a key and a salt."""
    digest = hashlib.sha256(f"{salt}\0{key}".encode()).digest()
    return int.from_bytes(digest[: BITS // 8]) / 2**BITS


def choose(weights: Mapping[Any, float], key: str) -> str:
    """The arm of a user: sticky, and when a weight grows only users who now belong there move.

    Arms divide the interval from 0 to 1 in alphabetical order.
    """
    at, edge = place(key, "arm"), 0.0
    chosen = ""
    for arm, weight in sorted(weights.items()):
        if weight:
            chosen, edge = arm, edge + weight
            if at < edge:
                break
    return chosen


def is_shadowed(rollout: RolloutConfig, request_id: str, arm: str) -> bool:
    """Whether a request is answered by the shadow arm, too."""
    shadow = rollout.shadow
    if shadow is None or shadow.arm == arm:
        return False
    return place(request_id, "shadow") < shadow.share


def fallbacks(rollout: RolloutConfig, arm: str, served: Sequence[str]) -> list[str]:
    """Arms that answer when `arm` fails: those with a weight, the heaviest first, then the rest.

    Only those that are served; none if the rollout wants none.
    """
    if not rollout.fallback:
        return []
    weights = {str(name): weight for name, weight in rollout.weights.items()}
    others = [name for name in ("debate", "student", "hybrid") if name in served and name != arm]
    return sorted(others, key=lambda name: -weights.get(name, 0.0))
