"""How what was said in a debate becomes one answer.

Sources: the vote over equal answers is that of self-consistency (Wang et al., 2203.11171), its
weights by mean log-probability are theirs, too (their "normalized weighted sum"); the model that
reads all solutions is AgentArk's (2602.03955), the judge that of MAD (Liang et al., 2305.19118).
"""

import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal

from agentark_ray.debate.layouts import AGGREGATE, JUDGE, decide
from agentark_ray.debate.talk import Talk
from agentark_ray.debate.vote import clusters, majority
from agentark_ray.types import Role, Turn

AggregateName = Literal["vote", "vote_all_rounds", "weighted_vote", "model", "judge"]
# Aggregations by a model, and the role of who does it.
CLOSING: dict[str, Role] = {"model": Role.AGGREGATOR, "judge": Role.JUDGE}
# (talk, number of the aggregating speaker) -> answer
Aggregate = Callable[[Talk, int], Awaitable[str | None]]


def last_round(talk: Talk) -> Sequence[Turn]:
    """The turns of the last round."""
    return [turn for turn in talk.turns if turn.round == talk.turns[-1].round]


async def vote(talk: Talk, speaker: int) -> str | None:
    """The leading answer of the last round."""
    return talk.votes[-1].answer


async def vote_all_rounds(talk: Talk, speaker: int) -> str | None:
    """The leading answer over all rounds together."""
    return majority([turn.answer for turn in talk.turns], talk.equal)[0]


async def weighted_vote(talk: Talk, speaker: int) -> str | None:
    """The answer of the last round with the largest sum of confidences.

    An agent's confidence is exp(mean log-probability) of its tokens; the larger, then the earlier
    group wins where sums are equal.
    """
    turns = last_round(talk)
    groups = clusters([turn.answer for turn in turns], talk.equal)
    if not groups:
        return None
    best = max(groups, key=lambda group: math.fsum(_confidence(turns[a]) for a in group))
    return turns[best[0]].answer


def _confidence(turn: Turn) -> float:
    return math.exp(turn.completion.mean_logprob)


async def model(talk: Talk, speaker: int) -> str | None:
    """A model reads the last round and gives its own solution."""
    return await _ask(talk, speaker, AGGREGATE)


async def judge(talk: Talk, speaker: int) -> str | None:
    """A model reads the last round and decides which solution is right."""
    return await _ask(talk, speaker, JUDGE)


async def _ask(talk: Talk, speaker: int, closing: str) -> str | None:
    turns = last_round(talk)
    messages = decide(
        talk.question.text,
        talk.grader.instruction,
        [turn.completion.text for turn in turns],
        closing,
        talk.speaker(speaker).persona,
    )
    turn = await talk.ask(turns[0].round + 1, speaker, lambda dropped: messages)
    return turn.answer


AGGREGATES: dict[str, Aggregate] = {
    "vote": vote,
    "vote_all_rounds": vote_all_rounds,
    "weighted_vote": weighted_vote,
    "model": model,
    "judge": judge,
}
