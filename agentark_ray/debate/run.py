"""One debate, from the question to its answer. Knows neither Ray nor any engine.

It does not retry, does not time out and does not write: that is the caller's. Failures of one
debate become data; EngineDead and cancellation propagate.
"""

import time

from agentark_ray.debate.talk import DebateProtocol, Observe, Outcome, Talk, nobody
from agentark_ray.engine.base import EngineDead, Generate, PromptTooLong
from agentark_ray.grading.base import Grader
from agentark_ray.types import Debate, DebateStatus, Question


async def run_debate(
    question: Question,
    protocol: DebateProtocol,
    generate: Generate,
    grader: Grader,
    observe: Observe = nobody,
) -> Debate:
    """Hold the debate as its protocol says, and tell `observe` every turn and count.

    Raises:
        EngineDead: the engine is gone; nothing is known about this question.
    """
    started = time.perf_counter()
    talk = Talk(question, protocol, generate, grader, observe)
    error: BaseException | None = None
    outcome: Outcome | None = None
    try:
        outcome = await protocol.hold(talk)
    except* EngineDead as group:
        raise _first(group) from None
    except* Exception as group:
        error = _first(group)
    answer = outcome.answer if outcome else None
    return Debate(
        question=question,
        turns=tuple(talk.turns),
        votes=tuple(talk.votes),
        final_answer=answer,
        final_verdict=talk.verdict(answer) if outcome else None,
        stop_reason=outcome.stop_reason if outcome else None,
        status=_status(error),
        error_type=type(error).__name__ if error else None,
        error_message=str(error) if error else None,
        wall_s=time.perf_counter() - started,
    )


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _status(error: BaseException | None) -> DebateStatus:
    if error is None:
        return DebateStatus.OK
    return DebateStatus.PROMPT_TOO_LONG if isinstance(error, PromptTooLong) else DebateStatus.FAILED
