"""Every strategy by its config type. A new one is a small file and a line here."""

from collections.abc import Callable, Mapping
from typing import Any

from agentark_ray.distill.rows import Drop, TrainingRow
from agentark_ray.distill.rsft import rsft_row

STRATEGIES: dict[str, Callable[[Mapping[str, Any]], TrainingRow | Drop]] = {"rsft": rsft_row}
