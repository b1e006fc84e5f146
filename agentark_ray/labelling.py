"""A labelling of a trace folder, from its settings to its finished manifest.

What decides the labels is the version's identity: a version belongs to one, as a run folder belongs
to one config. Running it again continues, or shows what it found.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

import ray
from rich.console import Console

from agentark_ray.config import Config, ConfigError, stable_hash
from agentark_ray.console import State, watch
from agentark_ray.label_rows import (
    MANIFEST,
    PARTS,
    Labels,
    fingerprint,
    label_store,
    trace_files,
    trace_folder,
)
from agentark_ray.run_folder import RunFolder
from agentark_ray.session import ray_session
from agentark_ray.tasks.registry import TASKS
from agentark_ray.traces.generate import Incomplete
from agentark_ray.traces.label import NEEDED, VOTES
from agentark_ray.traces.label_figures import count_labels
from agentark_ray.traces.label_job import GRADERS, Work, code_hash, label_parts, write_parts
from agentark_ray.traces.read import open_traces

# Packages whose version decides verdicts.
GRADING_PACKAGES = (
    "math-verify",
    "latex2sympy2-extended",
    "sympy",
    "rouge-score",
    "bert-score",
)
MANIFEST_LEVELS = 3  # above a trace folder in which the run's manifest is looked for


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a user can choose."""

    name: str | None = None  # of the version; by default what decides it, with its hash
    grader: str | None = None  # a key of GRADERS; None: each task's own
    aggregate: str | None = None  # one of VOTES; None: as the run's manifest says
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
        self.config = settings.config
        aggregate = settings.aggregate or stored_aggregate(self.traces)
        self.identity = _identity(settings, aggregate)
        self.hash = stable_hash(self.identity)
        self.name = settings.name or f"grader-{self.hash[:8]}"
        self.store = label_store(self.traces, self.name)
        self.work = Work(
            traces=self.traces, store=self.store, grader=settings.grader, aggregate=aggregate
        )

    def execute(self) -> dict[str, Any]:
        """Label what is not labelled yet; the finished manifest."""
        with self.store.locked():
            files = trace_files(self.traces)
            manifest = self._open(fingerprint(self.traces, files), len(files))
            if "figures" not in manifest:
                started = time.monotonic()
                with ray_session():
                    manifest["figures"] = self._label(files)
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
            ray.get(ray.remote(num_cpus=0)(write_parts).remote(self.work, files))
        labels = Labels(traces=self.traces, store=self.store)
        total = sum(part["rows"] for part in labels.parts())
        with _progress(self.console, f"labels {self.name}", total) as sums:
            for counts in label_parts(self.work):
                for name, value in counts.items():
                    sums[name] += value
        figures = ray.get(ray.remote(num_cpus=0)(count_labels).remote(labels))
        allowed = self.config.engine.max_failed_fraction
        if figures["failed"] > allowed * figures["debates"]:
            raise Incomplete(
                f"{self.store.uri}: {figures['failed']} of {figures['debates']} debates could not"
                f" be labelled, more than engine.max_failed_fraction={allowed} allows; the column"
                " `error` says why"
            )
        return figures


@contextmanager
def _progress(console: Console, title: str, total: int) -> Iterator[dict[str, int]]:
    sums, started = {"debates": 0, "labels": 0}, time.monotonic()

    def state() -> State | None:
        rate = sums["labels"] / (time.monotonic() - started)
        text = f"{sums['labels']:,} labels, {rate:,.0f}/s"
        return State(done=sums["debates"], total=total, text=text) if sums["debates"] else None

    with watch(console, title, state):
        yield sums


def _identity(settings: Settings, aggregate: str) -> dict[str, Any]:
    """All that decides the labels."""
    return {
        "grader": settings.grader or {name: task.grader.name for name, task in TASKS.items()},
        "aggregate": aggregate,
        "code": code_hash(),
        **{f"version of {name}": version for name, version in _grading_versions()},
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
