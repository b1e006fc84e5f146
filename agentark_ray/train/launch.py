"""Ray Train: starts the workers, restarts them after a crash, resumes after a stop."""

import functools
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import ray
import ray.train
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from agentark_ray.config import Config
from agentark_ray.run_folder import RunFolder
from agentark_ray.session import beside_driver, need_resources
from agentark_ray.train.check import expected_memory
from agentark_ray.train.checkpoint import check_resumable
from agentark_ray.train.loop import NonFinite, train_worker
from agentark_ray.train.objective import Objective, TrainJob
from agentark_ray.train.sft import Sft

MEMORY = "memory.json"  # in checkpoints/NAME: what a training was expected to need, in bytes


@ray.remote(num_cpus=0)
class TrainProgress:
    """The last step's figures, for the driver to show, and whether training diverged."""

    def __init__(self) -> None:
        self._last: tuple[int, int, dict[str, float]] | None = None
        self._most = 0
        self._again = 0
        self._divergence: str | None = None

    def put(self, step: int, total: int, figures: dict[str, float]) -> None:
        """Called by rank 0 after every step."""
        self._last = (step, total, figures)
        self._again += step <= self._most
        self._most = max(step, self._most)

    def get(self) -> tuple[int, int, dict[str, float]] | None:
        """(steps done, steps in all, figures of the last one), or None before the first."""
        return self._last

    def again(self) -> int:
        """Steps that were taken again, because workers began anew at the last checkpoint."""
        return self._again

    def diverge(self, words: str) -> None:
        """Called by a worker that met a number that is not finite."""
        self._divergence = words

    def divergence(self) -> str | None:
        """What the workers met, or None."""
        return self._divergence


def start_progress() -> Any:
    """A TrainProgress on the driver's node."""
    return beside_driver(TrainProgress).remote()


def train_model(
    folder: RunFolder,
    config: Config,
    model: str,
    progress: Any,
    *,
    objective: Callable[[TrainJob], Objective] = Sft,
    name: str,
    data: str,
    out: str,
    say: Callable[[str], object] | None = None,
) -> None:
    """Train `model` on what is in `data` and export it to `out`; resumes if stopped before.

    `name` is unique in the run; `data` and `out` are paths in its folder. `say` is told what is
    expected to be needed of memory, and what was done twice.

    Raises:
        ConfigError: the cluster is too small, Ray Train would wait for ever; the settings do not
            fit the model; a checkpoint is there that cannot be read with them.
        NonFinite: training diverged; it would do so again, so it is not tried again.
        ray.train.TrainingFailedError: workers failed more than `train.max_failures` times.
    """
    workers, on_gpu = config.train.workers, config.gpus_per_engine > 0
    resources = {"CPU": config.train.cpus_per_worker, **({"GPU": 1} if on_gpu else {})}
    labels = config.train.label_selector
    need_resources(f"train.workers={workers}", [resources] * workers, labels)
    check_resumable(folder, name, config.train)
    memory = expected_memory(config, model)
    if say:
        say(f"{name}: expected to need {memory.words()}")
    folder.write_json({**asdict(memory), "words": memory.words()}, "checkpoints", name, MEMORY)
    job = TrainJob(
        folder=folder,
        config=config,
        model=model,
        objective=objective,
        name=name,
        data=data,
        out=out,
        on_gpu=on_gpu,
        progress=progress,
    )
    trainer = TorchTrainer(
        functools.partial(train_worker, job),
        torch_config=TorchConfig(backend="nccl" if on_gpu else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=workers,
            use_gpu=on_gpu,
            resources_per_worker=resources,
            label_selector=labels or None,
        ),
        run_config=RunConfig(
            name=name,
            storage_path=folder.path("checkpoints"),
            failure_config=FailureConfig(max_failures=config.train.max_failures),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=2),
            worker_runtime_env={"env_vars": _worker_env(on_gpu)},
        ),
    )
    with _own_interrupts():
        trainer.fit()
    if say and (again := ray.get(progress.again.remote())):
        say(f"  {name}: {again:,} steps taken again after a loss")
    if words := ray.get(progress.divergence.remote()):
        raise NonFinite(words)


@contextmanager
def _own_interrupts() -> Iterator[None]:
    """Ray Train answers Ctrl-C by ending the process with 0, and keeps the handler for good."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit:
        raise KeyboardInterrupt from None
    finally:
        signal.signal(signal.SIGINT, before)


def _worker_env(on_gpu: bool) -> dict[str, str]:
    env = {"RAY_CHDIR_TO_TRIAL_DIR": "0", "TOKENIZERS_PARALLELISM": "false"}
    return env if on_gpu else {**env, "DS_ACCELERATOR": "cpu"}
