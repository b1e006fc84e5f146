"""Ray Train: starts the workers, restarts them after a crash, resumes after a stop."""

import functools
import os
from typing import Any

import ray
import ray.train
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from agentark_ray.config import Config, ConfigError
from agentark_ray.run_folder import RunFolder
from agentark_ray.train.loop import TrainJob, train_worker


@ray.remote(num_cpus=0)
class TrainProgress:
    """The last step's figures, for the driver to show."""

    def __init__(self) -> None:
        self._last: tuple[int, int, dict[str, float]] | None = None

    def put(self, step: int, total: int, figures: dict[str, float]) -> None:
        """Called by rank 0 after every step."""
        self._last = (step, total, figures)

    def get(self) -> tuple[int, int, dict[str, float]] | None:
        """(steps done, steps in all, figures of the last one), or None before the first."""
        return self._last


def cpus_per_worker(config: Config, cluster_cpus: float) -> int:
    """CPUs a training worker reserves: one beside a GPU, else an equal share of real cores.

    Raises:
        ConfigError: the cluster has fewer CPUs than workers.
    """
    workers = config.train.workers
    if cluster_cpus < workers:
        raise ConfigError(f"train.workers={workers}: the cluster has {cluster_cpus:g} CPUs")
    if config.gpus_per_engine:
        return 1
    return max(1, min(int(cluster_cpus), os.cpu_count() or 1) // workers)


def train_student(folder: RunFolder, config: Config, model: str, progress: Any) -> None:
    """Train on `datasets/<strategy>/packed` and export `student/`; resumes if stopped before.

    Raises:
        ray.train.TrainingFailedError: workers failed more than `train.max_failures` times.
    """
    on_gpu = config.gpus_per_engine > 0
    cpus = cpus_per_worker(config, ray.cluster_resources().get("CPU", 0))
    job = TrainJob(folder=folder, config=config, model=model, on_gpu=on_gpu, progress=progress)
    trainer = TorchTrainer(
        functools.partial(train_worker, job),
        torch_config=TorchConfig(backend="nccl" if on_gpu else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=config.train.workers,
            use_gpu=on_gpu,
            resources_per_worker={"CPU": cpus, **({"GPU": 1} if on_gpu else {})},
        ),
        run_config=RunConfig(
            name=config.distill.type,
            storage_path=folder.path("checkpoints"),
            failure_config=FailureConfig(max_failures=config.train.max_failures),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=2),
            worker_runtime_env={"env_vars": _worker_env(on_gpu)},
        ),
    )
    trainer.fit()


def _worker_env(on_gpu: bool) -> dict[str, str]:
    env = {"RAY_CHDIR_TO_TRIAL_DIR": "0", "TOKENIZERS_PARALLELISM": "false"}
    return env if on_gpu else {**env, "DS_ACCELERATOR": "cpu"}
