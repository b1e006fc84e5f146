"""`verify`: a solver, and verifiers who accept its solution or send it back with their reasons.

Source: multi-agent verification, Lifshitz et al., 2502.20379, with a revision after each rejection.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal

from pydantic import Field

from agentark_ray.debate.layouts import ask, chat
from agentark_ray.debate.talk import Outcome, Talk
from agentark_ray.team import Speakers
from agentark_ray.types import Message, Role, Speaker, StopReason, Vote

SOLVER = 0
VERDICT = re.compile(r"verdict\W{0,9}(correct|incorrect)", re.IGNORECASE)

REVIEW = (
    "Question:\n{}\n\nProposed solution:\n{}\n\nCheck every step. End with one line: Verdict:"
    " correct, or Verdict: incorrect."
)
REVISE = "Reviewers found:\n\n{}\n\nCorrect your solution where they are right."


class VerifyConfig(Speakers):
    """A solver, and verifiers who accept its solution or send it back."""

    protocol: Literal["verify"]
    verifiers: Annotated[int, Field(ge=1, le=63)] = 3
    rounds: Annotated[int, Field(ge=1, le=16)] = 2

    @property
    def samples(self) -> int:
        """Answers a self-consistency of the same width samples."""
        return 1 + self.verifiers

    @property
    def completions(self) -> int:
        """Completions of one debate at most."""
        return (1 + self.verifiers) * self.rounds

    def build(self, seed: int) -> "Verify":
        """The debate; nothing in it is random."""
        return Verify(
            speakers=self.speakers(Role.SOLVER, *[Role.VERIFIER] * self.verifiers),
            rounds=self.rounds,
            too_long=self.too_long,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Verify:
    """Speakers are the solver, then the verifiers."""

    speakers: tuple[Speaker, ...]
    rounds: int
    too_long: str

    async def hold(self, talk: Talk) -> Outcome:
        """Solve and review until most verifiers accept; the answer is the solver's last one."""
        said: list[tuple[str, Sequence[str]]] = []  # a round: solution, reviews
        verifiers = range(1, len(self.speakers))
        answer = None
        for round_ in range(self.rounds):
            solution = await talk.ask(
                round_, SOLVER, partial(self._solve, talk, tuple(said)), round_
            )
            answer, text = solution.answer, solution.completion.text
            reviews = await talk.ask_all(
                round_, {v: partial(self._review, talk, text, v) for v in verifiers}
            )
            accepted = sum(accepts(review.completion.text) for review in reviews)
            talk.record(
                Vote(
                    round=round_,
                    answer=answer,
                    count=accepted,
                    agents=len(verifiers),
                    verdict=solution.verdict,
                )
            )
            if accepted * 2 > len(verifiers):
                return Outcome(answer=answer, stop_reason=StopReason.VERIFIED)
            said.append((text, [review.completion.text for review in reviews]))
        return Outcome(answer=answer, stop_reason=StopReason.ROUNDS)

    def _solve(
        self, talk: Talk, said: Sequence[tuple[str, Sequence[str]]], dropped: int
    ) -> list[Message]:
        contents = [ask(talk.question.text, talk.grader.instruction)]
        for solution, reviews in said[dropped:]:
            contents += [solution, REVISE.format("\n\n".join(reviews))]
        return chat(self.speakers[SOLVER].persona, contents)

    def _review(self, talk: Talk, solution: str, verifier: int, dropped: int) -> list[Message]:
        text = REVIEW.format(talk.question.text, solution)
        return chat(self.speakers[verifier].persona, [text])


def accepts(text: str) -> bool:
    """Whether a verifier's last verdict is `correct`; without a verdict it does not accept."""
    found = VERDICT.findall(text)
    return bool(found) and found[-1].lower() == "correct"
