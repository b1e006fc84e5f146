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
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from agentark_ray.questions import TasksConfig
from agentark_ray.section import OPERATIONAL, ConfigError, Section
from agentark_ray.team import TEAMS, DebateConfig, TeamConfig


class EngineConfig(Section):
    """The engine that answers, and how many debates it holds at once."""

    type: Literal["vllm", "scripted"] = "vllm"
    max_model_len: Annotated[int, Field(ge=64)] = 4096
    """Context length in tokens, prompt and answer together."""
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] = 0.9
    cpu_kv_cache_gib: Annotated[int, Field(ge=1, json_schema_extra=OPERATIONAL)] = 1
    actors: Annotated[int, Field(ge=1, json_schema_extra=OPERATIONAL)] = 1
    """Actors at once, with an engine for each model of the team."""
    max_actors: Annotated[int, Field(ge=1, json_schema_extra=OPERATIONAL)] | None = None
    """With it, the pool grows from `actors` to this many while questions wait."""
    in_flight: Annotated[int, Field(ge=1, json_schema_extra=OPERATIONAL)] = 64
    """Debates an engine holds at once."""
    rows_per_block: Annotated[int, Field(ge=1, json_schema_extra=OPERATIONAL)] = 16
    """Debates a file: what an interruption can lose is at most the blocks in flight."""
    max_failed_fraction: Annotated[float, Field(ge=0, le=1)] = 0.05
    """A stage ends with an error when more debates than this failed."""
    timeout_s: Annotated[float, Field(gt=0, json_schema_extra=OPERATIONAL)] = 600.0
    """Deadline of one completion."""
    retries: Annotated[int, Field(ge=0, json_schema_extra=OPERATIONAL)] = 1
    """Further attempts at a completion that failed."""
    endpoint_retries: Annotated[int, Field(ge=0, json_schema_extra=OPERATIONAL)] = 5
    """Attempts at an endpoint that says 429 or 5xx, with growing pauses."""
    endpoint_concurrency: Annotated[int, Field(ge=1, le=1000, json_schema_extra=OPERATIONAL)] = 32
    """Requests an actor has open at one endpoint."""
    endpoint_logprobs: bool = False
    """Ask endpoints for log-probabilities, which `weighted_vote` needs; not all give them."""
    trust_remote_code: bool = False
    """Run code that comes with a model's files; leave off unless you read that code."""
    chat_template_kwargs: dict[str, Any] = Field(default_factory=dict)
    """Extra variables of the model's chat template, e.g. `{enable_thinking: false}` for Qwen3."""
    scripted_latency_s: Annotated[float, Field(ge=0)] = 0.0
    scripted_accuracy: Annotated[float, Field(ge=0, le=1)] = 0.6
    scripted_fault: Literal["none", "raise", "hang", "exit"] = "none"
    """What the scripted engine does at a question that contains the word POISON."""


class RsftConfig(Section):
    """Reasoning-enhanced supervised fine-tuning: one verified answer a question."""

    type: Literal["rsft"] = "rsft"
    seq_len: Annotated[int, Field(ge=32)] = 1024
    """Tokens of a packed training sequence."""


class TrainConfig(Section):
    """The training loop and its DeepSpeed engine."""

    workers: Annotated[int, Field(ge=1, le=1024, json_schema_extra=OPERATIONAL)] = 1
    cpus_per_worker: Annotated[int, Field(ge=1, json_schema_extra=OPERATIONAL)] = 1
    """Cores, and without a GPU threads, of a worker. More threads than idle cores are slower."""
    zero_stage: Annotated[int, Field(ge=0, le=3)] = 2
    epochs: Annotated[int, Field(ge=1)] = 2
    lr: Annotated[float, Field(gt=0, le=1)] = 1e-5
    warmup_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.05
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.0
    clip_norm: Annotated[float, Field(gt=0)] = 1.0
    batch_size: Annotated[int, Field(ge=1)] = 16
    """Packed sequences an optimizer step, over all workers."""
    micro_batch_size: Annotated[int, Field(ge=1)] = 4
    """Packed sequences a forward pass of one worker."""
    gradient_checkpointing: bool = False
    checkpoint_every: Annotated[int, Field(ge=1)] = 50
    """Optimizer steps between checkpoints."""
    max_failures: Annotated[int, Field(ge=0, json_schema_extra=OPERATIONAL)] = 2
    """Worker crashes after which training gives up."""

    @model_validator(mode="after")
    def _batches_divide(self) -> "TrainConfig":
        if self.batch_size % (self.micro_batch_size * self.workers):
            raise ValueError(
                f"batch_size={self.batch_size} must be a multiple of micro_batch_size x workers"
                f" = {self.micro_batch_size} x {self.workers}"
            )
        return self


ArmName = Literal["single", "self_consistency", "debate", "student"]


