"""`judged`: two sides argue, and a judge may end the debate after any round.

Source: MAD, Liang et al., 2305.19118: affirmative, negative, and a moderator who stops early.
"""

import re
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal

from pydantic import Field

from agentark_ray.debate.layouts import ask, chat
from agentark_ray.debate.talk import Outcome, Talk
from agentark_ray.team import Speakers
from agentark_ray.types import Message, Role, Speaker, StopReason

AFFIRMATIVE, NEGATIVE, JUDGE = range(3)
VERDICT = re.compile(r"verdict\W{0,9}(affirmative|negative|undecided)", re.IGNORECASE)

DOUBT = "The other side says:\n\n{}\n\nFind what is wrong with it and give your own solution."
DEFEND = "The other side answers:\n\n{}\n\nDefend or correct your solution."
DECIDE = (
    "You judge a debate about this question:\n\n{}\n\n{}\n\nSay which side is right and why. End"
    " with one line: Verdict: affirmative, Verdict: negative, or Verdict: undecided."
)


class JudgedConfig(Speakers):
    """Two sides argue, a judge may end it after any round."""

    protocol: Literal["judged"]
    rounds: Annotated[int, Field(ge=1, le=16)] = 3

    @property
    def samples(self) -> int:
        """Answers a self-consistency of the same width samples."""
        return 3

    @property
    def completions(self) -> int:
        """Completions of one debate at most."""
        return 3 * self.rounds

    def build(self, seed: int) -> "Judged":
        """The debate; nothing in it is random."""
        return Judged(
            speakers=self.speakers(Role.AFFIRMATIVE, Role.NEGATIVE, Role.JUDGE),
            rounds=self.rounds,
            too_long=self.too_long,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """Speakers are affirmative, negative and judge, in this order."""

    speakers: tuple[Speaker, ...]
    rounds: int
    too_long: str

    async def hold(self, talk: Talk) -> Outcome:
        """Rounds of both sides and the judge; the answer is that of the side it decides for.

        A judge who is undecided to the end leaves the vote of the two sides.
        """
        said: list[tuple[str, str]] = []  # a round: affirmative, negative
        for round_ in range(self.rounds):
            for_ = await talk.ask(
                round_, AFFIRMATIVE, partial(self._side, talk, tuple(said), None), round_
            )
            against = await talk.ask(
                round_,
                NEGATIVE,
                partial(self._side, talk, tuple(said), for_.completion.text),
                round_,
            )
            said.append((for_.completion.text, against.completion.text))
            talk.vote(round_, [for_.answer, against.answer])
            verdict = await talk.ask(round_, JUDGE, partial(self._judge, talk, tuple(said)), round_)
            decided = decision(verdict.completion.text)
            if decided != "undecided":
                side = for_ if decided == "affirmative" else against
                return Outcome(answer=side.answer, stop_reason=StopReason.JUDGED)
        return Outcome(answer=talk.votes[-1].answer, stop_reason=StopReason.ROUNDS)

    def _side(
        self, talk: Talk, said: tuple[tuple[str, str], ...], opening: str | None, dropped: int
    ) -> list[Message]:
        """A side's own history; `opening` is what the affirmative just said, None for itself."""
        first = ask(talk.question.text, talk.grader.instruction)
        kept = said[dropped:]
        if opening is None:
            contents = [first]
            for own, other in kept:
                contents += [own, DEFEND.format(other)]
            return chat(self.speakers[AFFIRMATIVE].persona, contents)
        heard = [*(for_ for for_, _ in kept), opening]
        contents = [f"{first}\n\n{DOUBT.format(heard[0])}"]
        for (_, own), other in zip(kept, heard[1:], strict=True):
            contents += [own, DEFEND.format(other)]
        return chat(self.speakers[NEGATIVE].persona, contents)

    def _judge(self, talk: Talk, said: tuple[tuple[str, str], ...], dropped: int) -> list[Message]:
        told = "\n\n".join(
            f"Affirmative:\n{for_}\n\nNegative:\n{against}" for for_, against in said[dropped:]
        )
        return chat(self.speakers[JUDGE].persona, [DECIDE.format(talk.question.text, told)])


def decision(text: str) -> str:
    """affirmative, negative or undecided: the last verdict in a judge's text."""
    found = VERDICT.findall(text)
    return found[-1].lower() if found else "undecided"
