"""What a protocol works with: asking speakers, counting votes, a record that survives failures."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from agentark_ray.debate.vote import majority
from agentark_ray.engine.base import Generate, PromptTooLong
from agentark_ray.grading.base import Grader
from agentark_ray.types import Message, Question, Speaker, StopReason, Turn, Vote

# Messages of a turn with the oldest n rounds left out.
Prompt = Callable[[int], list[Message]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a protocol ends: the answer that counts and why no further round was held."""

    answer: str | None
    stop_reason: StopReason


class DebateProtocol(Protocol):
    """A way to hold a debate, as a plain value that decides all that is said."""

    @property
    def speakers(self) -> Sequence[Speaker]:
        """Who speaks; an agent's number is its place here."""
        ...

    @property
    def too_long(self) -> str:
        """fail, or drop_oldest_round until the prompt fits."""
        ...

    async def hold(self, talk: "Talk") -> Outcome:
        """Ask through `talk` until there is an answer. Exceptions fail the debate."""
        ...


class Talk:
    """One debate while it is held. `turns` and `votes` keep what was said before a failure."""

    def __init__(
        self, question: Question, protocol: DebateProtocol, generate: Generate, grader: Grader
    ) -> None:
        self.question = question
        self.grader = grader
        self.turns: list[Turn] = []
        self.votes: list[Vote] = []
        self._protocol = protocol
        self._generate = generate

    def speaker(self, agent: int) -> Speaker:
        """One of the protocol's speakers."""
        return self._protocol.speakers[agent]

    async def ask(self, round_: int, agent: int, prompt: Prompt, rounds: int = 0) -> Turn:
        """One speaker's turn; `rounds` is how many rounds its prompt holds that may be dropped."""
        (turn,) = await self.ask_all(round_, {agent: prompt}, rounds)
        return turn

    async def ask_all(
        self, round_: int, prompts: dict[int, Prompt], rounds: int = 0
    ) -> Sequence[Turn]:
        """Turns of several speakers, who answer at the same time and do not see each other."""
        async with asyncio.TaskGroup() as group:
            asked = [
                group.create_task(self._turn(round_, agent, prompt, rounds))
                for agent, prompt in prompts.items()
            ]
        said = [task.result() for task in asked]
        self.turns += said
        return said

    def vote(self, round_: int, answers_A: Sequence[str | None]) -> Vote:
        """Count equal answers of a round."""
        self.votes.append(majority(round_, answers_A, self.grader.equal))
        return self.votes[-1]

    async def _turn(self, round_: int, agent: int, prompt: Prompt, rounds: int) -> Turn:
        """Ask; with the policy drop_oldest_round, with fewer rounds until the prompt fits."""
        speaker = self.speaker(agent)
        for dropped in range(rounds + 1):
            messages = prompt(dropped)
            try:
                completion = await self._generate(agent, messages, speaker.sampling)
            except PromptTooLong:
                if self._protocol.too_long == "fail" or dropped == rounds:
                    raise
                continue
            answer = self.grader.extract(completion.text)
            return Turn(
                agent=agent,
                role=speaker.role,
                round=round_,
                messages=tuple(messages),
                completion=completion,
                answer=answer,
                verdict=self.grader.verdict(answer, self.question.gold, self.question.aliases),
            )
        raise AssertionError("unreachable: the last attempt returns or raises")
