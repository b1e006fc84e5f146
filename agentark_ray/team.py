"""The `debate` section of a configuration: who speaks, by which protocol, and when it ends.

One class a protocol; `protocol` chooses. What the protocols do is in debate/protocols/.
"""

from typing import Annotated, Literal

from pydantic import Field, Tag, model_validator

from agentark_ray.section import Section, chosen_by

Temperature = Annotated[float, Field(ge=0, le=2)]
TopP = Annotated[float, Field(gt=0, le=1)]
Tokens = Annotated[int, Field(ge=1)]
Aggregate = Literal["vote", "vote_all_rounds", "weighted_vote", "model", "judge"]


class AgentConfig(Section):
    """One agent. What is null is as for the whole debate."""

    model: Annotated[str, Field(min_length=1)] | None = None
    """`tiny`, a folder, a URI or a Hugging Face id; at an endpoint, the name it serves."""
    endpoint: Annotated[str, Field(pattern=r"^https?://")] | None = None
    """An OpenAI-compatible server, e.g. http://host:8000/v1, instead of an engine of the run."""
    api_key_env: Annotated[str, Field(min_length=1)] | None = None
    """The environment variable that holds the endpoint's key."""
    persona: str = ""
    """A system prompt."""
    temperature: Temperature | None = None
    top_p: TopP | None = None
    max_tokens: Tokens | None = None

    @model_validator(mode="after")
    def _endpoint_serves_a_model(self) -> "AgentConfig":
        if self.endpoint and not self.model:
            raise ValueError(f"endpoint={self.endpoint} needs the model it serves")
        return self


class Speakers(Section):
    """What all protocols have in common."""

    team: tuple[AgentConfig, ...] = ()
    """Agents that differ, taken in turn; empty: all are alike."""
    judge: AgentConfig = AgentConfig()
    """The judge or the aggregating model, where the protocol has one."""
    temperature: Temperature = 0.7
    top_p: TopP = 1.0
    max_tokens: Tokens = 512
    """Output tokens of one answer at most."""
    too_long: Literal["fail", "drop_oldest_round"] = "fail"
    """What to do when a prompt and its answer do not fit into the model's context."""


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
    aggregate: Aggregate = "vote"
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
        return self.agents * self.rounds + (self.aggregate in ("model", "judge"))


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


class SelfConsistencyConfig(Speakers):
    """Independent answers and a vote."""

    protocol: Literal["self_consistency"]
    agents: Annotated[int, Field(ge=1, le=256)] = 5
    aggregate: Aggregate = "vote"

    @property
    def samples(self) -> int:
        """Answers sampled."""
        return self.agents

    @property
    def completions(self) -> int:
        """Completions of one question at most."""
        return self.agents + (self.aggregate in ("model", "judge"))


class SingleConfig(Speakers):
    """One answer."""

    protocol: Literal["single"]

    @property
    def samples(self) -> int:
        """Answers sampled."""
        return 1

    @property
    def completions(self) -> int:
        """Completions of one question."""
        return 1


TEAMS: dict[str, type[Speakers]] = {
    "debate": DebateConfig,
    "judged": JudgedConfig,
    "verify": VerifyConfig,
    "self_consistency": SelfConsistencyConfig,
    "single": SingleConfig,
}


TeamConfig = Annotated[
    Annotated[DebateConfig, Tag("debate")]
    | Annotated[JudgedConfig, Tag("judged")]
    | Annotated[VerifyConfig, Tag("verify")]
    | Annotated[SelfConsistencyConfig, Tag("self_consistency")]
    | Annotated[SingleConfig, Tag("single")],
    chosen_by("protocol", TEAMS, default="debate", error="protocol"),
]
