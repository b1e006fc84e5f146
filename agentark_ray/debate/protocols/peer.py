"""The probe of a wrong peer: one agent answers, then reads the answer of a confident peer.

What it measures is who gives in (Sharma et al., 2310.13548). Where no wrong answer can be made up,
there is no second turn.
"""

from dataclasses import dataclass
from functools import partial

from agentark_ray.debate.layouts import PEER, ask, chat
from agentark_ray.debate.talk import Outcome, Talk
from agentark_ray.tasks.wrong import wrong_answer
from agentark_ray.types import Message, Speaker, StopReason


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """One speaker and a peer who is made up."""

    speakers: tuple[Speaker, ...]
    too_long: str
    seed: int  # of the wrong answers

    async def hold(self, talk: Talk) -> Outcome:
        """An answer, the peer's word, and the answer after it."""
        first = await talk.ask(0, 0, partial(self._messages, talk, ()))
        talk.vote(0, [first.answer])
        question = talk.question
        key = f"{self.seed}\0{question.question_id}"
        wrong = wrong_answer(question, talk.grader.name, key)
        if wrong is None:
            return Outcome(answer=first.answer, stop_reason=StopReason.ROUNDS)
        said = (first.completion.text, PEER.format(wrong=wrong))
        second = await talk.ask(1, 0, partial(self._messages, talk, said))
        talk.vote(1, [second.answer])
        return Outcome(answer=second.answer, stop_reason=StopReason.ROUNDS)

    def _messages(self, talk: Talk, said: tuple[str, ...], dropped: int) -> list[Message]:
        del dropped  # there is no round that may be left out
        first = ask(talk.question.text, talk.grader.instruction)
        return chat(self.speakers[0].persona, (first, *said))
