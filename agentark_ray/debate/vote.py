"""Votes over equal answers: equality is the grader's, not that of strings."""

from collections.abc import Callable, Sequence

from agentark_ray.types import Vote

Equal = Callable[[str, str], bool]


def clusters(answers_A: Sequence[str | None], equal: Equal) -> list[list[int]]:
    """Agents grouped by equal answers, largest group first; agents without answer are left out.

    Answers that are linked by a chain of equal ones share a group, so that the groups do not depend
    on the order of agents even where equality is not transitive. Groups of equal size are in the
    order of their first agents.
    """
    said: dict[str, list[int]] = {}
    for agent, answer in enumerate(answers_A):
        if answer is not None:
            said.setdefault(answer, []).append(agent)
    groups: list[list[str]] = []
    for answer in said:
        linked = [group for group in groups if any(equal(other, answer) for other in group)]
        groups = [group for group in groups if group not in linked]
        groups.append([*(other for group in linked for other in group), answer])
    agents = [sorted(agent for answer in group for agent in said[answer]) for group in groups]
    return sorted(agents, key=lambda group: (-len(group), group[0]))


def majority(answers_A: Sequence[str | None], equal: Equal) -> tuple[str | None, int]:
    """The leading answer and how many agents gave it; None and 0 if nobody answered."""
    groups = clusters(answers_A, equal)
    return (answers_A[groups[0][0]], len(groups[0])) if groups else (None, 0)


def unanimous(vote: Vote) -> bool:
    """Whether every agent gave the leading answer."""
    return vote.count == vote.agents
