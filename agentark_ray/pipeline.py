"""The stages of a run, each done once and recorded in the manifest; running again resumes.

questions -> generate -> dataset -> train -> evaluate -> report. This file orders and shows them;
what they do is in traces/, train/ and evaluate/.
"""

from collections.abc import Callable, Iterable
from typing import Any

import ray
from rich.console import Console

from agentark_ray.config import Config
from agentark_ray.console import State, watch
from agentark_ray.engine.make import local_models
from agentark_ray.evaluate.examples import read_examples
from agentark_ray.evaluate.report import render_report
from agentark_ray.evaluate.summary import summarize
from agentark_ray.models import resolve_model, template_hash, weights_bytes
from agentark_ray.run_folder import RunFolder
from agentark_ray.session import ray_session
from agentark_ray.tasks.registry import all_shards
from agentark_ray.traces.generate import (
    count_traces,
    drop_unfinished,
    generate_traces,
    trace_dataset,
    verify_traces,
)
from agentark_ray.traces.progress import start_progress, state_of
from agentark_ray.traces.requests import Plan, write_questions, write_requests
from agentark_ray.train.dataset import build_dataset
from agentark_ray.train.launch import start_progress as start_train_progress
from agentark_ray.train.launch import train_model
from agentark_ray.train.objective import loss_curve
from agentark_ray.types import Split

FOLDERS = {
    "train": "traces",
    "base": "eval/transcripts/base",
    "student": "eval/transcripts/student",
}
SUMMARY = ("eval", "summary.json")
CARD_FIGURES = (
    *("traces", "kept", "dropped", "rows", "tokens", "target_tokens"),
    *("packed_sequences", "packing_efficiency"),
)
BYTES_A_TURN = 2_000
TRAINING_COPIES = 24  # of the weights: student, and three checkpoints with optimizer state


class Run:
    """One run folder, its config, and the stages."""

    def __init__(self, config: Config, console: Console) -> None:
        self.config = config
        self.console = console
        self.model = resolve_model(config.model)
        self.folder = RunFolder(config.output)

    def check(self) -> None:
        """Everything that can be known to be wrong before Ray starts.

        Raises:
            ConfigError, TaskError: what the user has to mend.
        """
        all_shards(self.config.tasks, self.config.seed)
        local_models(self.config, self.model)
        self.folder.need_space(self._expected_bytes())

    def _expected_bytes(self) -> int:
        turns = self.config.debate.completions
        questions = (self.config.tasks.train_questions or 10_000) + 4 * (
            self.config.tasks.eval_questions or 1_000
        )
        return questions * turns * BYTES_A_TURN + TRAINING_COPIES * (weights_bytes(self.model) or 0)

    def execute(self, stages: Iterable[str] | None = None) -> None:
        """Run what is not done yet of `stages`, all by default."""
        self.check()
        with self.folder.locked():
            manifest = self.folder.open(self.config, self.model)
            done = ", ".join(manifest["stages"])
            self._say(f"run folder {self.folder.uri}" + (f" (done before: {done})" if done else ""))
            wanted = set(STAGES if stages is None else stages) - manifest["stages"].keys()
            todo = {name: stage for name, stage in STAGES.items() if name in wanted}
            if todo:
                # With several models, a machine without GPUs needs a CPU for each engine.
                with ray_session(cpus=3 + len(self.config.own_models)):
                    for name, stage in todo.items():
                        self._stage(name, stage)

    def summary(self) -> dict[str, Any]:
        """The summary of a finished evaluation."""
        return self.folder.read_json(*SUMMARY)

    def _stage(self, name: str, stage: Callable[["Run"], dict[str, Any]]) -> None:
        self._say(f"[bold]{name}[/bold]")
        with self.folder.attempt(name, self.config.engine.actors):
            figures = stage(self)
        figures = self.folder.finish_stage(name, {**figures, **self.folder.attempts(name)})
        shown = ", ".join(
            f"{key} {_short(value)}" for key, value in figures.items() if key != "actor_seconds"
        )
        self._say(f"  done: {shown}")

    def finished(self, stage: str) -> dict[str, Any]:
        """The figures of a stage that is done."""
        figures = self.folder.stage(stage)
        assert figures is not None, f"stage {stage} has not run"
        return figures

    def _say(self, text: str) -> None:
        self.console.print(text, highlight=False, soft_wrap=True)

    def hold_debates(
        self, title: str, model: str, split: Split, plans: list[Plan], name: str
    ) -> dict[str, int]:
        """Requests -> traces, with progress; the figures of the traces."""
        out = FOLDERS[name]
        total = _remote(write_requests, self.folder, self.config, model, split, plans, name)
        _remote(drop_unfinished, self.folder, out)
        before = _remote(count_traces, self.folder, out)["rows"]
        max_failed = int(total * self.config.engine.max_failed_fraction)
        progress = start_progress(total, max_failed)
        with watch(self.console, title, lambda: state_of(progress, before, total)):
            arms = {plan.arm for plan in plans}
            generate_traces(self.folder, self.config, model, arms, name, out, progress)
        return _remote(verify_traces, self.folder, self.config, out, total)


