"""One debate, from the question to its vote. Knows neither Ray nor any engine.

It does not retry, does not time out and does not write: that is the caller's. Failures of one
debate become data; EngineDead and cancellation propagate.
"""

import asyncio
import time
from collections.abc import Sequence

from agentark_ray.debate.layouts import LAYOUTS
from agentark_ray.debate.protocol import DebateProtocol
from agentark_ray.debate.vote import majority, unanimous
from agentark_ray.engine.base import EngineDead, Generate, PromptTooLong
from agentark_ray.grading.base import Grader
from agentark_ray.types import Debate, DebateStatus, Question, StopReason, Turn, Vote


async def run_debate(
    question: Question, protocol: DebateProtocol, generate: Generate, grader: Grader
) -> Debate:
    """Hold the debate. Agents of a round answer concurrently.

    Raises:
        EngineDead: the engine is gone; nothing is known about this question.
    """
    started = time.perf_counter()
    turns: list[Turn] = []
    votes: list[Vote] = []
    error: BaseException | None = None
    stop_reason: StopReason | None = None
    try:
        stop_reason = await _rounds(question, protocol, generate, grader, turns, votes)
    except* EngineDead as group:
        raise _first(group) from None
    except* Exception as group:
        error = _first(group)
    final_answer = None if error else _decide(protocol, turns, votes, grader)
    return Debate(
        question=question,
        turns=tuple(turns),
        votes=tuple(votes),
        final_answer=final_answer,
        final_verdict=None if error else grader.verdict(final_answer, question.gold),
        stop_reason=stop_reason,
        status=_status(error),
        error_type=type(error).__name__ if error else None,
        error_message=str(error) if error else None,
        wall_s=time.perf_counter() - started,
    )


def _decide(
    protocol: DebateProtocol, turns: Sequence[Turn], votes: Sequence[Vote], grader: Grader
) -> str | None:
    """The debate's answer: the last round's leader, or the leader over all rounds."""
    if protocol.vote == "last_round":
        return votes[-1].answer
    return majority(votes[-1].round, [turn.answer for turn in turns], grader.equal).answer


async def _rounds(
    question: Question,
    protocol: DebateProtocol,
    generate: Generate,
    grader: Grader,
    turns: list[Turn],
    votes: list[Vote],
) -> StopReason:
    """Appends to `turns` and `votes` as rounds end, so that a failure keeps what was said."""
    answers_R_A: list[list[str]] = []
    for round_ in range(protocol.rounds):
        async with asyncio.TaskGroup() as group:
            asked = [
                group.create_task(
                    _turn(question, protocol, generate, grader, answers_R_A, round_, agent)
                )
                for agent in range(protocol.agents)
            ]
        said = [task.result() for task in asked]
        turns += said
        answers_R_A.append([turn.completion.text for turn in said])
        votes.append(majority(round_, [turn.answer for turn in said], grader.equal))
        if protocol.stop == "unanimous" and unanimous(votes[-1]):
            return StopReason.UNANIMOUS
    return StopReason.ROUNDS


async def _turn(
    question: Question,
    protocol: DebateProtocol,
    generate: Generate,
    grader: Grader,
    answers_R_A: Sequence[Sequence[str]],
    round_: int,
    agent: int,
) -> Turn:
    """Ask one agent; with the policy drop_oldest_round, with fewer rounds until the prompt fits."""
    layout = LAYOUTS[protocol.layout]
    for dropped in range(len(answers_R_A) + 1):
        messages = layout(question.text, grader.instruction, answers_R_A[dropped:], agent, "")
        try:
            completion = await generate(agent, messages, protocol.sampling)
        except PromptTooLong:
            if protocol.too_long == "fail" or dropped == len(answers_R_A):
                raise
            continue
        answer = grader.extract(completion.text)
        return Turn(
            agent=agent,
            round=round_,
            messages=tuple(messages),
            completion=completion,
            answer=answer,
            verdict=grader.verdict(answer, question.gold),
        )
    raise AssertionError("unreachable: the last attempt returns or raises")


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _status(error: BaseException | None) -> DebateStatus:
    if error is None:
        return DebateStatus.OK
    return DebateStatus.PROMPT_TOO_LONG if isinstance(error, PromptTooLong) else DebateStatus.FAILED
