"""The stages of a run, each done once and recorded in the manifest; running again resumes.

questions -> generate -> distill -> evaluate -> report. This file orders and shows them; what they
do is in traces/, distillation.py and evaluation.py.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rich.console import Console

from agentark_ray.config import Config, ConfigError
from agentark_ray.distillation import TRAINING_COPIES, make
from agentark_ray.engine.make import local_models
from agentark_ray.evaluation import SUMMARY, answer, students_now
from agentark_ray.models import template_hash, weights_bytes
from agentark_ray.reporting import write_report
from agentark_ray.run_folder import RunFolder
from agentark_ray.session import ray_session, remote
from agentark_ray.student import Student
from agentark_ray.students import (
    OWN_ARM,
    arm_of,
    config_with,
    own_name,
    records,
    run_config,
    trained,
)
from agentark_ray.tasks.registry import all_shards, ood_sets
from agentark_ray.traces.requests import Plan, write_questions
from agentark_ray.types import Split
from agentark_ray.workspace import RAY_CPUS, Figures, Workspace

BYTES_A_TURN = 2_000
MAY_DIFFER = ("evaluate.", "gates.")  # what a later evaluation may have of its own


class Run(Workspace):
    """One run folder, its config, and the stages."""

    gates_for: str = OWN_ARM  # the arm of the student that the gates are asked of
    regrade: bool = False  # grade what was answered before again

    def check(self) -> None:
        """Everything that can be known to be wrong before Ray starts.

        Raises:
            ConfigError, TaskError: what the user has to mend.
        """
        all_shards(self.config.tasks, self.config.seed)
        ood_sets(self.config.evaluate.ood, self.config.seed)
        local_models(self.config, self.model)
        Student(self.config, self.console, own_name(self.config)).check()
        self.folder.need_space(self._expected_bytes())

    def _expected_bytes(self) -> int:
        turns = self.config.debate.completions
        questions = (self.config.tasks.train_questions or 10_000) + 4 * (
            self.config.tasks.eval_questions or 1_000
        )
        return questions * turns * BYTES_A_TURN + TRAINING_COPIES * (weights_bytes(self.model) or 0)

    def execute(self, stages: Iterable[str] | None = None) -> None:
        """Run what is not done yet of `stages`, all by default.

        An evaluation is done again, in what it lacks, when students came after it.
        """
        self.check()
        with self.folder.locked():
            manifest = self.folder.open(self.config, self.model)
            done = {name: manifest["stages"][name] for name in STAGES if name in manifest["stages"]}
            told = f" (done before: {', '.join(done)})" if done else ""
            self.say(f"run folder {self.folder.uri}{told}")
            if done.get("evaluate", {}).get("students") != students_now(self.folder):
                done = {name: done[name] for name in done if name not in ("evaluate", "report")}
            wanted = set(STAGES if stages is None else stages) - done.keys()
            self.do([name for name in STAGES if name in wanted])

    def do(self, stages: list[str]) -> None:
        """Run these stages, in a session of Ray. The folder must be locked."""
        if not stages:
            return
        # With several models, a machine without GPUs needs a CPU for each engine.
        with ray_session(cpus=RAY_CPUS + len(self.config.own_models)):
            for name in stages:
                work = STAGES[name]
                figures = self.stage(name, lambda work=work: work(self))
                self.folder.finish_stage(name, figures)

    def summary(self) -> dict[str, Any]:
        """The summary of a finished evaluation."""
        return self.folder.read_json(*SUMMARY)

    def finished(self, stage: str) -> dict[str, Any]:
        """The figures of a stage that is done."""
        figures = self.folder.stage(stage)
        assert figures is not None, f"stage {stage} has not run"
        return figures


def evaluate_again(
    folder: RunFolder,
    overrides: Sequence[str],
    student: str | None,
    console: Console,
    regrade: bool = False,
) -> Run:
    """Evaluate all students of a run folder, with gates for one of them, and write the report.

    Raises:
        ConfigError: what the user has to mend; nothing has been started.
    """
    config = config_with(folder, overrides, MAY_DIFFER)
    if config.evaluate.ood != run_config(folder).evaluate.ood:
        raise ConfigError("evaluate.ood: a run stores its questions when it begins")
    run = Run(config, console)
    run.regrade = regrade
    local_models(config, run.model)
    if folder.stage("generate") is None:
        raise ConfigError(f"{folder.uri}: its traces are not finished; there is no student yet")
    there = [record["name"] for record in records(folder) if trained(record)]
    if taken := sorted(set(there) & set(config.evaluate.given_names)):
        raise ConfigError(f"evaluate: {taken} are names of students; choose other names for arms")
    if student is not None:
        if student not in there:
            raise ConfigError(
                f"--student {student!r}: no trained student of {folder.uri}"
                f" (there: {', '.join(there) or 'none'})"
            )
        run.gates_for = arm_of(folder, student)
    with folder.locked():
        folder.note_versions()
        run.do(["evaluate", "report"])
    return run


def template_hashes(config: Config, model: str) -> dict[str, str]:
    """Model -> hash of its chat template: with it, a turn's messages are its exact prompt."""
    return {name: template_hash(path) for name, path in local_models(config, model).items()}


def questions(run: Run) -> Figures:
    """Read, check and store the questions of both splits."""
    return remote(write_questions, run.folder, run.config)


def generate(run: Run) -> Figures:
    """Debate every training question."""
    plans = [Plan(arm="debate")]
    figures = run.debates("debates", run.model, Split.TRAIN, plans, "train", "traces")
    return {**figures, "chat_templates": remote(template_hashes, run.config, run.model)}


def distill(run: Run) -> Figures:
    """The run's own student, by the config's strategy."""
    record = make(Student(run.config, run.console, own_name(run.config)))
    return {"student": record["name"], "steps": record["stages"]["train"]["steps"]}


def evaluate(run: Run) -> Figures:
    """All arms answer the held-out questions; the summary and the gates."""
    return answer(run, run.gates_for, run.regrade)


def report(run: Run) -> Figures:
    """Write report.html."""
    return {"bytes": write_report(run.folder)}


STAGES: dict[str, Callable[[Run], Figures]] = {
    stage.__name__: stage for stage in (questions, generate, distill, evaluate, report)
}
