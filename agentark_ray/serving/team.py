"""Deployments without engines: one holds debates, one asks the student and then the debate."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from ray.serve.handle import DeploymentHandle

from agentark_ray.config import Config
from agentark_ray.debate.protocol import arm_protocol
from agentark_ray.debate.run import run_debate
from agentark_ray.debate.talk import DebateProtocol, Talk
from agentark_ray.engine.dead import EngineDeadError
from agentark_ray.serving.config import LimitsConfig, PoolsConfig
from agentark_ray.serving.engines import (
    LOST,
    EngineOverloaded,
    EngineRefused,
    EngineUnavailable,
    Team,
)
from agentark_ray.serving.events import (
    Answered,
    Event,
    HandedOver,
    Usage,
    answered,
    said,
    traced,
    used,
    voted,
)
from agentark_ray.serving.requests import Asked, Refused, capped
from agentark_ray.serving.watch import WATCH
from agentark_ray.tasks.registry import TASKS
from agentark_ray.types import (
    Debate,
    DebateStatus,
    FinishReason,
    Question,
    Speaker,
    Split,
    Turn,
    Vote,
)

RETRY_S = 2  # after which an unavailable engine may be back
OVERLOADED = EngineOverloaded.__name__


def question_of(config: Config, asked: Asked) -> Question:
    """A question without a gold answer."""
    return Question(
        question_id="served",
        text=asked.question,
        gold=None,
        task=config.tasks.name,
        split=Split.EVAL,
    )


def served_protocol(config: Config, arm: str, max_tokens: int) -> DebateProtocol:
    """The protocol of an arm, with answers of `max_tokens` at most."""
    protocol: Any = arm_protocol(config, arm)
    return replace(
        protocol,
        speakers=tuple(
            replace(speaker, sampling=capped(speaker.sampling, max_tokens))
            for speaker in protocol.speakers
        ),
    )


def as_asked(protocol: Any, asked: Asked) -> DebateProtocol:
    """The protocol with the request's sampling and system messages."""
    return replace(
        protocol, speakers=tuple(_speaker(speaker, asked) for speaker in protocol.speakers)
    )


def _speaker(speaker: Speaker, asked: Asked) -> Speaker:
    persona = "\n\n".join(part for part in (asked.system, speaker.persona) if part)
    return replace(speaker, persona=persona, sampling=asked.sampling(speaker.sampling))


class DebateServer:
    """Holds debates over the engines of the application.

    Args:
        config: of the run.
        handles: model name -> its deployment and its name in the application.
        limits: deadline and retries.
    """

    def __init__(
        self,
        config: Config,
        handles: dict[str, tuple[DeploymentHandle, str]],
        limits: LimitsConfig,
    ) -> None:
        self._config = config
        self._team = Team(config, handles, limits)
        self._limits = limits
        self._protocol = served_protocol(config, "debate", limits.max_tokens)
        self._grader = TASKS[config.tasks.name].grader

    async def answer(self, asked: Asked) -> AsyncIterator[Event]:
        """The debate's events as they happen; the answer is the last.

        Raises:
            Refused: the debate failed.
        """
        protocol = as_asked(self._protocol, asked)
        generate = await self._team.generate(protocol.speakers, self._config.model)
        told: asyncio.Queue[Turn | Vote | None] = asyncio.Queue()

        async def hold() -> Debate:
            try:
                return await run_debate(
                    question_of(self._config, asked),
                    protocol,
                    generate,
                    self._grader,
                    told.put_nowait,
                )
            finally:
                told.put_nowait(None)

        holding = asyncio.create_task(hold())
        try:
            async with asyncio.timeout(self._limits.timeout_s):
                while (news := await told.get()) is not None:
                    yield said(news, asked.trace) if isinstance(news, Turn) else voted(news)
                debate = await holding
        except TimeoutError:
            raise Refused(504, f"no answer within {self._limits.timeout_s:g} s") from None
        finally:
            holding.cancel()
        if debate.status != DebateStatus.OK:
            raise failure(debate)
        yield answered(debate, self._equal(debate, protocol, generate), asked.trace)

    def _equal(self, debate: Debate, protocol: DebateProtocol, generate: Any) -> Any:
        return Talk(debate.question, protocol, generate, self._grader).equal


