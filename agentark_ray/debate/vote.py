"""Votes over equal answers: equality is the grader's, not that of strings."""

from collections.abc import Callable, Sequence

from agentark_ray.types import Vote

Equal = Callable[[str, str], bool]


def clusters(answers_A: Sequence[str | None], equal: Equal) -> list[list[int]]:
    """Agents grouped by equal answers, largest group first; agents without answer are left out.

    Groups of equal size keep the order of their first agent.
    """
    groups: list[list[int]] = []
    for agent, answer in enumerate(answers_A):
        if answer is None:
            continue
        for group in groups:
            first = answers_A[group[0]]
            if first is not None and equal(first, answer):
                group.append(agent)
                break
        else:
            groups.append([agent])
    return sorted(groups, key=lambda group: -len(group))


def majority(round_: int, answers_A: Sequence[str | None], equal: Equal) -> Vote:
    """The leading answer of a round; its count is 0 and its answer None if nobody answered."""
    groups = clusters(answers_A, equal)
    if not groups:
        return Vote(round=round_, answer=None, count=0, agents=len(answers_A))
    leader = groups[0]
    return Vote(round=round_, answer=answers_A[leader[0]], count=len(leader), agents=len(answers_A))


def unanimous(vote: Vote) -> bool:
    """Whether every agent gave the leading answer."""
    return vote.count == vote.agents
