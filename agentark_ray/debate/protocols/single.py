"""`single`: one answer, which needs no source: what every debate is compared with."""

from typing import Literal

from agentark_ray.debate.protocols.rounds import Rounds, rounds
from agentark_ray.team import Speakers


class SingleConfig(Speakers):
    """One answer."""

    protocol: Literal["single"]

    @property
    def samples(self) -> int:
        """Answers sampled."""
        return 1

    @property
    def completions(self) -> int:
        """Completions of one question."""
        return 1

    def build(self, seed: int) -> Rounds:
        """A debate of one agent and one round."""
        return rounds(self, seed, agents=1)
