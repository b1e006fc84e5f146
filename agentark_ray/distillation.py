"""One student, from the traces of a run folder to its weights; `agentark run` and `agentark
distill` both make theirs here.

The stages of a student depend on its strategy; each is done once and recorded in students/NAME.json
with its figures, so that running again resumes. What they do is in traces/ and train/.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ray
from rich.console import Console

from agentark_ray.config import Config, ConfigError
from agentark_ray.console import State, watch
from agentark_ray.distill.embeddings import embeddings_missing
from agentark_ray.label_rows import fingerprint, trace_files
from agentark_ray.model_card import write_model_card
from agentark_ray.models import weights_bytes
from agentark_ray.run_folder import RunFolder
from agentark_ray.session import ray_session
from agentark_ray.strategy import RftConfig
from agentark_ray.students import (
    MAY_DIFFER,
    Record,
    arm_of,
    check_name,
    check_overrides,
    open_record,
    record_path,
    run_config,
)
from agentark_ray.traces.samples import ARM, write_sample_requests
from agentark_ray.train.dataset import build_dataset
from agentark_ray.train.launch import start_progress, train_model
from agentark_ray.train.objective import loss_curve
from agentark_ray.workspace import RAY_CPUS, Figures, Workspace, remote

TRANSCRIPTS = "eval/transcripts"
TRAINING_COPIES = 24  # of the weights: student, and three checkpoints with optimizer state
CARD_FIGURES = (
    *("traces", "kept", "dropped", "rows", "tokens", "target_tokens", "sampling"),
    *("packed_sequences", "packing_efficiency"),
)


def distill(
    folder: RunFolder,
    overrides: Sequence[str],
    strategy: str | None,
    name: str | None,
    parent: str | None,
    console: Console,
) -> Record:
    """Make a student of an existing run folder; its record. Does what is not done yet.

    Raises:
        ConfigError: what the user has to mend; nothing has been started.
    """
    config = run_config(folder, overrides, strategy or "")
    check_overrides(folder, config, MAY_DIFFER)
    name = name or "-".join(filter(None, (parent, config.distill.type)))
    student = Student(config, console, name, parent)
    student.check()
    with folder.locked():
        todo = student.todo(student.open())
        folder.need_space(TRAINING_COPIES * (weights_bytes(student.model) or 0))
        student.say(f"student {folder.path(student.out)}" + ("" if todo else " (done before)"))
        if not todo:
            return student.open()
        with ray_session(cpus=RAY_CPUS + len(config.own_models)):
            return student.execute()


class Student(Workspace):
    """A student and its stages. `config` is the run's, with what the student has of its own."""

    def __init__(
        self, config: Config, console: Console, name: str, parent: str | None = None
    ) -> None:
        super().__init__(config, console)
        self.name = check_name(name)
        self.parent = parent

    def check(self) -> None:
        """Raises ConfigError for what a student of this config needs and is not there."""
        if missing := embeddings_missing(self.config.distill.curation.embeddings):
            raise ConfigError(missing)

    @property
    def out(self) -> str:
        """Where the model goes, in the run folder."""
        return f"students/{self.name}"

    @property
    def start(self) -> str:
        """The model whose weights training starts from."""
        return self.model if self.parent is None else self.folder.path("students", self.parent)

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

    def todo(self, record: Record) -> list[str]:
        """The stages that are not done."""
        stages = STAGES[self.config.distill.type]
        return [name for name in stages if name not in record["stages"]]

    def execute(self) -> Record:
        """Do what is not done yet; the record. Ray must be up if there is anything to do."""
        record = self.open()
        for name in self.todo(record):
            work = STAGES[self.config.distill.type][name]
            title = f"{self.name}/{name}"
            record["stages"][name] = self.stage(title, lambda work=work: work(self, record))
            self.folder.write_json(record, *record_path(self.name))
            if name == "train":
                write_model_card(self.folder, self.name)
        return record

    def fit(self, title: str, name: str, **job: Any) -> list[dict[str, Any]]:
        """Train, with progress; the figures of all steps."""
        progress = start_progress()
        with watch(self.console, title, lambda: _steps(progress)):
            train_model(self.folder, self.config, self.start, progress, name=name, **job)
        return self.folder.read_json(*loss_curve(name))


def _steps(progress: Any) -> State | None:
    last = ray.get(progress.get.remote())
    if last is None:
        return None
    step, total, figures = last
    text = f"loss {figures['loss']:.4f}, {figures['tokens_per_s']:,.0f} tokens/s"
    return State(done=step, total=total, text=text)


def samples(student: Student, record: Record) -> Figures:
    """More samples of single agents, up to the output tokens of the debates."""
    del record
    assert isinstance(student.config.distill, RftConfig)
    if not student.config.distill.match_budget:
        return {"rows": 0}
    total = remote(write_sample_requests, student.folder, student.config, student.model, "samples")
    if not total:
        return {"rows": 0}
    return student.hold("samples", student.model, {ARM}, "samples", "samples", total)


def dataset(student: Student, record: Record) -> Figures:
    """Traces -> curated rows -> packed training sequences; the data card's main figures."""
    record["traces"] = remote(lineage, student.folder)
    more = "samples" if record["stages"].get("samples", {}).get("rows") else None
    card = build_dataset(student.folder, student.config, student.model, student.name, more)
    main = {name: card[name] for name in CARD_FIGURES if card.get(name) is not None}
    return {**main, "recommended": card["recommended"]["strategy"]}


def lineage(folder: RunFolder) -> dict[str, Any]:
    """Which traces these are: their number and a hash over names and sizes of their files."""
    figures = folder.stage("generate")
    assert figures is not None, "nothing was generated"
    traces = RunFolder(folder.path("traces"))
    return {"debates": figures["rows"], "fingerprint": fingerprint(traces, trace_files(traces))}


def train(student: Student, record: Record) -> Figures:
    """Train on packed rows and export; without any training row there is no student."""
    if not record["stages"]["dataset"]["kept"]:
        return {"steps": 0, "student": "none: no trace gave a training row"}
    data = f"datasets/{student.name}/packed"
    curve = student.fit("training", student.name, data=data, out=student.out)
    forget_answers(student)
    return training_figures(curve)


def training_figures(curve: Sequence[Mapping[str, Any]]) -> Figures:
    """What a record says of a training."""
    return {
        "steps": len(curve),
        "first_loss": round(curve[0]["loss"], 4),
        "last_loss": round(curve[-1]["loss"], 4),
        "tokens_per_s": round(sum(row["tokens_per_s"] for row in curve) / len(curve)),
    }


def forget_answers(student: Student) -> None:
    """Answers of a model that was here before are not those of this one."""
    arm = arm_of(student.folder, student.name)
    student.folder.remove(TRANSCRIPTS, arm)
    student.folder.remove(TRANSCRIPTS, f"{arm}_checkpoint")


Stage = Callable[[Student, Record], Figures]
_SFT: dict[str, Stage] = {"dataset": dataset, "train": train}
STAGES: dict[str, dict[str, Stage]] = {
    "rsft": _SFT,
    "da": _SFT,
    "rft": {"samples": samples, **_SFT},
}
