"""The configuration of a run: frozen sections, YAML plus dotted overrides, a snapshot and a hash.

Defaults are the vetted setting. Unknown keys and values out of range are errors that name the key.
Fields marked operational say where and how fast a run happens, not what it produces; they may
change when a run is resumed and do not enter its hash. This file imports neither torch nor Ray.
"""

import copy
import difflib
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from agentark_ray.debate.protocols.registry import PROTOCOLS, TeamConfig
from agentark_ray.debate.protocols.rounds import DebateConfig
from agentark_ray.engine_config import EngineConfig, ModelConfig
from agentark_ray.evaluate_config import EvaluateConfig
from agentark_ray.gates_config import HELD_OUT, GatesConfig, RetrainConfig
from agentark_ray.prices import PricesConfig
from agentark_ray.questions import TasksConfig
from agentark_ray.robustness_config import OOD
from agentark_ray.section import OPERATIONAL, ConfigError, Section, identity_items
from agentark_ray.strategy import STRATEGIES, DistillConfig, RsftConfig
from agentark_ray.team import AgentConfig
from agentark_ray.train_config import TrainConfig

# Sections of which a field chooses the class.
VARIANTS: Mapping[str, Mapping[str, type[Section]]] = {"debate": PROTOCOLS, "distill": STRATEGIES}
DEFAULT_VARIANTS: Mapping[str, type[Section]] = {"debate": DebateConfig, "distill": RsftConfig}