class EvaluateConfig(Section):
    """Which arms answer the held-out questions, and how latency is probed."""

    arms: tuple[ArmName, ...] = get_args(ArmName)
    latency_queries: Annotated[int, Field(ge=0)] = 50
    """Questions an arm answers one at a time on an otherwise idle engine, for its latency."""

    @model_validator(mode="after")
    def _needed_arms(self) -> "EvaluateConfig":
        missing = {"single", "debate", "student"} - set(self.arms)
        if missing or len(set(self.arms)) < len(self.arms):
            raise ValueError(
                f"arms must name single, debate and student once each, got {list(self.arms)}"
            )
        return self


class GatesConfig(Section):
    """What the student must reach to replace the debate; null leaves a gate out."""

    accuracy_ratio: Annotated[float, Field(gt=0)] | None = 0.95
    """Student accuracy over debate accuracy, at least."""
    token_ratio: Annotated[float, Field(gt=0)] | None = 0.2
    """Student output tokens a query over the debate's, at most."""
    p95_ms: Annotated[float, Field(gt=0)] | None = 80.0
    p99_ms: Annotated[float, Field(gt=0)] | None = 200.0
    min_traces: Annotated[int, Field(ge=0)] | None = 1000
    """Finished debates on training questions, at least."""
    hybrid_accuracy_ratio: Annotated[float, Field(gt=0)] = 0.8
    """Below the accuracy gate, but at least this ratio: hybridize instead of continue."""


class Config(Section):
    """A whole run."""

    name: Annotated[str, Field(json_schema_extra=OPERATIONAL)] = "run"
    """Shown in the report."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 17
    output: Annotated[str, Field(min_length=1, json_schema_extra=OPERATIONAL)] = "runs/run"
    """The run folder."""
    model: Annotated[str, Field(min_length=1)] = "tiny"
    """`tiny` (shipped with the package), a local folder, or a Hugging Face id."""
    gpus_per_engine: Annotated[int, Field(ge=0, json_schema_extra=OPERATIONAL)] = 0
    """GPUs of one engine (tensor parallel) and, if not 0, one GPU for each training worker."""
    tasks: TasksConfig = TasksConfig()
    debate: TeamConfig = DebateConfig()
    engine: EngineConfig = EngineConfig()
    distill: RsftConfig = RsftConfig()
    train: TrainConfig = TrainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    gates: GatesConfig = GatesConfig()

    def snapshot(self) -> dict[str, Any]:
        """All values as plain JSON types."""
        return self.model_dump(mode="json")

    def identity(self) -> dict[str, Any]:
        """The values that decide what a run produces, as `{dotted key: value}`."""
        return dict(_identity_items(self, ""))

    def hash(self) -> str:
        """16 hex digits over `identity()`."""
        return stable_hash(self.identity())


def stable_hash(value: Any) -> str:
    """16 hex digits of the SHA-256 of a JSON value, independent of key order."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _identity_items(section: BaseModel, prefix: str) -> list[tuple[str, Any]]:
    items: list[tuple[str, Any]] = []
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if field.json_schema_extra == OPERATIONAL:
            continue
        if isinstance(value, BaseModel):
            items += _identity_items(value, f"{prefix}{name}.")
        else:
            items.append((f"{prefix}{name}", section.model_dump(mode="json", include={name})[name]))
    return items


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML file and apply overrides of the form `section.key=value`.

    Raises:
        ConfigError: the file is missing or malformed, a key is unknown, a value is out of range.
    """
    return parse_config(_read_yaml(Path(path)), overrides, source=str(path))


def parse_config(values: Mapping[str, Any], overrides: Sequence[str], source: str) -> Config:
    """Validate plain values plus dotted overrides; `source` names them in errors."""
    merged = copy.deepcopy(dict(values))
    for override in overrides:
        _apply(merged, override)
    try:
        return Config.model_validate(merged)
    except ValidationError as error:
        lines = [_explain(item) for item in error.errors()]
        raise ConfigError(f"{source}: " + "; ".join(lines)) from None


def _read_yaml(path: Path) -> dict[str, Any]:
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
    # Inside `debate`, pydantic names the variant it tried.
    team = (
        TEAMS[loc.pop(1)] if loc[0] == "debate" and loc[1:2] and loc[1] in TEAMS else DebateConfig
    )
    key = ".".join(loc) or "config"
    if item["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, _all_keys(Config, team), n=1, cutoff=0.4)
        hint = f", did you mean {near[0]!r}?" if near else ""
        return f"unknown key {key!r}{hint}"
    message = str(item["msg"]).removeprefix("Value error, ")
    if item["type"] == "value_error":
        return f"{key}: {message}"
    return f"{key}={item['input']!r}: {message}"


def _all_keys(
    section: type[BaseModel], team: type[BaseModel] = DebateConfig, prefix: str = ""
) -> list[str]:
    """Every dotted key, with `debate` as the variant `team`."""
    keys: list[str] = []
    for name, field in section.model_fields.items():
        keys.append(prefix + name)
        inner = team if prefix + name == "debate" else field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            keys += _all_keys(inner, team, f"{prefix}{name}.")
    return keys
