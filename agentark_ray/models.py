"""Which files a model name stands for, whether they are whole, and where an engine finds them."""

import fcntl
import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from pyarrow import fs

from agentark_ray.config import ConfigError, stable_hash
from agentark_ray.location import locate
from agentark_ray.tiny.path import tiny_model_path

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json")
_WEIGHTS = ".safetensors"
_CARD = "README.md"  # written when the model is evaluated; it is the same model then


def resolve_model(name: str) -> str:
    """What a model name stands for: a local folder, the URI of a folder, or a Hugging Face id.

    Nothing is copied: where an engine starts, `local_model` brings a URI's files to its machine.

    Raises:
        ConfigError: the folder lacks a config, weights, a tokenizer or a chat template.
    """
    if name == "tiny":
        return str(tiny_model_path())
    if "://" in name:
        _check_folder(name)
        return name.rstrip("/")
    path = Path(name).expanduser()
    if path.exists() or name.startswith((".", "/", "~")) or name.count("/") > 1:
        _check_folder(str(path))
        return str(path.resolve())
    if name.count("/") != 1:
        raise ConfigError(
            f"model={name!r}: no such folder; expected tiny, a folder, a URI, or owner/name"
        )
    return name


def local_model(model: str, weights: bool = True) -> str:
    """A resolved model as libraries load it: a folder on this machine, or a Hugging Face id.

    The folder of a URI is copied beside the models of Hugging Face ($HF_HOME), once for all
    processes of the machine, and anew when it has changed; without `weights`, all but those.

    Raises:
        ConfigError: there is no such folder, or no room for it.
    """
    if "://" not in model:
        return model
    from huggingface_hub.constants import HF_HOME

    files = {
        name: info
        for name, info in _files(model).items()
        if name != _CARD and (weights or not name.endswith(_WEIGHTS))
    }
    version = stable_hash(
        [(name, file.size, file.mtime_ns) for name, file in sorted(files.items())]
    )
    place = Path(HF_HOME, "agentark", stable_hash([model, weights]))
    place.mkdir(parents=True, exist_ok=True)
    with (place / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / version).is_dir():
            _replace(model, files, place, version)
    return str(place / version)


def _replace(model: str, files: Mapping[str, fs.FileInfo], place: Path, version: str) -> None:
    """Copy files to `place`/`version`, whole or not at all; other versions are deleted."""
    for other in place.iterdir():
        if other.is_dir():  # an engine that has started keeps what it has open
            shutil.rmtree(other)
    needed, free = sum(file.size for file in files.values()), shutil.disk_usage(place).free
    if free < needed:
        raise ConfigError(
            f"model={model}: {place} has {free / 1e9:.2f} GB free, the model needs"
            f" {needed / 1e9:.2f} GB; HF_HOME says where models are kept"
        )
    filesystem, _ = locate(model)
    pending = tempfile.mkdtemp(prefix="pending-", dir=place)
    for name, file in files.items():
        fs.copy_files(file.path, f"{pending}/{name}", source_filesystem=filesystem)
    Path(pending).rename(place / version)


def _files(folder: str) -> dict[str, fs.FileInfo]:
    """Name -> file of a folder, wherever it is.

    Raises:
        ConfigError: there is none, or it cannot be read.
    """
    try:
        filesystem, root = locate(folder)
        there = filesystem.get_file_info(root).type == fs.FileType.Directory
        found = filesystem.get_file_info(fs.FileSelector(root)) if there else []
    except (OSError, ValueError) as error:
        raise ConfigError(f"model={folder}: cannot be read: {error}") from None
    if not there:
        raise ConfigError(f"model={folder}: no such folder")
    return {info.base_name: info for info in found if info.is_file}


def _check_folder(folder: str) -> None:
    files = _files(folder)
    if "config.json" not in files:
        raise ConfigError(f"model={folder}: the folder has no config.json")
    if not any(name.endswith(_WEIGHTS) for name in files):
        raise ConfigError(f"model={folder}: the folder has no {_WEIGHTS} weights")
    if not any(name in files for name in _TOKENIZER_FILES):
        raise ConfigError(
            f"model={folder}: the folder has no tokenizer, expected one of {list(_TOKENIZER_FILES)}"
        )
    if not _has_chat_template(folder, files):
        raise ConfigError(
            f"model={folder}: the tokenizer has no chat template; expected chat_template.jinja or"
            " 'chat_template' in tokenizer_config.json (a base model cannot debate)"
        )


def _has_chat_template(folder: str, files: Mapping[str, fs.FileInfo]) -> bool:
    config = files.get("tokenizer_config.json")
    if "chat_template.jinja" in files or config is None:
        return "chat_template.jinja" in files
    filesystem, _ = locate(folder)
    with filesystem.open_input_stream(config.path) as stream:
        try:
            return bool(json.loads(stream.read()).get("chat_template"))
        except json.JSONDecodeError as error:
            raise ConfigError(f"{config.path}: not valid JSON: {error}") from None


def weights_bytes(model: str) -> int | None:
    """Bytes of the safetensors of a folder or URI; None for a Hugging Face id."""
    if "://" not in model and not Path(model).is_dir():
        return None
    return sum(file.size for name, file in _files(model).items() if name.endswith(_WEIGHTS))


def template_hash(model: str) -> str:
    """16 hex digits of the chat template of a resolved model."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(local_model(model, weights=False))
    return stable_hash(tokenizer.get_chat_template())
