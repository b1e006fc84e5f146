"""The time of GPUs as a price of answers. Plain arithmetic; money is in US dollars."""

from collections.abc import Mapping
from dataclasses import dataclass

HOUR_S = 3_600


def gpu_usd(seconds: float, gpus: int, gpu_hour: float) -> float:
    """US dollars of seconds of an engine, or of a training, on so many GPUs."""
    return seconds * gpus * gpu_hour / HOUR_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """How fast one engine answers as an arm."""

    tokens_per_s: float  # output tokens
    origin: str  # where it was measured, in words


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineTime:
    """What the time of engines costs, where answers are paid for so."""

    gpu_hour: float
    gpus_per_engine: int
    speeds: Mapping[str, Speed]  # by arm; without those whose seconds nobody measured

    def usd(self, arm: str, output_tokens: float) -> float | None:
        """Of so many output tokens on engines that are always busy; None if it is not known."""
        if not self.gpus_per_engine or arm not in self.speeds:
            return None
        seconds = output_tokens / self.speeds[arm].tokens_per_s
        return gpu_usd(seconds, self.gpus_per_engine, self.gpu_hour)
