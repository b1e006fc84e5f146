"""Run folders, model folders, duplicates: what is refused, and how."""

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray._private.runtime_env.constants import RAY_JOB_CONFIG_JSON_ENV_VAR

from agentark_ray import run_folder
from agentark_ray.config import Config, ConfigError, parse_config
from agentark_ray.models import resolve_model
from agentark_ray.run_folder import RunFolder
from agentark_ray.traces.unique import duplicates


def test_a_folder_belongs_to_one_config(tmp_path: Path) -> None:
    folder = RunFolder(str(tmp_path / "run"))
    manifest = folder.open(Config(), "m")
    assert manifest["config_hash"] == Config().hash()
    assert manifest["versions"]["ray"]
    folder.finish_stage("questions", {"train": 3})
    again = folder.open(parse_config({}, ["engine.actors=2"], "t"), "m")
    assert again["stages"] == {"questions": {"train": 3}}
    with pytest.raises(ConfigError) as error:
        folder.open(parse_config({}, ["debate.agents=7"], "t"), "m")
    assert "run of another config (debate.agents: 5 -> 7)" in str(error.value)
    assert folder.stage("questions") == {"train": 3}


def test_a_submitted_job_has_no_relative_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    RunFolder("runs/demo")
    monkeypatch.setenv(RAY_JOB_CONFIG_JSON_ENV_VAR, "{}")
    with pytest.raises(ConfigError, match=r"run folder=runs/demo: .* where every node finds it"):
        RunFolder("runs/demo")
    assert RunFolder(str(tmp_path)).uri == str(tmp_path)


def test_more_may_fail_when_a_run_goes_on(tmp_path: Path) -> None:
    folder = RunFolder(str(tmp_path))
    manifest = folder.open(Config(), "m")
    more = parse_config({}, ["engine.max_failed_fraction=0.5"], "t")
    assert folder.open(more, "m") == manifest
    # As a version left it in which that was no operational field.
    manifest["identity"]["engine.max_failed_fraction"] = 0.05
    folder.write_json(manifest, "manifest.json")
    assert folder.open(Config(), "m") == folder.open(more, "m") == manifest


def test_a_run_that_goes_on_under_other_versions_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def under(**now: str) -> dict[str, Any]:
        monkeypatch.setattr(run_folder, "versions", lambda: now)
        return RunFolder(str(tmp_path)).open(Config(), "m")

    first = under(ray="2.60.0", vllm="0.10", torch="2.8")
    assert under(ray="2.60.0", vllm="0.10", torch="2.8") == first
    assert "resumed_versions" not in first and not capsys.readouterr().err
    under(ray="2.61.0", torch="2.8")
    found = under(ray="2.61.0", torch="2.8")
    (resumed,) = found["resumed_versions"]
    assert resumed["versions"] == {"ray": "2.61.0", "vllm": None}
    assert resumed["at"] >= found["created"]
    assert found["versions"] == first["versions"]
    err = capsys.readouterr().err
    assert err.count("warning: ") == 1
    assert "ray: '2.60.0' -> '2.61.0'; vllm: '0.10' -> None" in err and "traces" in err
    monkeypatch.setattr(run_folder, "versions", lambda: first["versions"])
    for _ in range(2):
        RunFolder(str(tmp_path)).note_versions()  # of an evaluation
    assert capsys.readouterr().err.count("warning: ") == 1
    stored = RunFolder(str(tmp_path)).read_json("manifest.json")
    assert [one["versions"] for one in stored["resumed_versions"]] == [
        resumed["versions"],
        {"ray": "2.60.0", "vllm": "0.10"},
    ]
    assert run_folder.last_versions(stored) == first["versions"]


