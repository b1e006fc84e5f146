"""One stored debate -> its label: every answer extracted, graded and counted anew. Pure.

Nothing is generated and no stopping rule is replayed: the turns are those that were held. What
follows from extraction is recomputed as the protocol does it: the vote of every round, and the
final answer (of voting agents by the aggregation, else of the speaker who closes: aggregator,
judge, the side the judge decided for, solver). A debate that failed keeps having none.
"""

from collections.abc import Mapping
from typing import Any, cast

from agentark_ray.debate.aggregate import AGGREGATES
from agentark_ray.debate.protocols.judged import decision
from agentark_ray.debate.talk import Talk
from agentark_ray.debate_rows import role, turn_leaves, vote_leaves
from agentark_ray.grading.base import Grader
from agentark_ray.traces.schema import row_question
from agentark_ray.types import SOLVERS, Completion, DebateStatus, Role, Turn, Vote

Row = Mapping[str, Any]

VOTES = ("vote", "vote_all_rounds", "weighted_vote")  # aggregations that need no further turn
COLUMNS = (
    *("debate_id", "question_id", "question", "gold", "aliases.list.element", "task", "split"),
    *("arm", "status", "final_answer", "verdict"),
    *turn_leaves("agent", "role", "round", "text", "verdict", "mean_logprob"),
    *vote_leaves("round", "answer", "count", "agents"),
)
NEEDED = {"debate_id", "question_id", "question", "gold", "task", "arm", "status", "verdict"}


async def relabel(row: Row, grader: Grader, aggregate: str) -> dict[str, Any]:
    """The label (a row of LABEL_SCHEMA) of a trace that has COLUMNS.

    Args:
        row: the trace.
        grader: extracts and compares.
        aggregate: one of VOTES, how answers of agents become one.
    """
    talk = _talk(row, grader)
    for vote in row["votes"] or ():
        _vote(vote, talk)
    answer = await _final(row, talk, aggregate)
    decided = row["status"] == DebateStatus.OK
    return {
        "debate_id": row["debate_id"],
        "question_id": row["question_id"],
        "source": f"grader:{grader.name}",
        "turns": [
            _turn_label(turn, stored)
            for turn, stored in zip(talk.turns, row["turns"] or (), strict=True)
        ],
        "votes": [
            {
                "round": vote.round,
                "answer": vote.answer,
                "count": vote.count,
                "agents": vote.agents,
                "verdict": vote.verdict,
            }
            for vote in talk.votes
        ],
        "final_answer": answer,
        "verdict": talk.verdict(answer) if decided else None,
        "stored": row["verdict"],
        "error": None,
    }


def failed_label(row: Row, source: str, error: BaseException) -> dict[str, Any]:
    """The label of a trace that could not be labelled: no answer, no verdict, and why."""
    nothing = {"answer": None, "verdict": None}
    return {
        "debate_id": row["debate_id"],
        "question_id": row["question_id"],
        "source": source,
        "turns": [{**nothing, "stored": turn["verdict"]} for turn in row["turns"] or ()],
        "votes": [{**vote, **nothing} for vote in row["votes"] or ()],
        **{"final_answer": None, "verdict": None, "stored": row["verdict"]},
        "error": f"{type(error).__name__}: {error}",
    }


def _talk(row: Row, grader: Grader) -> Talk:
    """The debate as it was held, with new answers and verdicts. Nobody can be asked in it."""
    nobody = cast(Any, None)
    talk = Talk(row_question({"aliases": (), **row}), nobody, nobody, grader)
    for turn in row["turns"] or ():
        answer = grader.extract(turn["text"])
        talk.turns.append(
            Turn(
                agent=turn["agent"],
                role=role(turn),
                round=turn["round"],
                messages=(),
                completion=_completion(turn),
                answer=answer,
                verdict=talk.verdict(answer),
            )
        )
    return talk


def _completion(turn: Row) -> Completion:
    return Completion(
        text=turn["text"],
        prompt_tokens=0,
        cached_tokens=0,
        output_tokens=0,
        finish_reason="",
        mean_logprob=turn["mean_logprob"],
        latency_s=0.0,
    )


def _turn_label(turn: Turn, stored: Row) -> dict[str, Any]:
    return {
        "answer": turn.answer,
        "verdict": turn.verdict,
        "stored": stored["verdict"],
        "graded": turn.verdict,
    }


def _vote(stored: Row, talk: Talk) -> None:
    """Count a round's vote anew; in `verify` it is the verifiers' on the solver's answer."""
    said = [turn for turn in talk.turns if turn.round == stored["round"] and turn.role in SOLVERS]
    if said and said[0].role == Role.SOLVER:
        vote = Vote(
            round=stored["round"],
            answer=said[0].answer,
            count=stored["count"],
            agents=stored["agents"],
            verdict=said[0].verdict,
        )
        talk.votes.append(vote)
    else:
        talk.vote(stored["round"], [turn.answer for turn in said])


async def _final(row: Row, talk: Talk, aggregate: str) -> str | None:
    if row["status"] != DebateStatus.OK:
        return None
    last = talk.turns[-1]
    by_role = {turn.role: turn for turn in talk.turns}  # the last turn of each role
    if Role.AFFIRMATIVE in by_role:
        decided = decision(by_role[Role.JUDGE].completion.text)
        return by_role[Role(decided)].answer if decided != "undecided" else talk.votes[-1].answer
    if Role.SOLVER in by_role:
        return by_role[Role.SOLVER].answer
    if last.role in (Role.AGGREGATOR, Role.JUDGE):
        return last.answer
    return await AGGREGATES[aggregate](talk, 0)
