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
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from agentark_ray.debate.aggregate import AGGREGATES, CLOSING, AggregateName
from agentark_ray.debate.layouts import LAYOUTS
from agentark_ray.debate.stop import STOPS, Answers
from agentark_ray.debate.talk import Outcome, Talk
from agentark_ray.debate.topology import Peers, peers
from agentark_ray.debate.vote import Equal
from agentark_ray.team import Speakers
from agentark_ray.types import Message, Role, Speaker, StopReason, Vote


class DebateConfig(Speakers):
    """Agents answer, then revise after reading their peers."""

    protocol: Literal["debate"] = "debate"
    agents: Annotated[int, Field(ge=1, le=64)] = 5
    rounds: Annotated[int, Field(ge=1, le=16)] = 2
    topology: Literal["full", "ring", "star", "random"] = "full"
    """Whose answers an agent reads: all, two neighbours, the hub's (the hub: all), or `degree`."""
    degree: Annotated[int, Field(ge=1)] = 2
    """Peers an agent reads in the topology `random`."""
    layout: Literal["paper", "shared"] = "paper"
    stop: Literal["fixed", "unanimous", "stable", "quorum"] = "unanimous"
    quorum: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Share of the agents behind one answer that ends the debate with `stop: quorum`; as many are
    asked first, and the others only if these disagree."""
    aggregate: AggregateName = "vote"
    """How the last round (or all) becomes one answer."""

    @model_validator(mode="after")
    def _topology_fits(self) -> "DebateConfig":
        if self.topology != "full" and self.layout == "shared":
            raise ValueError(
                f"layout=shared shows everybody's answers to all; topology={self.topology}"
                " needs layout=paper"
            )
        if self.topology == "random" and (
            self.degree >= self.agents or self.degree * self.agents % 2
        ):
            raise ValueError(
                f"topology=random needs degree < agents and an even degree x agents, got"
                f" degree={self.degree}, agents={self.agents}"
            )
        return self

    @property
    def samples(self) -> int:
        """Answers a self-consistency of the same width samples."""
        return self.agents

    @property
    def completions(self) -> int:
        """Completions of one debate at most."""
        return self.agents * self.rounds + (self.aggregate in CLOSING)

    def build(self, seed: int) -> "Rounds":
        """The debate; an aggregating model speaks last."""
        said = {"rounds", "topology", "degree", "layout", "stop", "quorum"}
        return rounds(self, seed, self.agents, self.aggregate, **self.model_dump(include=said))


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


def rounds(
    section: Speakers, seed: int, agents: int, aggregate: AggregateName = "vote", **said: Any
) -> Rounds:
    """A debate of so many agents of a section; `said` are further fields of Rounds."""
    closing = CLOSING.get(aggregate)
    return Rounds(
        speakers=section.speakers(*[Role.AGENT] * agents, *([closing] if closing else [])),
        agents=agents,
        too_long=section.too_long,
        seed=seed,
        aggregate=aggregate,
        **said,
    )
