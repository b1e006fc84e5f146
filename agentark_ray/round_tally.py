"""What rounds of debate changed: votes counted by round, in memory of fixed size."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agentark_ray.types import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundResult:
    """The state of all debates after a round; one that has stopped keeps its last vote."""

    round: int  # 0..R-1
    vote_accuracy: float | None  # share of the graded debates; None if there are none
    agreement: float  # share of agents behind the leading answer, a mean over finished debates
    running: float  # share of finished debates that held this round


@dataclass(slots=True)
class _Standing:
    """Sums over votes."""

    debates: int = 0
    correct: int = 0
    agreement: float = 0.0

    def add(self, vote: Mapping[str, Any]) -> None:
        self.debates += 1
        self.correct += vote["verdict"] == Verdict.CORRECT
        self.agreement += vote["count"] / vote["agents"]

    def __iadd__(self, other: "_Standing") -> "_Standing":
        self.debates += other.debates
        self.correct += other.correct
        self.agreement += other.agreement
        return self


class RoundTally:
    """Sums over the votes of finished debates: of every round, and of those that were the last."""

    def __init__(self) -> None:
        self._held: dict[int, _Standing] = {}
        self._ended: dict[int, _Standing] = {}

    def add(self, votes: Sequence[Mapping[str, Any]]) -> None:
        """Count a finished debate's votes (trace schema: round, count, agents, verdict)."""
        ordered = sorted(votes, key=lambda vote: vote["round"])
        for vote in ordered:
            self._held.setdefault(vote["round"], _Standing()).add(vote)
        if ordered:
            self._ended.setdefault(ordered[-1]["round"], _Standing()).add(ordered[-1])

    def results(self, graded: int) -> list[RoundResult]:
        """The state after every round.

        `graded` debates are what the vote accuracy is of: failed ones among them count as wrong.
        """
        finished = sum(standing.debates for standing in self._ended.values())
        stopped = _Standing()
        results = []
        for number in range(max(self._held, default=-1) + 1):
            held, state = self._held.get(number, _Standing()), _Standing()
            state += held
            state += stopped
            results.append(
                RoundResult(
                    round=number,
                    vote_accuracy=state.correct / graded if graded else None,
                    agreement=state.agreement / finished,
                    running=held.debates / finished,
                )
            )
            stopped += self._ended.get(number, _Standing())
        return results
