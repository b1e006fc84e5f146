"""A labelling of a trace folder, from its settings to its finished manifest.

What decides the labels is the version's identity: a version belongs to one, as a run folder belongs
to one config. Running it again continues, or shows what it found.
"""

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field
from importlib import metadata
from typing import Any

from rich.console import Console

from agentark_ray.config import Config, ConfigError, stable_hash
from agentark_ray.console import State, watch
from agentark_ray.grading.registry import GRADERS
from agentark_ray.label_rows import (
    MANIFEST,
    PARTS,
    Labels,
    fingerprint,
    label_store,
    trace_files,
    trace_folder,
)
from agentark_ray.lost_nodes import outlive_nodes
from agentark_ray.models import resolve_model, template_hash
from agentark_ray.run_folder import RunFolder
from agentark_ray.session import ray_session, remote
from agentark_ray.tasks.registry import TASKS
from agentark_ray.traces.generate import Incomplete
from agentark_ray.traces.label import NEEDED, VOTES
from agentark_ray.traces.label_actor import judge_parts, name_of
from agentark_ray.traces.label_figures import count_labels
from agentark_ray.traces.label_job import (
    PART_ROWS,
    Work,
    code_hash,
    label_parts,
    write_parts,
)
from agentark_ray.traces.label_judge import PROMPT, PROMPT_WITH_REFERENCE, Judge
from agentark_ray.traces.progress import start_progress, state_of
from agentark_ray.traces.read import open_traces

