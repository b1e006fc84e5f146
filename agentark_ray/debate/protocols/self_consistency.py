"""`self_consistency`: independent answers and a vote over them.

Source: Wang et al., 2203.11171; here answers are equal by the task's grader, not as strings.
"""

from typing import Annotated, Literal

from pydantic import Field

from agentark_ray.debate.aggregate import CLOSING, AggregateName
from agentark_ray.debate.protocols.rounds import Rounds, rounds
from agentark_ray.team import Speakers


class SelfConsistencyConfig(Speakers):
    """Independent answers and a vote."""

    protocol: Literal["self_consistency"]
    agents: Annotated[int, Field(ge=1, le=256)] = 5
    aggregate: AggregateName = "vote"

    @property
    def samples(self) -> int:
        """Answers sampled."""
        return self.agents

    @property
    def completions(self) -> int:
        """Completions of one question at most."""
        return self.agents + (self.aggregate in CLOSING)

    def build(self, seed: int) -> Rounds:
        """A debate of one round."""
        return rounds(self, seed, self.agents, self.aggregate)
