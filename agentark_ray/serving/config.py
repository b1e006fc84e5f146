"""The configuration of a serving application: which run, which models, how they scale, who may ask.

What the models are (team, model, engine, task) comes from the run folder; this file says how they
are served.
"""

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, ValidationError, model_validator

from agentark_ray.config import apply_overrides, read_yaml
from agentark_ray.section import ConfigError, Section

ModelName = Literal["student", "debate", "hybrid", "base"]
Arm = Literal["student", "debate", "hybrid"]
AUTO = "agentark"  # the model whose requests are divided among arms
Share = Annotated[float, Field(ge=0, le=1)]


class PoolConfig(Section):
    """Replicas of one deployment, by the requests that they hold."""

    min_replicas: Annotated[int, Field(ge=0)] = 1
    """0: none while nobody asks; the first request then waits until one has started."""
    max_replicas: Annotated[int, Field(ge=1)] = 1
    target_ongoing: Annotated[int, Field(ge=1)] = 64
    """Requests a replica holds on average before another one is started."""
    max_ongoing: Annotated[int, Field(ge=1)] = 256
    """Requests a replica holds at most."""
    max_queued: Annotated[int, Field(ge=1)] = 512
    """Requests that may wait for a replica; further ones get 429."""
    idle_s: Annotated[float, Field(gt=0)] = 300.0
    """Seconds with too little to do before a replica is stopped."""

    @model_validator(mode="after")
    def _ordered(self) -> "PoolConfig":
        if self.min_replicas > self.max_replicas:
            raise ValueError(
                f"min_replicas={self.min_replicas} is above max_replicas={self.max_replicas}"
            )
        if self.target_ongoing > self.max_ongoing:
            raise ValueError(
                f"target_ongoing={self.target_ongoing} is above max_ongoing={self.max_ongoing}"
            )
        return self


class PoolsConfig(Section):
    """The deployments of the application."""

    base: PoolConfig = PoolConfig()
    """Engines of the debating models."""
    student: PoolConfig = PoolConfig()
    """Engines of the student."""
    debate: PoolConfig = PoolConfig(target_ongoing=32, max_ongoing=64)
    """What holds debates: no engine, little memory."""
    hybrid: PoolConfig = PoolConfig()
    ingress: PoolConfig = PoolConfig(target_ongoing=256, max_ongoing=1024, max_queued=4096)
    """What speaks HTTP."""


class HybridConfig(Section):
    """When the student's answer is not enough."""

    threshold: Annotated[float, Field(le=0)] | None = None
    """Mean log-probability of the student's tokens under which the debate is asked; null takes that
    of the run's evaluation for `target_ratio`."""
    target_ratio: Annotated[float, Field(gt=0, le=1.5)] = 1.0
    """Accuracy to reach on the held-out questions, over that of the debate."""


class ShadowConfig(Section):
    """Requests that are answered a second time by another arm, for comparison only."""

    arm: Arm
    share: Share


class RolloutConfig(Section):
    """Who answers requests to the model `agentark`; may change while it is served."""

    weights: dict[Arm, Share]
    """Share of the users that an arm answers; together 1."""
    shadow: ShadowConfig | None = None
    fallback: bool = True
    """An arm that fails is replaced by the next one that has a weight, or by the debate."""

    @model_validator(mode="after")
    def _sums_to_one(self) -> "RolloutConfig":
        total = sum(self.weights.values())
        if abs(total - 1) > 1e-9:
            raise ValueError(f"weights={self.weights} add up to {total:g}, expected 1")
        return self


class KeysConfig(Section):
    """Where API keys come from; both may be given."""

    file: str | None = None
    """JSON lines made by `agentark serve-key`; it holds hashes, no keys."""
    env: str = "AGENTARK_API_KEYS"
    """Environment variable with NAME:KEY pairs, separated by commas."""
    required: bool = True
    """Without keys, refuse to listen anywhere but on loopback."""
    requests_per_minute: Annotated[int, Field(ge=1)] = 600
    """Of a key that says nothing else."""
    tokens_per_minute: Annotated[int, Field(ge=1)] = 1_000_000


