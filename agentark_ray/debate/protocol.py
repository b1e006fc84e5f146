"""The protocols as plain values: who speaks how often, and when it ends."""

from dataclasses import dataclass

from agentark_ray.config import Config, stable_hash
from agentark_ray.types import Sampling


@dataclass(frozen=True, slots=True, kw_only=True)
class DebateProtocol:
    """A agents answer, then revise after reading peers, for R rounds at most; then they vote.

    Source: Du et al., 2305.14325, with a vote instead of an aggregating model. One agent and one
    round is a single sample; A agents and one round is self-consistency (2203.11171); one agent,
    two rounds and the layout `check` is the self-correction probe.
    """

    agents: int
    rounds: int
    layout: str  # a key of layouts.LAYOUTS
    stop: str  # fixed or unanimous
    vote: str  # last_round or all_rounds
    sampling: Sampling
    too_long: str  # fail or drop_oldest_round


def arm_protocol(config: Config, arm: str) -> DebateProtocol:
    """The protocol an arm answers by.

    Raises:
        KeyError: no such arm.
    """
    debate = config.debate
    agents, rounds, layout, stop = {
        "single": (1, 1, debate.layout, "fixed"),
        "single_check": (1, 2, "check", "fixed"),
        "self_consistency": (debate.agents, 1, debate.layout, "fixed"),
        "debate": (debate.agents, debate.rounds, debate.layout, debate.stop),
        "student": (1, 1, debate.layout, "fixed"),
        "student_check": (1, 2, "check", "fixed"),
    }[arm]
    return DebateProtocol(
        agents=agents,
        rounds=rounds,
        layout=layout,
        stop=stop,
        vote=debate.vote if arm == "debate" else "last_round",
        sampling=Sampling(
            temperature=debate.temperature, top_p=debate.top_p, max_tokens=debate.max_tokens
        ),
        too_long=debate.too_long,
    )


def generation_hash(config: Config, model: str, arm: str) -> str:
    """16 hex digits over all that decides what an arm's debates can say."""
    protocol = arm_protocol(config, arm)
    sampling = protocol.sampling
    return stable_hash(
        {
            "model": model,
            "seed": config.seed,
            "agents": protocol.agents,
            "rounds": protocol.rounds,
            "layout": protocol.layout,
            "stop": protocol.stop,
            "vote": protocol.vote,
            "too_long": protocol.too_long,
            "sampling": [sampling.temperature, sampling.top_p, sampling.max_tokens],
            "engine": {
                key: value
                for key, value in config.identity().items()
                if key.startswith("engine.") and key != "engine.max_failed_fraction"
            },
        }
    )
