"""The `engine` section of a configuration: what answers, and how much at once."""

from typing import Annotated, Any, Literal

from pydantic import Field

from agentark_ray.section import OPERATIONAL, Section


class ModelConfig(Section):
    """Settings of one model's engine; what is null is as in `engine`."""

    gpus: Annotated[int | None, Field(ge=0, json_schema_extra=OPERATIONAL)] = None
    """GPUs of its engine (tensor parallel); null is `gpus_per_engine`."""
    max_model_len: Annotated[int, Field(ge=64)] | None = None
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] | None = None
    trust_remote_code: bool | None = None
    chat_template_kwargs: dict[str, Any] | None = None


class EngineConfig(Section):
    """The engine that answers, and how many debates it holds at once."""

    type: Literal["vllm", "scripted"] = "vllm"
    max_model_len: Annotated[int, Field(ge=64)] = 4096
    """Context length in tokens, prompt and answer together."""
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] = 0.9
    cpu_kv_cache_gib: Annotated[int, Field(ge=1, json_schema_extra=OPERATIONAL)] = 1
    cpu_threads: Annotated[int | None, Field(ge=1, json_schema_extra=OPERATIONAL)] = None
    """Threads of an engine without a GPU. null: all cores but one, shared out among them."""
    actors: Annotated[int, Field(ge=1, json_schema_extra=OPERATIONAL)] = 1
    """Actors at once, with an engine for each model of the team."""
    max_actors: Annotated[int | None, Field(ge=1, json_schema_extra=OPERATIONAL)] = None
    """With it, the pool grows from `actors` to this many while questions wait."""
    in_flight: Annotated[int, Field(ge=1, json_schema_extra=OPERATIONAL)] = 64
    """Debates an engine holds at once."""
    rows_per_block: Annotated[int, Field(ge=1, json_schema_extra=OPERATIONAL)] = 16
    """Debates a file: what an interruption can lose is at most the blocks in flight."""
    max_failed_fraction: Annotated[float, Field(ge=0, le=1, json_schema_extra=OPERATIONAL)] = 0.05
    """A stage ends with an error when more debates than this failed, or had prompts too long."""
    max_engine_deaths: Annotated[int, Field(ge=2, json_schema_extra=OPERATIONAL)] = 4
    """A question that saw its engine die this often, the last time alone, becomes a failed row.
    With fewer a killer costs fewer engines, but more debates are held alone to find it."""
    timeout_s: Annotated[float, Field(gt=0, json_schema_extra=OPERATIONAL)] = 600.0
    """Deadline of one completion."""
    retries: Annotated[int, Field(ge=0, json_schema_extra=OPERATIONAL)] = 1
    """Further attempts at a completion that failed."""
    endpoint_retries: Annotated[int, Field(ge=0, json_schema_extra=OPERATIONAL)] = 5
    """Further attempts at an endpoint that says 429 or 5xx, or nothing for `timeout_s`, with
    growing pauses; all of them again in each of the `retries`."""
    endpoint_concurrency: Annotated[int, Field(ge=1, le=1000, json_schema_extra=OPERATIONAL)] = 32
    """Requests an actor has open at one endpoint."""
    endpoint_logprobs: bool = False
    """Ask endpoints for log-probabilities, which `weighted_vote` needs; not all give them."""
    trust_remote_code: bool = False
    """Run code that comes with a model's files; leave off unless you read that code."""
    chat_template_kwargs: dict[str, Any] = Field(default_factory=dict)
    """Extra variables of the model's chat template, e.g. `{enable_thinking: false}` for Qwen3."""
    models: dict[str, ModelConfig] = Field(default_factory=dict)
    """Settings of single models of the team, by the name that `model` or the team gives them."""
    scripted_latency_s: Annotated[float, Field(ge=0)] = 0.0
    scripted_accuracy: Annotated[float, Field(ge=0, le=1)] = 0.6
    scripted_fault: Literal["none", "raise", "hang", "exit", "kill"] = "none"
    """What the scripted engine does at a question that contains the word POISON."""

    def of(self, model: str) -> "EngineConfig":
        """These settings as they are for one model."""
        own = self.models.get(model, ModelConfig())
        return self.model_copy(update=own.model_dump(exclude_none=True, exclude={"gpus"}))