class LimitsConfig(Section):
    """What one request may cost."""

    body_bytes: Annotated[int, Field(ge=1024)] = 1_000_000
    messages: Annotated[int, Field(ge=1)] = 64
    max_tokens: Annotated[int, Field(ge=1)] = 4096
    """Output tokens of one answer that may be asked for."""
    timeout_s: Annotated[float, Field(gt=0)] = 300.0
    """Until an answer is complete; a replica that is stopped has as long to finish its answers."""
    patience_s: Annotated[float, Field(gt=0)] = 60.0
    """For an arm while another one could answer, and for the hybrid's student: until the answer, of
    a stream until its first piece. Never more than an even part of the time that is left."""
    retries: Annotated[int, Field(ge=0, le=10)] = 2
    """Further attempts at a request whose replica died before anything was sent."""
    stream_tokens: Annotated[int, Field(ge=1)] = 8
    """Tokens that a stream sends together, after the first, which is sent at once: every piece
    costs about a millisecond of CPU on its way through three processes."""


class ServeConfig(Section):
    """A serving application."""

    run: Annotated[str, Field(min_length=1)]
    """The run folder."""
    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")] = "agentark"
    """Of the Ray Serve application."""
    student: str | None = None
    """One of the run's students; null is the run's own."""
    models: Annotated[tuple[ModelName, ...], Field(min_length=1)] = (
        *("student", "debate", "hybrid", "base"),
    )
    """What is served besides `agentark`, to which the rollout applies."""
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 8000
    pools: PoolsConfig = PoolsConfig()
    hybrid: HybridConfig = HybridConfig()
    rollout: RolloutConfig | None = None
    """Null: the debate answers `agentark`, or the first of `models` if it is not served."""
    keys: KeysConfig = KeysConfig()
    limits: LimitsConfig = LimitsConfig()
    records: str | None = None
    """Folder for what is recorded of requests (no texts), for `agentark retrain-check`; null is
    `served/` in the run folder."""
    log_prompts: bool = False
    """Write questions and answers to the log of the ingress, too."""

    @property
    def engines(self) -> tuple[str, ...]:
        """Which engines are needed: `base`, `student`."""
        needed = {"student": ("student", "hybrid"), "base": ("debate", "hybrid", "base")}
        return tuple(name for name, by in needed.items() if set(by) & set(self.models))

    @property
    def divided(self) -> RolloutConfig:
        """Who answers `agentark`."""
        arms = [arm for arm in ("debate", *self.models) if arm in {*self.models} & {*get_args(Arm)}]
        return self.rollout or RolloutConfig.model_validate({"weights": {arms[0]: 1.0}})

    @model_validator(mode="after")
    def _arms_are_served(self) -> "ServeConfig":
        if not set(self.models) & set(get_args(Arm)):
            raise ValueError(f"models={list(self.models)} need one of {list(get_args(Arm))}")
        shadow = self.divided.shadow
        asked = {arm for arm, weight in self.divided.weights.items() if weight}
        asked |= {shadow.arm} if shadow and shadow.share else set()
        if missing := sorted(asked - set(self.models)):
            raise ValueError(f"rollout: {missing} are not among models={list(self.models)}")
        if len(set(self.models)) < len(self.models):
            raise ValueError(f"models={list(self.models)} names one twice")
        return self


def load_serve_config(path: str, overrides: Sequence[str] = ()) -> ServeConfig:
    """Read a YAML file and apply overrides of the form `section.key=value`.

    Raises:
        ConfigError: it names the key, what was got and what was expected.
    """
    return parse_serve_config(apply_overrides(read_yaml(path), overrides), path)


def parse_serve_config(values: object, source: str) -> ServeConfig:
    """Validate plain values; `source` names them in errors.

    Raises:
        ConfigError: as above.
    """
    try:
        return ServeConfig.model_validate(values)
    except ValidationError as error:
        lines = []
        for item in error.errors():
            key = ".".join(map(str, item["loc"]))
            said = str(item["msg"]).removeprefix("Value error, ")
            got = "" if item["type"] in ("value_error", "missing") else f"={item['input']!r}"
            lines.append(f"{key}{got}: {said}" if key else said)
        raise ConfigError(f"{source}: " + "; ".join(lines)) from None


def user_config(settings: ServeConfig) -> dict[str, Any]:
    """What may change while the application runs, as Serve's `user_config` of the ingress."""
    return {"rollout": settings.divided.model_dump(mode="json")}


def rollout_of(settings: ServeConfig, user_config: Mapping[str, Any]) -> RolloutConfig:
    """What an application's `user_config` says.

    Raises:
        ConfigError: it is no rollout, or one to arms that are not served.
    """
    if set(user_config) != {"rollout"}:
        raise ConfigError(f"user_config: got the keys {list(user_config)}, expected rollout alone")
    values = {**settings.model_dump(mode="json"), **user_config}
    return parse_serve_config(values, "user_config").divided


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens there."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