class Config(Section):
    """A whole run."""

    name: Annotated[str, Field(json_schema_extra=OPERATIONAL)] = "run"
    """Shown in the report."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 17
    output: Annotated[str, Field(min_length=1, json_schema_extra=OPERATIONAL)] = "runs/run"
    """The run folder."""
    model: Annotated[str, Field(min_length=1)] = "tiny"
    """`tiny` (shipped with the package), a local folder, the URI of one in an object store, or a
    Hugging Face id."""
    gpus_per_engine: Annotated[int, Field(ge=0, json_schema_extra=OPERATIONAL)] = 0
    """GPUs of one engine (tensor parallel) and, if not 0, one GPU for each training worker;
    `engine.models` says where models differ."""
    tasks: TasksConfig = TasksConfig()
    debate: TeamConfig = DebateConfig()
    engine: EngineConfig = EngineConfig()
    distill: DistillConfig = RsftConfig()
    train: TrainConfig = TrainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    gates: GatesConfig = GatesConfig()
    retrain: RetrainConfig = RetrainConfig()
    prices: PricesConfig = PricesConfig()

    @model_validator(mode="after")
    def _engine_models_speak(self) -> "Config":
        if unknown := sorted(self.engine.models.keys() - set(self.own_models)):
            raise ValueError(
                f"engine.models: {unknown} are not among the models that this run loads:"
                f" {list(self.own_models)}"
            )
        return self

    @model_validator(mode="after")
    def _suites_are_asked(self) -> "Config":
        ood = [OOD] if self.tasks.ood_path or self.tasks.ood_name else []
        there = [HELD_OUT, *ood, *self.evaluate.ood]
        if unknown := sorted(set(self.gates.no_regression) - set(there)):
            raise ValueError(f"gates.no_regression: {unknown} are not among the suites {there}")
        return self

    @model_validator(mode="after")
    def _four_bits_need_a_gpu(self) -> "Config":
        lora = self.train.lora
        if lora and lora.base_bits and not self.gpus_per_engine:
            raise ValueError(
                f"train.lora.base_bits={lora.base_bits} needs GPUs (bitsandbytes runs on CUDA), got"
                " gpus_per_engine=0"
            )
        return self

    @model_validator(mode="after")
    def _weighted_votes_have_logprobs(self) -> "Config":
        further = {f"evaluate.teams.{name}": team for name, team in self.evaluate.teams.items()}
        for place, team in {"debate": self.debate, **further}.items():
            far = _weighed_at_endpoints(team)
            if far and not self.engine.endpoint_logprobs:
                raise ValueError(
                    f"{place}.aggregate=weighted_vote weighs agents {far}, which are at endpoints,"
                    " by log-probabilities: expected engine.endpoint_logprobs=true, got false"
                )
        return self

    @property
    def own_models(self) -> tuple[str, ...]:
        """Names of the models that the run itself loads; those at endpoints are not among them."""
        teams = (self.debate, *self.evaluate.teams.values())
        agents = [agent for team in teams for agent in (*team.team, team.judge)]
        named = [agent.model for agent in agents if agent.model and not agent.endpoint]
        return tuple(dict.fromkeys((self.model, *named)))

    def snapshot(self) -> dict[str, Any]:
        """All values as plain JSON types."""
        return self.model_dump(mode="json")

    def identity(self) -> dict[str, Any]:
        """The values that decide what a run produces, as `{dotted key: value}`."""
        return dict(identity_items(self))

    def hash(self) -> str:
        """16 hex digits over `identity()`."""
        return stable_hash(self.identity())


def _weighed_at_endpoints(team: TeamConfig) -> list[int]:
    """Numbers of the agents at endpoints whose confidence decides."""
    if getattr(team, "aggregate", None) != "weighted_vote":
        return []
    speakers = team.build(seed=0).speakers
    return [i for i, one in enumerate(speakers) if one.model and one.model.endpoint]


def stable_hash(value: Any) -> str:
    """16 hex digits of the SHA-256 of a JSON value, independent of key order."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML file and apply overrides of the form `section.key=value`.

    Raises:
        ConfigError: the file is missing or malformed, a key is unknown, a value is out of range.
    """
    return parse_config(read_yaml(path), overrides, source=str(path))


def parse_config(values: Mapping[str, Any], overrides: Sequence[str], source: str) -> Config:
    """Validate plain values plus dotted overrides; `source` names them in errors."""
    merged = apply_overrides(values, overrides)
    try:
        return Config.model_validate(merged)
    except ValidationError as error:
        lines = [_explain(item) for item in error.errors()]
        raise ConfigError(f"{source}: " + "; ".join(lines)) from None


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        ConfigError: the file is missing, or holds something else.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"{path}: no such config file")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected a mapping of keys, got {type(values).__name__}")
    return values


def apply_overrides(values: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """A copy of `values` in which every `section.key=value` is set.

    Raises:
        ConfigError: an override of another form.
    """
    merged = copy.deepcopy(dict(values))
    for override in overrides:
        _apply(merged, override)
    return merged


def _apply(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise ConfigError(f"override {override!r}: expected section.key=value")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"override {override!r}: {text!r} is not a YAML value: {error}") from None
    *sections, leaf = key.split(".")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise ConfigError(f"override {override!r}: {section!r} is a value, not a section")
    values[leaf] = value


def _explain(item: Any) -> str:
    loc = [str(part) for part in item["loc"]]
    message = str(item["msg"]).removeprefix("Value error, ")
    if not loc:
        return message
    variants = DEFAULT_VARIANTS
    if loc[0] in VARIANTS and loc[1:2] and loc[1] in VARIANTS[loc[0]]:
        # pydantic names the variant it tried
        variants = {**DEFAULT_VARIANTS, loc[0]: VARIANTS[loc[0]][loc.pop(1)]}
    of_team = loc[:2] == ["evaluate", "teams"] and PROTOCOLS.get(".".join(loc[3:4]))
    if of_team:
        loc.pop(3)
    key = ".".join(loc)
    if item["type"] == "extra_forbidden":
        known = _all_keys(Config, variants)
        if loc[:2] == ["engine", "models"]:
            known = _all_keys(ModelConfig, prefix=key.removesuffix(loc[-1]))
        elif of_team:
            known = _all_keys(of_team, prefix=f"{'.'.join(loc[:3])}.")
        elif loc[:2] == ["evaluate", "endpoints"]:
            known = _all_keys(AgentConfig, prefix=f"{'.'.join(loc[:3])}.")
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.4)
        hint = f", did you mean {near[0]!r}?" if near else ""
        return f"unknown key {key!r}{hint}"
    if item["type"] == "value_error":
        return f"{key}: {message}"
    return f"{key}={item['input']!r}: {message}"


def _all_keys(
    section: type[BaseModel],
    variants: Mapping[str, type[BaseModel]] = DEFAULT_VARIANTS,
    prefix: str = "",
) -> list[str]:
    """Every dotted key; a section that has variants is as `variants` has it."""
    keys: list[str] = []
    for name, field in section.model_fields.items():
        keys.append(prefix + name)
        inner = variants.get(prefix + name, field.annotation)
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            keys += _all_keys(inner, variants, f"{prefix}{name}.")
    return keys
