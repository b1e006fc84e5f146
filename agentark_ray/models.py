"""Which files a model name stands for, and whether they are whole, before anything starts."""

import json
import os
from pathlib import Path

from agentark_ray.config import ConfigError, stable_hash
from agentark_ray.tiny.path import tiny_model_path

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json")


def resolve_model(name: str) -> str:
    """The folder or Hugging Face id of a model name: `tiny`, a local folder, or an id.

    Raises:
        ConfigError: the folder lacks a config, weights, a tokenizer or a chat template.
    """
    if name == "tiny":
        return str(tiny_model_path())
    path = Path(name).expanduser()
    if path.exists() or name.startswith((".", "/", "~")) or name.count("/") > 1:
        _check_folder(path)
        return str(path.resolve())
    if name.count("/") != 1:
        raise ConfigError(f"model={name!r}: no such folder; expected tiny, a folder, or owner/name")
    return name


def _check_folder(path: Path) -> None:
    if not path.is_dir():
        raise ConfigError(f"model={path}: no such folder")
    if not (path / "config.json").is_file():
        raise ConfigError(f"model={path}: the folder has no config.json")
    if not any(path.glob("*.safetensors")):
        raise ConfigError(f"model={path}: the folder has no .safetensors weights")
    if not any((path / name).is_file() for name in _TOKENIZER_FILES):
        raise ConfigError(
            f"model={path}: the folder has no tokenizer, expected one of {list(_TOKENIZER_FILES)}"
        )
    if not _has_chat_template(path):
        raise ConfigError(
            f"model={path}: the tokenizer has no chat template; expected chat_template.jinja or"
            " 'chat_template' in tokenizer_config.json (a base model cannot debate)"
        )


def _has_chat_template(path: Path) -> bool:
    if (path / "chat_template.jinja").is_file():
        return True
    config = path / "tokenizer_config.json"
    try:
        return bool(config.is_file() and json.loads(config.read_text()).get("chat_template"))
    except json.JSONDecodeError as error:
        raise ConfigError(f"{config}: not valid JSON: {error}") from None


def weights_bytes(model: str) -> int | None:
    """Bytes of a local model's safetensors; None for a Hugging Face id."""
    path = Path(model)
    if not path.is_dir():
        return None
    return sum(os.path.getsize(file) for file in path.glob("*.safetensors"))


def template_hash(model: str) -> str:
    """16 hex digits of the chat template of a resolved model."""
    from transformers import AutoTokenizer

    return stable_hash(AutoTokenizer.from_pretrained(model).get_chat_template())
