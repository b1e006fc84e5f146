"""Models in an object store: checked where they are, copied once to the machine that loads them."""

import json
import os
import shutil
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from huggingface_hub import constants
from pyarrow import fs

from agentark_ray.config import ConfigError, parse_config
from agentark_ray.engine.make import make_engine
from agentark_ray.engine.vllm import VllmEngine
from agentark_ray.models import local_model, resolve_model, template_hash, weights_bytes
from agentark_ray.tiny.path import tiny_model_path
from agentark_ray.types import ModelRef

FILES = {
    "config.json": "{}",
    "model.safetensors": "0123456789",
    "tokenizer.json": "{}",
    "tokenizer_config.json": json.dumps({"chat_template": "x"}),
}
Usage = namedtuple("Usage", "free")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where models are kept."""
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """A model in a store, which is a folder that is known by its URI only."""
    folder = tmp_path / "store" / "students" / "rsft"
    folder.mkdir(parents=True)
    for name, text in FILES.items():
        (folder / name).write_text(text)
    return folder


def copies(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.rglob("config.json"))


def test_a_uri_stands_for_itself(stored: Path) -> None:
    assert resolve_model(f"{stored.as_uri()}/") == stored.as_uri()
    assert weights_bytes(stored.as_uri()) == weights_bytes(str(stored)) == 10
    with pytest.raises(ConfigError, match=r"model=file:///none/at/all: no such folder"):
        resolve_model("file:///none/at/all")
    with pytest.raises(ConfigError, match="model=what://x: cannot be read"):
        resolve_model("what://x")
    (stored / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match=f"model={stored.as_uri()}: the folder has no .safetens"):
        resolve_model(stored.as_uri())


def test_what_is_on_this_machine_or_has_an_id_is_not_copied(stored: Path, cache: Path) -> None:
    assert local_model(str(stored)) == str(stored)
    assert local_model("Qwen/Qwen3-0.6B") == "Qwen/Qwen3-0.6B"
    assert not cache.exists()


def test_a_model_is_copied_once(stored: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copied: list[str] = []
    copy = fs.copy_files

    def counted(source: str, *args: object, **options: object) -> None:
        copied.append(Path(source).name)
        copy(source, *args, **options)

    monkeypatch.setattr(fs, "copy_files", counted)
    with ThreadPoolExecutor(4) as pool:  # a lock of a file holds threads apart as well
        places = set(pool.map(local_model, [stored.as_uri()] * 4))
    (place,) = map(Path, places)
    assert sorted(copied) == sorted(FILES)
    assert {path.name: path.read_text() for path in place.iterdir()} == FILES
    assert place.is_relative_to(cache)


def test_a_model_that_was_trained_again_is_copied_again(stored: Path, cache: Path) -> None:
    first = Path(local_model(stored.as_uri()))
    (stored / "README.md").write_text("its card, written when it was evaluated")
    assert Path(local_model(stored.as_uri())) == first
    (stored / "model.safetensors").write_text("9876543210")  # as large as before
    os.utime(stored / "model.safetensors", (1, 1))
    second = Path(local_model(stored.as_uri()))
    assert (second / "model.safetensors").read_text() == "9876543210"
    assert not first.exists() and len(copies(cache)) == 1


def test_what_reads_no_weights_copies_none(stored: Path, cache: Path) -> None:
    light = Path(local_model(stored.as_uri(), weights=False))
    assert {path.name for path in light.iterdir()} == FILES.keys() - {"model.safetensors"}
    local_model(stored.as_uri())
    assert light.is_dir() and len(copies(cache)) == 2


def test_the_template_of_a_stored_model_is_that_of_its_copy(tmp_path: Path) -> None:
    shutil.copytree(tiny_model_path(), tmp_path / "tiny")
    assert template_hash((tmp_path / "tiny").as_uri()) == template_hash(str(tiny_model_path()))


def test_a_copy_that_was_cut_short_is_no_model(
    stored: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise OSError("the network is gone")

    with monkeypatch.context() as broken, pytest.raises(OSError, match="network"):
        broken.setattr(fs, "copy_files", fails)
        local_model(stored.as_uri())
    assert Path(local_model(stored.as_uri()), "model.safetensors").is_file()
    assert len(list(cache.glob("agentark/*/*/"))) == 1


def test_a_model_needs_room(stored: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(free=3))
    with pytest.raises(ConfigError, match=r"has 0\.00 GB free, the model needs 0\.00 GB; HF_HOME"):
        local_model(stored.as_uri())
    assert not copies(cache)


def test_an_engine_loads_a_copy(stored: Path, cache: Path) -> None:
    class Kept(VllmEngine):
        def __init__(self, *, model: str, **_: object) -> None:
            self.model = model

    config = parse_config({"model": stored.as_uri()}, [], "test")
    engine = make_engine(config, ModelRef(name=stored.as_uri()), Kept)
    assert isinstance(engine, Kept) and Path(engine.model).is_relative_to(cache)
