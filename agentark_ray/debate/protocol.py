"""From the configuration to the protocol an arm answers by."""

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from agentark_ray.config import Config, stable_hash
from agentark_ray.debate.protocols.peer import Peer
from agentark_ray.debate.protocols.rounds import Rounds
from agentark_ray.debate.protocols.single import SingleConfig
from agentark_ray.debate.talk import DebateProtocol
from agentark_ray.evaluate_config import GREEDY
from agentark_ray.team import AgentConfig

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
        return config.evaluate.teams[arm].build(config.seed)
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


def _single(config: Config, agent: AgentConfig = ANYBODY) -> Rounds:
    """One agent, by default the arm's model without persona, who samples as the debate does."""
    shared = {"temperature", "top_p", "max_tokens", "too_long"}
    said = config.debate.model_dump(include=shared)
    return SingleConfig(protocol="single", team=(agent,), **said).build(config.seed)


def _greedy(config: Config, agent: AgentConfig) -> Rounds:
    return _single(config, agent.model_copy(update={"temperature": 0.0, "top_p": 1.0}))


def _check(config: Config, agent: AgentConfig) -> Rounds:
    return replace(_single(config, agent), rounds=2, layout="check")


def _peer(config: Config, agent: AgentConfig) -> Peer:
    single = _single(config, agent)
    return Peer(speakers=single.speakers, too_long=single.too_long, seed=config.seed)


def _self_consistency(config: Config) -> Rounds:
    samples = config.evaluate.self_consistency_samples or config.debate.samples
    single = _single(config)
    return replace(single, speakers=single.speakers * samples, agents=samples)


ALONE: dict[str, Callable[[Config, AgentConfig], DebateProtocol]] = {
    "_check": _check,
    "_peer": _peer,
    GREEDY: _greedy,
}
ARMS: dict[str, Callable[[Config], DebateProtocol]] = {
    "single": _single,
    "self_consistency": _self_consistency,
    "debate": lambda config: config.debate.build(config.seed),
}
