"""Which models answer, with which settings, and where their engines run. Starts nothing."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agentark_ray.config import Config
from agentark_ray.engine_config import EngineConfig
from agentark_ray.types import ModelRef, Speaker


def ref_of(config: Config, speaker: Speaker, model: str) -> ModelRef:
    """The model a speaker speaks through; `model` is the arm's, in the place of `config.model`."""
    named = speaker.model
    if named is None or (not named.endpoint and named.name == config.model):
        return ModelRef(name=model)
    return named


def refs_of(config: Config, speakers: Sequence[Speaker], model: str) -> list[ModelRef]:
    """The distinct models that speak, in order."""
    return list(dict.fromkeys(ref_of(config, speaker, model) for speaker in speakers))


def settings_of(config: Config, ref: ModelRef) -> EngineConfig:
    """The settings of a model's engine."""
    return config.engine.of(_own_name(config, ref))


def gpus_of(config: Config, ref: ModelRef) -> int:
    """GPUs of the engine of a model that the run loads."""
    own = config.engine.models.get(_own_name(config, ref))
    return config.gpus_per_engine if own is None or own.gpus is None else own.gpus


def cpu_threads(config: Config) -> int:
    """Threads of an engine that has no GPU, on this machine.

    The engines of all actors are taken to be on one machine: where there is no GPU there is rarely
    a second one. One core is left to what is around them: threads that wait for each other in loops
    come to a stop where anything else wants one of their cores.
    """
    engine = config.engine
    engines = max(engine.actors, engine.max_actors or 0) * len(config.own_models)
    return engine.cpu_threads or max(1, (len(os.sched_getaffinity(0)) - 1) // engines)


def _own_name(config: Config, ref: ModelRef) -> str:
    """A model's name in the config, where `model` stands for that of an arm, e.g. the student."""
    return ref.name if ref.name in config.own_models else config.model


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where the engines of one debate actor run.

    One engine runs in the actor itself. Several run in actors of their own: each has its GPUs on
    one node, and together they may need more than a node has.
    """

    gpus: int  # of the debate actor
    apart: Mapping[ModelRef, int]  # engines in actors of their own, with their GPUs

    @property
    def bundles(self) -> list[dict[str, int]]:
        """What is needed together on one node, of the debate actor and of each engine apart."""
        actor = {"CPU": 1} | ({"GPU": self.gpus} if self.gpus else {})
        return [actor, *({"GPU": gpus} if gpus else {"CPU": 1} for gpus in self.apart.values())]

    def total(self, name: str) -> int:
        """Of `CPU` or `GPU`, all that is needed."""
        return sum(bundle.get(name, 0) for bundle in self.bundles)


def placement(config: Config, refs: Sequence[ModelRef]) -> Placement:
    """Where the engines of these models run; endpoints need no place."""
    gpus = {ref: gpus_of(config, ref) for ref in refs if not ref.endpoint}
    if len(gpus) > 1:
        return Placement(gpus=0, apart=gpus)
    return Placement(gpus=sum(gpus.values()), apart={})
