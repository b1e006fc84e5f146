"""Votes for tests."""

from collections.abc import Sequence

from agentark_ray.debate.vote import majority
from agentark_ray.grading.numeric import equal
from agentark_ray.types import Vote


def counted(answers: Sequence[str | None]) -> Vote:
    """The vote of a first round with these answers."""
    answer, count = majority(answers, equal)
    return Vote(round=0, answer=answer, count=count, agents=len(answers), verdict=None)
