"""The stages of a process reward model in a run folder: labels, training, evaluation.

Solutions of the traces get step labels, with completions where the config says so; the model learns
from them and is evaluated on held-out questions. What the stages do is in traces/ and train/.
"""

from typing import Any

import ray
from rich.console import Console

from agentark_ray.config import Config
from agentark_ray.console import State, watch
from agentark_ray.run_folder import RunFolder
from agentark_ray.session import remote
from agentark_ray.traces.generate import check_failed, count_traces, drop_unfinished
from agentark_ray.traces.progress import start_progress, state_of
from agentark_ray.traces.rollouts import generate_rollouts, verify_rollouts
from agentark_ray.train.dataset import parquet
from agentark_ray.train.launch import start_progress as start_train_progress
from agentark_ray.train.launch import train_model
from agentark_ray.train.objective import loss_curve
from agentark_ray.train.prm_data import write_solutions, write_steps
from agentark_ray.train.prm_evaluation import evaluate_prm
from agentark_ray.train.prm_training import Prm, prm_settings


class ProcessReward:
    """A process reward model and its stages.

    `name` is unique in the run; `model` is what the backbone starts from and what completes steps.
    """

    def __init__(
        self, folder: RunFolder, config: Config, model: str, name: str, console: Console
    ) -> None:
        self.prm = prm_settings(config.distill)
        self.folder = folder
        self.config = config
        self.model = model
        self.name = name
        self.console = console

    @property
    def out(self) -> str:
        """Where the model goes, in the run folder."""
        return f"reward_models/{self.name}"

    @property
    def rolled_out(self) -> str:
        """Where the labels by completions are."""
        return f"rollouts/{self.name}"

    def label(self) -> dict[str, Any]:
        """Solutions with step labels, by completions where asked for; resumes these.

        Returns:
            Figures of the completions; empty without any.
        """
        source = f"datasets/{self.name}/solutions"
        if self.prm.step_labels != "rollout":
            write_solutions(self.folder, self.config, self.name)
            return {}
        if not self.folder.exists(self.rolled_out):  # else they belong to the solutions there are
            write_solutions(self.folder, self.config, self.name)
        total = remote(_count, self.folder, source)
        remote(drop_unfinished, self.folder, self.rolled_out)
        figures = remote(count_traces, self.folder, self.rolled_out)
        if figures["rows"] < total:
            check_failed(self.folder, self.config, self.rolled_out, figures, total)
            self._roll_out(source, figures["rows"], figures["failed"], total)
        return remote(verify_rollouts, self.folder, self.config, self.rolled_out, total)

    def _roll_out(self, source: str, before: int, failed: int, total: int) -> None:
        config = self.config
        progress = start_progress(total, int(total * config.engine.max_failed_fraction), failed)
        with watch(self.console, "rollouts", lambda: state_of(progress, before, total)):
            generate_rollouts(
                self.folder, config, self.prm, self.model, source, self.rolled_out, progress
            )

    def dataset(self) -> dict[str, Any]:
        """Labelled solutions -> packed rows; their card."""
        rolled_out = self.prm.step_labels == "rollout"
        source = self.rolled_out if rolled_out else f"datasets/{self.name}/solutions"
        return write_steps(self.folder, self.config, self.model, self.name, source)

    def train(self) -> list[dict[str, float]]:
        """Train and export; the figures of all steps."""
        progress = start_train_progress()
        with watch(self.console, "reward model", lambda: _steps(progress)):
            train_model(
                self.folder,
                prm_config(self.config),
                self.model,
                progress,
                objective=Prm,
                name=self.name,
                data=f"datasets/{self.name}/packed_steps",
                out=self.out,
            )
        return self.folder.read_json(*loss_curve(self.name))

    def evaluate(self) -> dict[str, Any]:
        """The figures on held-out questions, which are also in eval/NAME/prm.json."""
        return evaluate_prm(self.folder, self.config, self.out, self.name)


def prm_config(config: Config) -> Config:
    """The config as the reward model trains with it: its own learning rate and epochs."""
    prm = prm_settings(config.distill)
    own = {"lr": config.train.lr if prm.lr is None else prm.lr, "epochs": prm.epochs}
    return config.model_copy(update={"train": config.train.model_copy(update=own)})


def _count(folder: RunFolder, name: str) -> int:
    return parquet(folder, name).count_rows()


def _steps(progress: Any) -> State | None:
    last = ray.get(progress.get.remote())
    if last is None:
        return None
    step, total, figures = last
    text = f"loss {figures['loss']:.4f}, accuracy {figures['accuracy']:.3f}"
    return State(done=step, total=total, text=text)
