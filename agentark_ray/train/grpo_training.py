"""Reinforcement learning from the driver: start what samples, train, stop it."""

import functools
from typing import Any

from agentark_ray.config import Config, ConfigError
from agentark_ray.run_folder import RunFolder
from agentark_ray.session import need_resources, room_elsewhere
from agentark_ray.train.group_scores import Grading, grade_by_task
from agentark_ray.train.grpo import Grpo, LoadScorer, grpo_settings
from agentark_ray.train.launch import train_model
from agentark_ray.train.rollouts import start_pool, stop_pool
from agentark_ray.train.weight_sync import PoolSampler
from agentark_ray.types import Sampling


def train_grpo(
    folder: RunFolder,
    config: Config,
    model: str,
    progress: Any,
    *,
    name: str,
    out: str,
    data: str = "questions/train.parquet",
    grade: Grading = grade_by_task,
    load_scorer: LoadScorer | None = None,
) -> None:
    """Train `model` by GRPO on the questions in `data` and export it to `out`.

    Args:
        folder: the run's; `data` and `out` are paths in it.
        config: its `distill` is a PadConfig.
        model: folder or Hugging Face id to start from, and to stay near to.
        progress: a TrainProgress actor.
        name: unique in the run.
        out: where the trained model goes.
        data: questions in one Parquet file (QUESTION_SCHEMA).
        grade: what a final answer is worth; the task's grader says it by default.
        load_scorer: makes a process reward model on a worker's device; None: only answers count.

    Raises:
        ConfigError: the cluster is too small, or settings do not agree.
        As `train_model`.
    """
    config = grpo_config(config)
    settings = grpo_settings(config.distill)
    pool = start_pool(
        config,
        model,
        actors=settings.actors,
        elsewhere=need_places(config),
        sampling=Sampling(
            temperature=settings.temperature, top_p=1.0, max_tokens=settings.max_tokens
        ),
        group=settings.group,
    )
    objective = functools.partial(
        Grpo,
        connect=functools.partial(PoolSampler, pool),
        grade=grade,
        load_scorer=load_scorer,
    )
    try:
        train_model(
            folder, config, model, progress, objective=objective, name=name, data=data, out=out
        )
    finally:
        stop_pool(pool)


def grpo_config(config: Config) -> Config:
    """The config as GRPO trains with it: its own learning rate.

    Raises:
        ConfigError: what the user has to mend.
    """
    settings, workers = grpo_settings(config.distill), config.train.workers
    if settings.prompts % (settings.updates * workers):
        raise ConfigError(
            f"distill.grpo.prompts={settings.prompts} must be a multiple of updates x"
            f" train.workers = {settings.updates} x {workers}"
        )
    if settings.max_tokens >= config.engine.max_model_len:
        raise ConfigError(
            f"distill.grpo.max_tokens={settings.max_tokens}: engine.max_model_len="
            f"{config.engine.max_model_len} leaves no room for a prompt"
        )
    lr = config.train.lr / 10 if settings.lr is None else settings.lr
    return config.model_copy(update={"train": config.train.model_copy(update={"lr": lr})})


def need_places(config: Config) -> int:
    """Check that the cluster has room for workers and engines; Ray would wait for ever.

    Returns:
        How many engines have room on nodes that workers may not take (`train.label_selector`). They
        keep to those: an engine that starts before the workers, or again while they do, would take
        their places.

    Raises:
        ConfigError: it has not.
    """
    settings, train, gpus = grpo_settings(config.distill), config.train, config.gpus_per_engine
    engines, labels = settings.actors, train.label_selector
    worker = {"CPU": train.cpus_per_worker, **({"GPU": 1} if gpus else {})}
    engine = {"GPU": gpus} if gpus else {"CPU": 1}
    elsewhere = min(engines, room_elsewhere(engine, labels))
    apart = f" ({elsewhere} of them elsewhere)" if elsewhere else ""
    need_resources(
        f"train.workers={train.workers}, distill.grpo.actors={engines}{apart}",
        [*[worker] * train.workers, *[engine] * (engines - elsewhere)],
        labels,
    )
    return elsewhere