def test_a_broken_manifest_is_named(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(ConfigError, match=r"manifest.json: not valid JSON"):
        RunFolder(str(tmp_path)).open(Config(), "m")


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    folder = RunFolder(str(tmp_path / "file" / "run"))
    with pytest.raises(ConfigError, match=r"output=.*cannot write"), folder.locked():
        pass
    with pytest.raises(ConfigError, match=r"output=.*cannot write"):
        folder.open(Config(), "m")


def test_too_little_space_is_told_before_the_run(tmp_path: Path) -> None:
    folder = RunFolder(str(tmp_path / "not" / "there" / "yet"))
    folder.need_space(1)
    with pytest.raises(ConfigError, match=r"GB free, the run needs about 1000000000.00 GB"):
        folder.need_space(10**18)


def test_one_process_at_a_time(tmp_path: Path) -> None:
    folder = RunFolder(str(tmp_path))
    with folder.locked(), pytest.raises(ConfigError, match="another process"), folder.locked():
        pass
    with folder.locked():
        pass


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    folder = RunFolder(str(tmp_path))
    folder.write_json({"a": 1}, "sub", "x.json")
    with pytest.raises(TypeError):
        folder.write_json({"a": object()}, "sub", "x.json")
    assert folder.read_json("sub", "x.json") == {"a": 1}
    assert os.listdir(tmp_path / "sub") == ["x.json"]


def test_a_directory_is_replaced_whole(tmp_path: Path) -> None:
    folder = RunFolder(str(tmp_path))

    def write(name: str) -> None:
        folder.write_directory(lambda path: (Path(path) / name).touch(), "students/one")

    write("old")
    write("new")
    assert os.listdir(tmp_path / "students" / "one") == ["new"]
    assert os.listdir(tmp_path) == ["students"]  # nothing is left of where it was filled
    with pytest.raises(ZeroDivisionError):
        folder.write_directory(write_half, "students/one")
    assert os.listdir(tmp_path / "students" / "one") == ["new"]


def write_half(path: str) -> None:
    (Path(path) / "half").touch()
    raise ZeroDivisionError


def test_attempts_add_up_whatever_ends_them(tmp_path: Path) -> None:
    folder = RunFolder(str(tmp_path))
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt), folder.attempt("train", actors=2):
        time.sleep(0.3)
        raise KeyboardInterrupt
    with folder.attempt("train", actors=3):
        time.sleep(0.1)
    elapsed = time.monotonic() - started
    with folder.attempt("report", actors=3):
        pass
    found = folder.attempts("train")
    assert found["attempts"] == 2
    assert 0.4 <= found["seconds"] <= elapsed + 0.1
    first, second = folder.read_json("attempts.json")["train"]
    assert (first["actors"], second["actors"]) == (2, 3)
    assert found["actor_seconds"] == pytest.approx(2 * first["seconds"] + 3 * second["seconds"])


def test_a_killed_attempt_leaves_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_folder, "BEAT_S", 0.1)
    folder = RunFolder(str(tmp_path))
    started = time.monotonic()
    with folder.attempt("train", actors=1):
        # what a SIGKILL would leave now
        while (written := folder.attempts("train")["seconds"]) < 0.3:
            assert time.monotonic() - started < 30
            time.sleep(0.02)
        assert written <= time.monotonic() - started + 0.1


def model_folder(path: Path, *names: str) -> Path:
    path.mkdir()
    for name in names:
        (path / name).write_text("{}")
    return path


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ((), "has no config.json"),
        (("config.json",), "has no .safetensors weights"),
        (("config.json", "model.safetensors"), "has no tokenizer, expected one of"),
        (("config.json", "model.safetensors", "tokenizer.json"), "has no chat template"),
    ],
)
def test_what_a_model_folder_lacks_is_named(
    tmp_path: Path, names: tuple[str, ...], expected: str
) -> None:
    folder = model_folder(tmp_path / "m", *names)
    with pytest.raises(ConfigError) as error:
        resolve_model(str(folder))
    assert expected in str(error.value)
    assert str(folder) in str(error.value)


def test_model_names(tmp_path: Path) -> None:
    names = ("config.json", "model.safetensors", "tokenizer.json")
    folder = model_folder(tmp_path / "m", *names)
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": "x"}))
    assert resolve_model(str(folder)) == str(folder)
    assert resolve_model("Qwen/Qwen3-0.6B") == "Qwen/Qwen3-0.6B"
    with pytest.raises(ConfigError, match="no such folder"):
        resolve_model(str(tmp_path / "missing"))
    with pytest.raises(ConfigError, match="expected tiny, a folder, a URI, or owner/name"):
        resolve_model("gpt")


@given(st.lists(st.sampled_from("abcdefgh"), max_size=12), st.integers(1, 5))
def test_duplicates_are_found_in_slices_of_any_size(items: list[str], in_memory: int) -> None:
    def read() -> object:
        return iter([(item, str(i)) for i, item in enumerate(items)])

    found = list(duplicates(read, len(items), in_memory))  # type: ignore[arg-type]
    assert sorted(int(again) for _, _, again in found) == [
        i for i, item in enumerate(items) if item in items[:i]
    ]
    for item, first, again in found:
        assert items.index(item) == int(first)
        assert items[int(again)] == item
