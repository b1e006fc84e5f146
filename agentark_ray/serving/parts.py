"""What an application is made of, read from its run folder. Starts nothing, imports no engine."""

from dataclasses import dataclass

from agentark_ray.calibration import calibrated
from agentark_ray.config import Config
from agentark_ray.debate.protocol import arm_protocol
from agentark_ray.engine.settings import gpus_of, refs_of, settings_of
from agentark_ray.models import resolve_model
from agentark_ray.run_folder import RunFolder
from agentark_ray.section import ConfigError
from agentark_ray.serving.config import ServeConfig
from agentark_ray.students import own_name, records, run_config, trained
from agentark_ray.types import ModelRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Everything that is known before an engine starts."""

    config: Config  # of the run
    folder: RunFolder
    student: str  # its name
    base: dict[ModelRef, str]  # models of the team that need an engine -> their names here
    threshold: float | None  # of the hybrid, if it is served

    @property
    def student_ref(self) -> ModelRef:
        """The student's model."""
        return ModelRef(name=self.folder.path("students", self.student))


def read_parts(settings: ServeConfig) -> Parts:
    """Read the run folder of an application.

    Raises:
        ConfigError: it lacks what is to be served.
    """
    folder = RunFolder(settings.run)
    config = run_config(folder)
    name = settings.student or own_name(config)
    there = [record["name"] for record in records(folder) if trained(record)]
    if "student" in settings.engines and name not in there:
        raise ConfigError(
            f"student={name!r}: no trained student of {folder.uri}"
            f" (there: {', '.join(there) or 'none'})"
        )
    base = _base(config) if "base" in settings.engines else {}
    for ref in base:
        resolve_model(ref.name)
    threshold = settings.hybrid.threshold
    if "hybrid" in settings.models and threshold is None:
        threshold = calibrated(folder, name, settings.hybrid.target_ratio).threshold
    return Parts(config=config, folder=folder, student=name, base=base, threshold=threshold)


def bundles(settings: ServeConfig, parts: Parts) -> list[dict[str, int]]:
    """What the replicas need that are always there, each bundle on one node."""
    pools, config, cpu = settings.pools, parts.config, {"CPU": 1}
    student = [parts.student_ref] if "student" in settings.engines else []
    by_pool = [(pools.student, ref) for ref in student] + [(pools.base, ref) for ref in parts.base]
    found = [cpu] * (1 + pools.ingress.min_replicas)  # the recorder has no pool
    for pool, ref in by_pool:
        gpus = 0 if settings_of(config, ref).type == "scripted" else gpus_of(config, ref)
        found += ([{"CPU": 1, "GPU": 1}] * gpus or [cpu]) * pool.min_replicas
    if {"debate", "hybrid"} & set(settings.models):
        found += [cpu] * pools.debate.min_replicas
    if "hybrid" in settings.models:
        found += [cpu] * pools.hybrid.min_replicas
    return found


def _base(config: Config) -> dict[ModelRef, str]:
    """The run's model as `base`, those of agents that differ as `base-1` and so on."""
    refs = refs_of(config, arm_protocol(config, "debate").speakers, config.model)
    others = [ref for ref in refs if not ref.endpoint and ref.name != config.model]
    named = {ref: f"base-{number}" for number, ref in enumerate(others, 1)}
    return {ModelRef(name=config.model): "base", **named}
