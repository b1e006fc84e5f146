"""What a stage does about debates that failed, in this attempt and in earlier ones."""

import io
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from agentark_ray import workspace
from agentark_ray.config import Config, parse_config
from agentark_ray.run_folder import RunFolder
from agentark_ray.traces.generate import Incomplete, count_traces, verify_traces
from agentark_ray.traces.progress import Counts, too_many_failed
from agentark_ray.workspace import Workspace

TOTAL = 20
TOKENS = ("output_tokens", "prompt_tokens", "cached_tokens")
OK, FAILED, TOO_LONG = "ok", "failed", "prompt_too_long"


def config_of(path: Path, *overrides: str) -> Config:
    return parse_config({}, [f"output={path}", *overrides], "test")


def block(path: Path, name: str, statuses: Sequence[str]) -> None:
    """A committed block of traces that ended so."""
    for folder in ("traces", "traces_checkpoint"):
        (path / folder).mkdir(parents=True, exist_ok=True)
    ids = [f"{name}-{number}" for number in range(len(statuses))]
    tokens = {column: [1] * len(ids) for column in TOKENS}
    rows = pa.table({"debate_id": ids, "status": list(statuses), **tokens})
    pq.write_table(rows, path / "traces" / f"{name}-0.parquet")
    pq.write_table(rows.select(["debate_id"]), path / "traces_checkpoint" / f"{name}.parquet")


@pytest.fixture
def without_ray(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Tasks run here, and generation holds what lacks, of which nothing fails.

    Returns:
        With what each Progress was started.
    """
    started: list[tuple[int, ...]] = []

    def start_progress(*args: int) -> Any:
        started.append(args)
        return SimpleNamespace(counts=SimpleNamespace(remote=lambda: (Counts(), 0.0)))

    def generate(folder: RunFolder, *rest: Any) -> None:
        block(Path(folder.uri), "rest", [OK] * (TOTAL - count_traces(folder, "traces")["rows"]))

    def remote(function: Callable[..., Any], *args: Any) -> Any:
        return function(*args)

    monkeypatch.setattr(workspace, "remote", remote)
    monkeypatch.setattr(workspace, "start_progress", start_progress)
    monkeypatch.setattr(workspace, "generate_traces", generate)
    monkeypatch.setattr(workspace, "watch", lambda *args: nullcontext())
    monkeypatch.setattr(workspace, "ray", SimpleNamespace(get=lambda found: found))
    return started


def hold(config: Config) -> dict[str, int]:
    space = Workspace(config, Console(file=io.StringIO()))
    return space.hold("debates", "m", {"debate"}, "train", "traces", TOTAL)


def test_failures_of_earlier_attempts_count(
    tmp_path: Path, without_ray: list[tuple[int, ...]]
) -> None:
    block(tmp_path, "first", [FAILED, FAILED, TOO_LONG, OK])
    figures = hold(config_of(tmp_path, "engine.max_failed_fraction=0.2"))
    assert without_ray == [(TOTAL, 4, 3, 1)]
    assert (figures["rows"], figures["failed"], figures["prompts_too_long"]) == (TOTAL, 3, 1)


def test_a_run_that_failed_too_often_does_not_go_on(
    tmp_path: Path, without_ray: list[tuple[int, ...]]
) -> None:
    block(tmp_path, "first", [FAILED, FAILED, OK])
    with pytest.raises(Incomplete, match=r"traces: 2 of 20 debates failed, at most 1 may"):
        hold(config_of(tmp_path))
    assert without_ray == []


def test_a_higher_allowance_lets_a_run_end(
    tmp_path: Path, without_ray: list[tuple[int, ...]]
) -> None:
    block(tmp_path, "all", [FAILED] * 5 + [OK] * (TOTAL - 5))
    with pytest.raises(Incomplete, match=r"5 of 20 debates failed, at most 1 may"):
        hold(config_of(tmp_path))
    assert hold(config_of(tmp_path, "engine.max_failed_fraction=0.25"))["failed"] == 5
    assert without_ray == []


def test_prompts_that_do_not_fit_are_failures(tmp_path: Path) -> None:
    block(tmp_path, "some", [TOO_LONG] + [OK] * (TOTAL - 1))
    folder = RunFolder(str(tmp_path))
    assert verify_traces(folder, Config(), "traces", TOTAL)["failed"] == 1
    block(tmp_path, "some", [TOO_LONG] * (TOTAL - 2) + [FAILED] * 2)
    words = r"20 of 20 debates failed \(2 errors, 18 prompts too long\), at most 1 may"
    with pytest.raises(Incomplete, match=words):
        verify_traces(folder, Config(), "traces", TOTAL)


def test_what_is_said_of_failures() -> None:
    assert too_many_failed(3, 3, 60, 3) is None
    assert too_many_failed(4, 0, 60, 3) == (
        "4 of 60 debates failed, at most 3 may (engine.max_failed_fraction)"
    )
    assert too_many_failed(4, 1, 60, 3) == (
        "4 of 60 debates failed (3 errors, 1 prompts too long), at most 3 may"
        " (engine.max_failed_fraction)"
    )