# Packages whose version decides verdicts.
GRADING_PACKAGES = (
    "math-verify",
    "latex2sympy2-extended",
    "sympy",
    "rouge-score",
    "bert-score",
)
NOT_THE_JUDGES = ("engine.models", "engine.endpoint_logprobs")
Session = Callable[[], AbstractContextManager[None]]
MANIFEST_LEVELS = 3  # above a trace folder in which the run's manifest is looked for


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a user can choose."""

    name: str | None = None  # of the version; by default what decides it, with its hash
    grader: str | None = None  # a key of GRADERS; None: each task's own
    aggregate: str | None = None  # one of VOTES; None: as the run's manifest says
    judge: Judge | None = None  # of what no grader decides; None: that stays without verdict
    config: Config = field(default_factory=Config)  # engine.*, gpus_per_engine and seed


class Labelling:
    """One version of labels of one trace folder.

    Raises:
        ConfigError: what the user has to mend; nothing has been started or written.
    """

    def __init__(self, uri: str, settings: Settings, console: Console) -> None:
        missing = NEEDED - set(open_traces(uri).schema.names)
        if missing:
            raise ConfigError(f"{uri}: the traces have no column {', '.join(sorted(missing))}")
        if settings.grader is not None and settings.grader not in GRADERS:
            raise ConfigError(
                f"--grader {settings.grader}: no such grader, there is {', '.join(GRADERS)}"
            )
        self.traces = trace_folder(uri)
        self.console = console
        self.judge = settings.judge
        self.config = _judge_config(settings)
        aggregate = settings.aggregate or stored_aggregate(self.traces)
        self.identity = _identity(settings, aggregate, self.config)
        self.hash = stable_hash(self.identity)
        self.name = settings.name or f"{'judge' if self.judge else 'grader'}-{self.hash[:8]}"
        self.store = label_store(self.traces, self.name)
        self.work = Work(
            traces=self.traces, store=self.store, grader=settings.grader, aggregate=aggregate
        )

    def execute(self, session: Session = ray_session) -> dict[str, Any]:
        """Label what is not labelled yet, in a Ray session; the finished manifest."""
        with self.store.locked():
            files = trace_files(self.traces)
            manifest = self._open(fingerprint(self.traces, files), len(files))
            if "figures" not in manifest:
                started = time.monotonic()
                with session():
                    label = functools.partial(self._label, files)
                    manifest["figures"] = outlive_nodes(label, self.console.print)
                manifest["figures"]["seconds"] = round(time.monotonic() - started, 1)
                self.store.write_json(manifest, MANIFEST)
            return manifest

    def _open(self, traces_hash: str, files: int) -> dict[str, Any]:
        traces = {"uri": self.traces.uri, "files": files, "fingerprint": traces_hash}
        if not self.store.exists(MANIFEST):
            manifest = {
                "name": self.name,
                "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "identity": self.identity,
                "hash": self.hash,
                "traces": traces,
            }
            self.store.write_json(manifest, MANIFEST)
            return manifest
        manifest = self.store.read_json(MANIFEST)
        before, now = manifest["identity"], self.identity
        changed = [
            f"{key}: {before.get(key)!r} -> {now.get(key)!r}"
            for key in sorted(before.keys() | now.keys())
            if before.get(key) != now.get(key)
        ]
        if manifest["traces"]["fingerprint"] != traces_hash:
            changed.append("the traces themselves")
        if changed:
            raise ConfigError(
                f"{self.store.uri}: there are labels of this name, made otherwise"
                f" ({'; '.join(changed)}); choose another --name"
            )
        return manifest

    def _label(self, files: list[str]) -> dict[str, Any]:
        if not self.store.exists(*PARTS):
            rows = self.config.engine.rows_per_block if self.judge else PART_ROWS
            remote(write_parts, self.work, files, rows)
        labels = Labels(traces=self.traces, store=self.store)
        self._do_parts(sum(part["rows"] for part in labels.parts()))
        figures = remote(count_labels, labels)
        allowed = self.config.engine.max_failed_fraction
        if figures["failed"] > allowed * figures["debates"]:
            raise Incomplete(
                f"{self.store.uri}: {figures['failed']} of {figures['debates']} debates could not"
                f" be labelled, more than engine.max_failed_fraction={allowed} allows; the column"
                " `error` says why"
            )
        return figures

    def _do_parts(self, total: int) -> None:
        title = f"labels {self.name}"
        if self.judge is None:
            with _progress(self.console, title, total) as sums:
                for counts in label_parts(self.work):
                    for name, value in counts.items():
                        sums[name] += value
            return
        progress = start_progress(total, int(total * self.config.engine.max_failed_fraction))
        with watch(self.console, title, lambda: state_of(progress, 0, total)):
            judge_parts(self.work, self.judge, self.config, progress)


@contextmanager
def _progress(console: Console, title: str, total: int) -> Iterator[dict[str, int]]:
    sums, started = {"debates": 0, "labels": 0}, time.monotonic()

    def state() -> State | None:
        rate = sums["labels"] / (time.monotonic() - started)
        text = f"{sums['labels']:,} labels, {rate:,.0f}/s"
        return State(done=sums["debates"], total=total, text=text) if sums["debates"] else None

    with watch(console, title, state):
        yield sums


def _judge_config(settings: Settings) -> Config:
    """The config with the judge as its model, if this run loads it.

    Raises:
        ConfigError: the model's folder is not there or not whole.
    """
    judge = settings.judge
    if judge is None or judge.model.endpoint:
        return settings.config
    resolve_model(judge.model.name)
    return settings.config.model_copy(update={"model": judge.model.name})


def _identity(settings: Settings, aggregate: str, config: Config) -> dict[str, Any]:
    """All that decides the labels."""
    judged = _judge_identity(settings.judge, config) if settings.judge else {}
    return judged | {
        "grader": settings.grader or {name: task.grader.name for name, task in TASKS.items()},
        "aggregate": aggregate,
        "code": code_hash(),
        **{f"version of {name}": version for name, version in _grading_versions()},
    }


def _judge_identity(judge: Judge, config: Config) -> dict[str, Any]:
    local = None if judge.model.endpoint else template_hash(resolve_model(judge.model.name))
    chosen = {name: value for name, value in asdict(judge).items() if name != "model"}
    return {
        "judge": name_of(judge.model),
        **{f"judge.{name}": value for name, value in chosen.items()},
        "judge.temperature": judge.sampling.temperature,
        "judge.chat_template": local,
        "judge.prompts": [PROMPT, PROMPT_WITH_REFERENCE],
        "seed": config.seed,
        **{
            key: value
            for key, value in config.identity().items()
            if key.startswith("engine.") and key not in NOT_THE_JUDGES
        },
    }


def _grading_versions() -> Iterator[tuple[str, str]]:
    for package in GRADING_PACKAGES:
        try:
            yield package, metadata.version(package)
        except metadata.PackageNotFoundError:
            continue


def stored_aggregate(traces: RunFolder) -> str:
    """How the run that holds a trace folder makes one answer of those of its agents, if they vote.

    Raises:
        ConfigError: no manifest above the folder says it.
    """
    uri = traces.uri
    for _ in range(MANIFEST_LEVELS):
        uri = uri.rpartition("/")[0]
        if not uri or uri.endswith("/"):
            break
        folder = RunFolder(uri)
        if folder.exists(MANIFEST):
            said = folder.read_json(MANIFEST).get("config", {}).get("debate", {}).get("aggregate")
            return said if said in VOTES else "vote"
    raise ConfigError(
        f"{traces.uri}: no {MANIFEST} of a run above it says how the debates' answers were"
        f" aggregated; say --aggregate {'|'.join(VOTES)}"
    )
