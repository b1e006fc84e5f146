"""From the configuration to the protocol an arm answers by. A new protocol is a file and a line."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from agentark_ray.config import Config, stable_hash
from agentark_ray.debate.protocols.judged import Judged
from agentark_ray.debate.protocols.peer import Peer
from agentark_ray.debate.protocols.rounds import Rounds
from agentark_ray.debate.protocols.verify import Verify
from agentark_ray.debate.talk import DebateProtocol
from agentark_ray.evaluate_config import GREEDY
from agentark_ray.team import AgentConfig, Speakers, TeamConfig
from agentark_ray.types import ModelRef, Role, Sampling, Speaker

ANYBODY = AgentConfig()  # the arm's model, without persona


def arm_protocol(config: Config, arm: str) -> DebateProtocol:
    """The protocol an arm answers by: `debate` is the team of the config, others are baselines.

    Any other name is that of a team or an endpoint of `evaluate`, or else a student's. Who is no
    team answers alone, as NAME_check checks its own answer, as NAME_peer reads a wrong one, and as
    NAME_greedy says what is most likely.
    """
    if arm in ARMS:
        return ARMS[arm](config)
    if arm in config.evaluate.teams:
        return _team(config, config.evaluate.teams[arm])
    end = next((end for end in ALONE if arm.endswith(end)), "")
    agent = config.evaluate.endpoints.get(arm.removesuffix(end), ANYBODY)
    return ALONE.get(end, _single)(config, agent)


def generation_hash(config: Config, model: str, arm: str) -> str:
    """16 hex digits over all that decides what an arm's debates can say."""
    protocol: Any = arm_protocol(config, arm)
    return stable_hash(
        {
            "model": model,
            "seed": config.seed,
            "protocol": [type(protocol).__name__, asdict(protocol)],
            "engine": {
                key: value for key, value in config.identity().items() if key.startswith("engine.")
            },
        }
    )


def _speaker(team: Speakers, agent: AgentConfig, role: Role) -> Speaker:
    temperature = team.temperature if agent.temperature is None else agent.temperature
    model = agent.model and ModelRef(
        name=agent.model, endpoint=agent.endpoint, api_key_env=agent.api_key_env
    )
    return Speaker(
        role=role,
        model=model or None,
        persona=agent.persona,
        sampling=Sampling(
            temperature=temperature,
            top_p=agent.top_p or team.top_p,
            max_tokens=agent.max_tokens or team.max_tokens,
        ),
    )


def _speakers(team: Speakers, *roles: Role) -> tuple[Speaker, ...]:
    """One speaker a role; agents come from `team.team` in turn, judges from `team.judge`."""
    agents = team.team or (AgentConfig(),)
    members = [role for role in roles if role not in (Role.JUDGE, Role.AGGREGATOR)]
    taken = [agents[i % len(agents)] for i in range(len(members))]
    last = [team.judge] * (len(roles) - len(members))
    return tuple(
        _speaker(team, agent, role) for agent, role in zip([*taken, *last], roles, strict=True)
    )


def _team(config: Config, team: TeamConfig) -> DebateProtocol:
    return PROTOCOLS[team.protocol](config.model_copy(update={"debate": team}))


def _debate(config: Config) -> Rounds:
    """Of a DebateConfig, or of a SelfConsistencyConfig: one round of it."""
    team: Any = config.debate
    closing = {"model": Role.AGGREGATOR, "judge": Role.JUDGE}.get(team.aggregate)
    roles = [*[Role.AGENT] * team.agents, *([closing] if closing else [])]
    said = {"rounds", "topology", "degree", "layout", "stop", "quorum", "aggregate"}
    return Rounds(
        speakers=_speakers(team, *roles),
        agents=team.agents,
        too_long=team.too_long,
        seed=config.seed,
        **team.model_dump(include=said),
    )


def _judged(config: Config) -> Judged:
    team: Any = config.debate
    speakers = _speakers(team, Role.AFFIRMATIVE, Role.NEGATIVE, Role.JUDGE)
    return Judged(speakers=speakers, rounds=team.rounds, too_long=team.too_long)


def _verify(config: Config) -> Verify:
    team: Any = config.debate
    speakers = _speakers(team, Role.SOLVER, *[Role.VERIFIER] * team.verifiers)
    return Verify(speakers=speakers, rounds=team.rounds, too_long=team.too_long)


def _alone(
    config: Config, agents: int, agent: AgentConfig, rounds: int = 1, layout: str = "paper"
) -> Rounds:
    """One agent, by default the arm's model without persona, answering `agents` times."""
    shared = {"temperature", "top_p", "max_tokens", "too_long"}
    said = config.debate.model_dump(include=shared)
    alone = Speakers.model_validate({**said, "team": (agent,)})
    return Rounds(
        speakers=_speakers(alone, *[Role.AGENT] * agents),
        agents=agents,
        rounds=rounds,
        layout=layout,
        too_long=alone.too_long,
        seed=config.seed,
    )


def _single(config: Config, agent: AgentConfig = ANYBODY) -> Rounds:
    return _alone(config, 1, agent)


def _greedy(config: Config, agent: AgentConfig) -> Rounds:
    return _single(config, agent.model_copy(update={"temperature": 0.0, "top_p": 1.0}))


def _check(config: Config, agent: AgentConfig) -> Rounds:
    return _alone(config, 1, agent, rounds=2, layout="check")


def _peer(config: Config, agent: AgentConfig) -> Peer:
    single = _single(config, agent)
    return Peer(speakers=single.speakers, too_long=single.too_long, seed=config.seed)


def _self_consistency(config: Config) -> Rounds:
    samples = config.evaluate.self_consistency_samples or config.debate.samples
    return _alone(config, samples, ANYBODY)


PROTOCOLS: dict[str, Callable[[Config], DebateProtocol]] = {
    "debate": _debate,
    "judged": _judged,
    "verify": _verify,
    "self_consistency": _debate,
    "single": lambda config: _single(config, (*config.debate.team, ANYBODY)[0]),
}
ALONE: dict[str, Callable[[Config, AgentConfig], DebateProtocol]] = {
    "_check": _check,
    "_peer": _peer,
    GREEDY: _greedy,
}
ARMS: dict[str, Callable[[Config], DebateProtocol]] = {
    "single": _single,
    "self_consistency": _self_consistency,
    "debate": lambda config: PROTOCOLS[config.debate.protocol](config),
}
