"""A student: its place in the run folder, its start, its training and what is recorded of it."""

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

import ray
from rich.console import Console

from agentark_ray.config import Config, ConfigError
from agentark_ray.console import State, watch
from agentark_ray.distill.embeddings import embeddings_missing
from agentark_ray.label_rows import fingerprint, trace_files
from agentark_ray.run_folder import RunFolder
from agentark_ray.students import TRANSCRIPTS, Record, arm_of, check_name, open_record
from agentark_ray.traces.earlier import earlier
from agentark_ray.train.launch import start_progress, train_model
from agentark_ray.train.objective import loss_curve
from agentark_ray.train.tracking import check_trackers
from agentark_ray.workspace import Figures, Workspace


class Student(Workspace):
    """A student and its stages. `config` is the run's, with what the student has of its own."""

    def __init__(
        self, config: Config, console: Console, name: str, parent: str | None = None
    ) -> None:
        super().__init__(config, console)
        self.name = check_name(name, config)
        self.parent = parent

    def check(self) -> None:
        """Raises ConfigError for what a student of this config needs and is not there."""
        if missing := embeddings_missing(self.config.distill.curation.embeddings):
            raise ConfigError(missing)
        check_trackers(self.config)

    @property
    def out(self) -> str:
        """Where the model goes, in the run folder."""
        return f"students/{self.name}"

    @property
    def start(self) -> str:
        """The model whose weights training starts from."""
        return self.model if self.parent is None else self.folder.path("students", self.parent)

    @property
    def on_gpu(self) -> bool:
        """Whether training is on GPUs."""
        return self.config.gpus_per_engine > 0

    def open(self) -> Record:
        """The record, made if there is none.

        Raises:
            ConfigError: the traces are not finished; the name is another student's.
        """
        if self.folder.stage("generate") is None:
            raise ConfigError(
                f"{self.folder.uri}: its traces are not finished; `agentark run` or `agentark"
                " traces generate` with its config goes on with them"
            )
        return open_record(self.folder, self.config, self.name, self.parent)

    def fit(self, title: str, name: str, **job: Any) -> list[dict[str, Any]]:
        """Train, with progress; the figures of all steps."""
        progress = start_progress()
        with watch(self.console, title, lambda: steps_of(progress, self.on_gpu)):
            train_model(
                self.folder, self.config, self.start, progress, name=name, say=self.say, **job
            )
        return self.folder.read_json(*loss_curve(name))


Stage = Callable[[Student, Record], Figures]


def steps_of(progress: Any, on_gpu: bool) -> State | None:
    """What to show of a training."""
    last = ray.get(progress.get.remote())
    if last is None:
        return None
    step, total, figures = last
    shown = "reward" if "reward" in figures else "loss"
    text = f"{shown} {figures[shown]:.4f}, {figures['tokens_per_s']:,.0f} tokens/s"
    if on_gpu:
        text += f", MFU {figures['mfu']:.1%}" if "mfu" in figures else ", MFU unknown"
    return State(done=step, total=total, text=text)


def lineage(folder: RunFolder) -> dict[str, Any]:
    """Which traces these are: their number and a hash over names and sizes of their files."""
    figures = folder.stage("generate")
    assert figures is not None, "nothing was generated"
    traces = RunFolder(folder.path("traces"))
    return {"debates": figures["rows"], "fingerprint": fingerprint(traces, trace_files(traces))}


def training_figures(curve: Sequence[Mapping[str, Any]]) -> Figures:
    """What a record says of a training."""
    used = [row["mfu"] for row in curve if "mfu" in row]
    return {
        "steps": len(curve),
        "first_loss": round(curve[0]["loss"], 4),
        "last_loss": round(curve[-1]["loss"], 4),
        "tokens_per_s": round(fmean(row["tokens_per_s"] for row in curve)),
        **({"mfu": round(fmean(used), 4)} if used else {}),
    }


def forget_answers(student: Student) -> None:
    """Answers of a model that was here before are not those of this one."""
    arm = arm_of(student.folder, student.name)
    for name in (arm, f"{arm}_checkpoint", earlier(arm)):
        student.folder.remove(TRANSCRIPTS, name)
