"""Where the figures of a training go besides the terminal: one writer, in the worker of rank 0.

Always `checkpoints/NAME/steps.jsonl`, a line a step; by `train.trackers` also TensorBoard (in
`checkpoints/NAME/tensorboard`), Weights & Biases and MLflow, which are not imported unless chosen.
After a restart no step is there twice. Keys, servers and projects are read by these packages from
the environment of the worker alone (WANDB_API_KEY, WANDB_MODE, WANDB_PROJECT, MLFLOW_TRACKING_URI,
MLFLOW_EXPERIMENT_NAME, ...); the run folder holds none of them.
"""

import importlib.util
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from pyarrow import fs

from agentark_ray.config import Config, ConfigError, stable_hash
from agentark_ray.train.objective import TrainJob

Figures = Mapping[str, float]
WRITE_EVERY_S = 10.0


class Tracker(Protocol):
    """Somewhere that figures go."""

    def log(self, figures: Figures) -> None:
        """The figures of one step, `step` among them, counted from 1; steps come in order."""
        ...

    def flush(self) -> None:
        """All that was logged can be read by others; called at every checkpoint."""
        ...

    def close(self) -> None:
        """Nothing more is logged."""
        ...


def check_trackers(config: Config) -> None:
    """Raises ConfigError if a package that `train.trackers` needs is not installed here."""
    for name in config.train.trackers:
        if importlib.util.find_spec(name) is None:
            raise ConfigError(
                f"train.trackers: {name} is not installed: pip install {name}, or leave it out"
            )


def start_trackers(job: TrainJob, history: list[Any]) -> list[Tracker]:
    """The trackers of a job that has done the steps of `history`; steps are appended to it."""
    check_trackers(job.config)
    chosen = [_TRACKERS[name](job, len(history)) for name in job.config.train.trackers]
    return [StepsFile(job, history), *chosen]


class StepsFile:
    """`steps.jsonl`: every step's figures in one line, at most WRITE_EVERY_S behind.

    It is written whole, which object stores can do, too, from the history that checkpoints hold.
    """

    def __init__(self, job: TrainJob, history: list[Any]) -> None:
        self._job, self._history = job, history
        self._written = time.monotonic()

    def log(self, figures: Figures) -> None:
        """Written if the last time is long ago."""
        if time.monotonic() - self._written > WRITE_EVERY_S:
            self.flush()

    def flush(self) -> None:
        """Write all steps."""
        lines = "".join(f"{json.dumps(step)}\n" for step in self._history)
        self._job.folder.write_text(lines, "checkpoints", self._job.name, "steps.jsonl")
        self._written = time.monotonic()

    def close(self) -> None:
        """The last steps."""
        self.flush()


class TensorBoard:
    """Event files; those of a remote run folder are written here first."""

    def __init__(self, job: TrainJob, done: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._folder = job.folder
        self._parts = ("checkpoints", job.name, "tensorboard")
        self._local = job.folder.path(*self._parts) if job.folder.is_local else tempfile.mkdtemp()
        # Readers drop what a run that was killed wrote from this step on.
        self._writer = SummaryWriter(self._local, purge_step=done + 1)

    def log(self, figures: Figures) -> None:
        """One scalar a figure."""
        for name, value in figures.items():
            if name != "step":
                self._writer.add_scalar(f"train/{name}", value, int(figures["step"]))

    def flush(self) -> None:
        """Write, and copy to a remote run folder."""
        self._writer.flush()
        if not self._folder.is_local:
            target = self._folder.inner(*self._parts)
            self._folder.filesystem.create_dir(target)
            fs.copy_files(self._local, target, destination_filesystem=self._folder.filesystem)

    def close(self) -> None:
        """Close the event file."""
        self.flush()
        self._writer.close()
        if not self._folder.is_local:
            shutil.rmtree(self._local)


class WeightsAndBiases:
    """A run of its own for every training of a run folder; it is gone on with after a restart."""

    def __init__(self, job: TrainJob, done: int) -> None:
        import wandb  # pyright: ignore[reportMissingImports] - optional

        self._run = wandb.init(
            id=stable_hash([job.folder.uri, job.name, job.config.hash()]),
            name=f"{job.config.name}-{job.name}",
            config=job.config.snapshot(),
            dir=tempfile.mkdtemp(),
            resume="allow",  # it ignores steps that it has
        )

    def log(self, figures: Figures) -> None:
        """All figures at their step."""
        self._run.log(dict(figures), step=int(figures["step"]))

    def flush(self) -> None:
        """It sends by itself."""

    def close(self) -> None:
        """Wait until all is sent."""
        self._run.finish()


class MlFlow:
    """A run of MLflow whose id is in the run folder, to be gone on with after a restart."""

    def __init__(self, job: TrainJob, done: int) -> None:
        import mlflow  # pyright: ignore[reportMissingImports] - optional

        self._mlflow, about = mlflow, ("checkpoints", job.name, "mlflow.json")
        run_id = job.folder.read_json(*about)["run_id"] if job.folder.exists(*about) else None
        run = mlflow.start_run(run_id=run_id, run_name=f"{job.config.name}-{job.name}")
        job.folder.write_json({"run_id": run.info.run_id}, *about)
        logged = mlflow.MlflowClient().get_metric_history(run.info.run_id, "loss")
        self._logged = max((metric.step for metric in logged), default=0)
        if run_id is None:
            mlflow.log_params(job.config.identity())

    def log(self, figures: Figures) -> None:
        """All figures at their step, unless they are there from before a restart."""
        if (step := int(figures["step"])) > self._logged:
            values = {name: value for name, value in figures.items() if name != "step"}
            self._mlflow.log_metrics(values, step=step)

    def flush(self) -> None:
        """It sends at once."""

    def close(self) -> None:
        """The run is finished."""
        self._mlflow.end_run()


_TRACKERS: Mapping[str, Callable[[TrainJob, int], Tracker]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
    "mlflow": MlFlow,
}
