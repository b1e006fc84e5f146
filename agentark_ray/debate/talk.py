"""What a protocol works with: asking speakers, counting votes, a record that survives failures."""

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from agentark_ray.debate.vote import majority
from agentark_ray.engine.base import Generate, PromptTooLong
from agentark_ray.grading.base import Grader, GradingTimeout
from agentark_ray.types import Message, Question, Speaker, StopReason, Turn, Verdict, Vote

# Messages of a turn with the oldest n rounds left out.
Prompt = Callable[[int], list[Message]]
# Is told every turn as soon as it is said, and every count.
Observe = Callable[[Turn | Vote], None]


def nobody(told: Turn | Vote) -> None:
    """Nobody watches."""


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
        self,
        question: Question,
        protocol: DebateProtocol,
        generate: Generate,
        grader: Grader,
        observe: Observe = nobody,
    ) -> None:
        self.question = question
        self.grader = grader
        self.turns: list[Turn] = []
        self.votes: list[Vote] = []
        self._protocol = protocol
        self._generate = generate
        self._observe = observe
        self._verdicts: dict[str | None, Verdict | None] = {}
        self._equal: dict[frozenset[str], bool] = {}

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
        said: list[Turn] = []
        try:
            await _together([self._turn(said, round_, *one, rounds) for one in prompts.items()])
        finally:  # where somebody failed, what the others had said before stays on the record
            said.sort(key=lambda turn: turn.agent)
            self.turns += said
        if self.grader.slow:
            await asyncio.to_thread(self._compare_all)
        return said

    def equal(self, a: str, b: str) -> bool:
        """Whether two answers are equal; a comparison that timed out says no."""
        if a == b:
            return True
        pair = frozenset((a, b))
        if pair not in self._equal:
            try:
                self._equal[pair] = self.grader.equal(a, b)
            except GradingTimeout:
                self._equal[pair] = False
        return self._equal[pair]

    def verdict(self, answer: str | None) -> Verdict | None:
        """The grader's verdict on an answer."""
        if answer not in self._verdicts:
            question = self.question
            found = self.grader.verdict(answer, question.gold, question.aliases)
            self._verdicts[answer] = found
        return self._verdicts[answer]

    def vote(self, round_: int, answers_A: Sequence[str | None]) -> Vote:
        """Count a round's answers so far; the last count of a round stays on the record."""
        if self.votes and self.votes[-1].round == round_:
            self.votes.pop()
        answer, count = majority(answers_A, self.equal)
        verdict = self.verdict(answer)
        return self.record(
            Vote(round=round_, answer=answer, count=count, agents=len(answers_A), verdict=verdict)
        )

    def record(self, vote: Vote) -> Vote:
        """Keep a count, and tell it."""
        self.votes.append(vote)
        self._observe(vote)
        return vote

    async def _turn(
        self, said: list[Turn], round_: int, agent: int, prompt: Prompt, rounds: int
    ) -> None:
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
            if self.grader.slow:
                answer, verdict = await asyncio.to_thread(self._grade, completion.text)
            else:
                answer, verdict = self._grade(completion.text)
            turn = Turn(
                agent=agent,
                role=speaker.role,
                round=round_,
                messages=tuple(messages),
                completion=completion,
                answer=answer,
                verdict=verdict,
                dropped_rounds=dropped,
            )
            said.append(turn)
            self._observe(turn)
            return
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _grade(self, text: str) -> tuple[str | None, Verdict | None]:
        answer = self.grader.extract(text)
        return answer, self.verdict(answer)

    def _compare_all(self) -> None:
        """Every pair of answers, so that no vote has to wait for a slow grader."""
        answers = sorted({turn.answer for turn in self.turns if turn.answer is not None})
        for a, b in itertools.combinations(answers, 2):
            self.equal(a, b)


async def _together(turns: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Run all; when one raises, the others are cancelled and have ended before this does.

    As asyncio.TaskGroup, but the waiter is woken by the task itself, one pass of the event loop
    earlier: with hundreds of debates in it a pass takes a millisecond.
    """
    first, *others = turns
    tasks = [asyncio.create_task(turn) for turn in others]
    try:
        await first
        for task in tasks:
            await task
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
