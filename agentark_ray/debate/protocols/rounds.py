"""`debate`: agents answer, then revise after reading peers, for R rounds at most.

Source: Du et al., 2305.14325; the aggregating model is that of AgentArk's code (2602.03955), ours
add votes, topologies and early stopping. One agent and one round is a single sample; A agents and
one round is self-consistency (2203.11171); one agent, two rounds and the layout `check` is the
self-correction probe.
"""

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from agentark_ray.debate.aggregate import AGGREGATES
from agentark_ray.debate.layouts import LAYOUTS
from agentark_ray.debate.stop import STOPS, Answers
from agentark_ray.debate.talk import Outcome, Talk
from agentark_ray.debate.topology import Peers, peers
from agentark_ray.debate.vote import Equal
from agentark_ray.types import Message, Speaker, StopReason, Vote


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounds:
    """A debate in rounds; an aggregating speaker, if there is one, is the last of `speakers`."""

    speakers: tuple[Speaker, ...]
    agents: int
    too_long: str
    seed: int  # of random topologies
    rounds: int = 1
    topology: str = "full"
    degree: int = 1
    layout: str = "paper"  # a key of LAYOUTS
    stop: str = "fixed"  # a key of STOPS
    quorum: float = 1.0
    aggregate: str = "vote"  # a key of AGGREGATES

    async def hold(self, talk: Talk) -> Outcome:
        """Rounds until the stopping rule or the last one, then the aggregation."""
        texts_R_A: list[list[str]] = []
        answers_R_A: list[list[str | None]] = []
        reason: StopReason | None = None
        peers_A = self._peers(talk.question.question_id)
        waves = self._waves()
        for round_ in range(self.rounds):
            texts_A: list[str] = []
            answers_A: list[str | None] = []
            for wave in waves:
                prompts = {
                    agent: partial(self._messages, talk, tuple(texts_R_A), agent, peers_A[agent])
                    for agent in wave
                }
                for turn in await talk.ask_all(round_, prompts, rounds=round_):
                    texts_A.append(turn.completion.text)
                    answers_A.append(turn.answer)
                vote = talk.vote(round_, answers_A)
                reason = self._reason(vote, [*answers_R_A, answers_A], talk.equal)
                if reason:
                    break
            texts_R_A.append(texts_A)
            answers_R_A.append(answers_A)
            if reason:
                break
        answer = await AGGREGATES[self.aggregate](talk, self.agents)
        return Outcome(answer=answer, stop_reason=reason or StopReason.ROUNDS)

    def _waves(self) -> tuple[range, ...]:
        """Agents asked at once: a quorum first, for if it agrees, the others need not speak."""
        first = self._quorum() if self.stop == "quorum" else self.agents
        return tuple(wave for wave in (range(first), range(first, self.agents)) if wave)

    def _quorum(self) -> int:
        return math.ceil(self.quorum * self.agents)

    def _reason(self, vote: Vote, answers_R_A: Answers, equal: Equal) -> StopReason | None:
        return STOPS[self.stop](vote, answers_R_A, equal, self._quorum())

    def _peers(self, question_id: str) -> Peers:
        # Only the random topology differs from question to question.
        seed = self.seed ^ zlib.crc32(question_id.encode()) if self.topology == "random" else 0
        return peers(self.topology, self.agents, self.degree, seed)

    def _messages(
        self,
        talk: Talk,
        texts_R_A: Sequence[Sequence[str]],
        agent: int,
        peers_of: Sequence[int],
        dropped: int,
    ) -> list[Message]:
        return LAYOUTS[self.layout](
            talk.question.text,
            talk.grader.instruction,
            texts_R_A[dropped:],
            agent,
            self.speakers[agent].persona,
            peers_of,
        )
