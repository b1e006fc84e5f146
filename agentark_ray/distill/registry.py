"""Every strategy by its config type. A new one is a small file and a line here."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from agentark_ray.distill import da, rft, rsft
from agentark_ray.distill.asked import Asked, Material
from agentark_ray.distill.rows import Drop, TrainingRow
from agentark_ray.distill.solutions import Likeness, Solution


class Strategy(NamedTuple):
    """What may be learned from a question, and the rows made of what is fit of it."""

    material: Callable[[Asked], Material | Drop]
    rows: Callable[[Asked, Sequence[Solution], Any, Likeness], list[TrainingRow]]  # Any: its config


STRATEGIES: dict[str, Strategy] = {
    "rsft": Strategy(rsft.material, rsft.rows),
    "da": Strategy(da.material, da.rows),
    "rft": Strategy(rft.material, rft.rows),
}