def template_hashes(config: Config, model: str) -> dict[str, str]:
    """Model -> hash of its chat template: with it, a turn's messages are its exact prompt."""
    return {name: template_hash(path) for name, path in local_models(config, model).items()}


def _remote(function: Callable[..., Any], *args: Any) -> Any:
    """Run something that reads all questions in a task of the cluster, not on the driver."""
    return ray.get(ray.remote(num_cpus=0)(function).remote(*args))


def _short(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int | float) else str(value)


def _steps(progress: Any) -> State | None:
    last = ray.get(progress.get.remote())
    if last is None:
        return None
    step, total, figures = last
    text = f"loss {figures['loss']:.4f}, {figures['tokens_per_s']:,.0f} tokens/s"
    return State(done=step, total=total, text=text)


def questions(run: Run) -> dict[str, Any]:
    """Read, check and store the questions of both splits."""
    return _remote(write_questions, run.folder, run.config)


def generate(run: Run) -> dict[str, Any]:
    """Debate every training question."""
    plans = [Plan(arm="debate")]
    figures = run.hold_debates("debates", run.model, Split.TRAIN, plans, "train")
    return {**figures, "chat_templates": _remote(template_hashes, run.config, run.model)}


def dataset(run: Run) -> dict[str, Any]:
    """Traces -> curated rows -> packed training sequences; the data card's main figures."""
    card = build_dataset(run.folder, run.config, run.model)
    main = {name: card[name] for name in CARD_FIGURES if name in card}
    return {**main, "recommended": card["recommended"]["strategy"]}


def train(run: Run) -> dict[str, Any]:
    """Train the student and export it; without any training row there is no student."""
    if not run.finished("dataset")["kept"]:
        return {"steps": 0, "student": "none: no trace gave a training row"}
    name, progress = run.config.distill.type, start_train_progress()
    with watch(run.console, "training", lambda: _steps(progress)):
        train_model(
            run.folder,
            run.config,
            run.model,
            progress,
            name=name,
            data=f"datasets/{name}/packed",
            out=f"students/{name}",
        )
    curve = run.folder.read_json(*loss_curve(name))
    return {
        "steps": len(curve),
        "first_loss": round(curve[0]["loss"], 4),
        "last_loss": round(curve[-1]["loss"], 4),
    }


def evaluate(run: Run) -> dict[str, Any]:
    """All arms answer the held-out questions; the summary and the gates."""
    arms = [arm for arm in run.config.evaluate.arms if arm != "student"]
    plans = _plans(run, arms)
    held = {"base": run.hold_debates("base arms", run.model, Split.EVAL, plans, "base")}
    if run.finished("train")["steps"]:
        model, plans = (
            run.folder.path("students", run.config.distill.type),
            _plans(run, ["student"]),
        )
        held["student"] = run.hold_debates("student", model, Split.EVAL, plans, "student")
    traces = run.finished("generate")
    summary = summarize(
        [trace_dataset(run.folder, FOLDERS[name]) for name in held],
        run.config.gates,
        train_traces=traces["rows"] - traces["failed"],
        seeds=[run.config.seed],
    )
    run.folder.write_json(summary, *SUMMARY)
    return {f"{name}_rows": figures["rows"] for name, figures in held.items()}


def _plans(run: Run, arms: list[str]) -> list[Plan]:
    """Every arm on all questions and on the latency probe; single models also check themselves."""
    probe = run.config.evaluate.latency_queries
    checks = [f"{arm}_check" for arm in arms if arm in ("single", "student")]
    plans = [Plan(arm=arm) for arm in (*arms, *checks)]
    return plans + [Plan(arm=arm, kind="latency", limit=probe) for arm in arms if probe]


def report(run: Run) -> dict[str, Any]:
    """Write report.html."""
    return {"bytes": write_report(run.folder)}


def write_report(folder: RunFolder) -> int:
    """report.html from what is in the folder of an evaluated run; its size in bytes."""
    manifest = folder.read_json("manifest.json")
    strategy = manifest["config"]["distill"]["type"]
    base, curve = f"datasets/{strategy}", loss_curve(strategy)
    transcripts = [FOLDERS[name] for name in ("base", "student") if folder.exists(FOLDERS[name])]
    page = render_report(
        folder.read_json(*SUMMARY),
        manifest,
        folder.read_json(base, "data_card.json"),
        folder.read_json(*curve) if folder.exists(*curve) else [],
        read_examples([trace_dataset(folder, name) for name in transcripts]),
    )
    folder.write_text(page, "report.html")
    return len(page.encode())


STAGES: dict[str, Callable[[Run], dict[str, Any]]] = {
    stage.__name__: stage for stage in (questions, generate, dataset, train, evaluate, report)
}
