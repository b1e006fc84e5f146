"""Who speaks in a debate: what the `debate` sections of all protocols have in common."""

from abc import abstractmethod
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from agentark_ray.section import Section
from agentark_ray.types import ModelRef, Role, Sampling, Speaker

Temperature = Annotated[float, Field(ge=0, le=2)]
TopP = Annotated[float, Field(gt=0, le=1)]
Tokens = Annotated[int, Field(ge=1)]


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
    """The section of one protocol, which makes it. `protocol` says which."""

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

    @property
    @abstractmethod
    def samples(self) -> int:
        """Answers a self-consistency of the same width samples."""

    @property
    @abstractmethod
    def completions(self) -> int:
        """Completions of one debate at most."""

    @abstractmethod
    def build(self, seed: int) -> Any:
        """The DebateProtocol of these settings; `seed` is that of its random choices."""

    def speakers(self, *roles: Role) -> tuple[Speaker, ...]:
        """One a role; agents come from `team` in turn, judges and aggregators are `judge`."""
        agents = self.team or (AgentConfig(),)
        members = [role for role in roles if role not in (Role.JUDGE, Role.AGGREGATOR)]
        taken = [agents[i % len(agents)] for i in range(len(members))]
        last = [self.judge] * (len(roles) - len(members))
        return tuple(
            self._speaker(agent, role) for agent, role in zip([*taken, *last], roles, strict=True)
        )

    def _speaker(self, agent: AgentConfig, role: Role) -> Speaker:
        model = agent.model and ModelRef(
            name=agent.model, endpoint=agent.endpoint, api_key_env=agent.api_key_env
        )
        return Speaker(
            role=role,
            model=model or None,
            persona=agent.persona,
            sampling=Sampling(
                temperature=self.temperature if agent.temperature is None else agent.temperature,
                top_p=agent.top_p or self.top_p,
                max_tokens=agent.max_tokens or self.max_tokens,
            ),
        )
