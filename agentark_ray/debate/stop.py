"""When a debate has said enough. Every rule looks only at the answers so far.

Source: ReConcile ends when all agree (Chen et al., 2309.13007); `stable` and `quorum` are our own.
"""

from collections.abc import Callable, Sequence

from agentark_ray.debate.vote import Equal, unanimous
from agentark_ray.types import StopReason, Vote

# answers_R_A[r][a]: the extracted answer of agent a in round r, or None.
Answers = Sequence[Sequence[str | None]]
# `quorum` is the number of agents behind one answer that ends the debate.
Stop = Callable[[Vote, Answers, Equal, int], StopReason | None]


def fixed(vote: Vote, answers_R_A: Answers, equal: Equal, quorum: int) -> StopReason | None:
    """Never before the last round."""
    return None


def when_unanimous(
    vote: Vote, answers_R_A: Answers, equal: Equal, quorum: int
) -> StopReason | None:
    """Everybody gives the same answer."""
    return StopReason.UNANIMOUS if unanimous(vote) else None


def when_stable(vote: Vote, answers_R_A: Answers, equal: Equal, quorum: int) -> StopReason | None:
    """Everybody agrees, or nobody changed their answer since the round before."""
    if unanimous(vote):
        return StopReason.UNANIMOUS
    if len(answers_R_A) < 2:
        return None
    same = all(
        _same(before, now, equal)
        for before, now in zip(answers_R_A[-2], answers_R_A[-1], strict=True)
    )
    return StopReason.STABLE if same else None


def when_quorum(vote: Vote, answers_R_A: Answers, equal: Equal, quorum: int) -> StopReason | None:
    """At least `quorum` agents give the leading answer."""
    return StopReason.QUORUM if vote.count >= quorum else None


def _same(before: str | None, now: str | None, equal: Equal) -> bool:
    if before is None or now is None:
        return before is now
    return equal(before, now)


STOPS: dict[str, Stop] = {
    "fixed": fixed,
    "unanimous": when_unanimous,
    "stable": when_stable,
    "quorum": when_quorum,
}