def failure(debate: Debate) -> Refused:
    """What a failed debate is to the user."""
    if debate.status == DebateStatus.PROMPT_TOO_LONG:
        return Refused(
            400, f"{debate.error_message}", param="messages", code="context_length_exceeded"
        )
    if debate.error_type == EngineRefused.__name__:
        return Refused(400, f"an engine does not take this: {debate.error_message}")
    if debate.error_type == EngineUnavailable.__name__:
        return Refused(503, "an engine is not available", retry_after_s=RETRY_S)
    if debate.error_type == OVERLOADED:
        return Refused(429, "too many requests wait for an engine", retry_after_s=RETRY_S)
    if debate.error_type == "TimeoutError":
        return Refused(504, "an agent of the debate did not answer in time")
    return Refused(502, f"the debate failed: {debate.error_type}")


class HybridServer:
    """The student answers; where it is not sure enough, the debate does.

    Args:
        config: of the run.
        student: the student's model folder.
        handles: that folder -> the student's deployment and its name.
        debate: the debate's deployment.
        threshold: mean log-probability of the student's tokens from which on its answer is given.
        limits: deadline and retries.
        pools: of the application.
    """

    def __init__(
        self,
        config: Config,
        student: str,
        handles: dict[str, tuple[DeploymentHandle, str]],
        debate: DeploymentHandle,
        threshold: float,
        limits: LimitsConfig,
        pools: PoolsConfig,
    ) -> None:
        self._config = config
        self._student = student
        self._team = Team(config, handles, limits)
        self._debate = debate.options(stream=True).answer
        self._threshold = threshold
        self._patience_s = min(limits.patience_s, limits.timeout_s / 2)
        self._pools = pools
        self._protocol = served_protocol(config, "single", limits.max_tokens)
        self._grader = TASKS[config.tasks.name].grader

    async def answer(self, asked: Asked) -> AsyncIterator[Event]:
        """The student's answer, or the debate's events after HandedOver.

        A student that fails, that takes too long, or of which no replica is left, hands over too;
        its tokens count where they are known.

        Raises:
            Refused: the debate failed, too; or the question is too long for the student, or too
                many wait for it.
            EngineDeadError: the replica that held the debate was lost.
        """
        mine = await self._student_says(asked)
        if mine is not None and mine.answer is not None and self._is_sure(mine):
            yield mine
            return
        confidence = mine.confidence if mine else None
        before = mine.usage if mine else Usage()
        yield HandedOver(confidence=confidence, threshold=self._threshold, usage=before)
        response: Any = self._debate.remote(asked)
        try:
            async for event in response:
                yield _after(mine, event) if mine and isinstance(event, Answered) else event
        except LOST:  # as such, so that whoever asked may ask again
            raise EngineDeadError("the debate's replica was lost") from None
        finally:
            response.cancel()

    async def _student_says(self, asked: Asked) -> Answered | None:
        """Its answer; None if there is none."""
        WATCH.start(self._pools)
        protocol = as_asked(self._protocol, asked)
        generate = await self._team.generate(protocol.speakers, self._student)
        question = question_of(self._config, asked)
        try:
            async with asyncio.timeout(self._patience_s):
                first = await WATCH.unless_gone(
                    "student", run_debate(question, protocol, generate, self._grader)
                )
        except (Refused, TimeoutError):
            return None
        if first.status == DebateStatus.PROMPT_TOO_LONG or first.error_type == OVERLOADED:
            raise failure(first)
        return _student_answer(first, asked.trace)

    def _is_sure(self, mine: Answered) -> bool:
        return mine.confidence is not None and mine.confidence >= self._threshold


def _student_answer(first: Debate, trace: bool) -> Answered | None:
    """The answer of a student that said something; None if it failed."""
    if first.status != DebateStatus.OK:
        return None
    (turn,) = first.turns
    completion = turn.completion
    whole = completion.finish_reason != FinishReason.LENGTH
    return Answered(
        text=completion.text,
        answer=turn.answer if whole else None,
        path="student",
        usage=used(completion),
        finish_reason=completion.finish_reason,
        confidence=completion.mean_logprob,
        trace=[{**traced(turn), "role": "student"}] if trace else None,
    )


def _after(mine: Answered, answer: Answered) -> Answered:
    """The debate's answer, with what the student has said and used before."""
    return replace(
        answer,
        usage=answer.usage + mine.usage,
        confidence=mine.confidence,
        trace=None if mine.trace is None else [*mine.trace, *(answer.trace or ())],
    )
