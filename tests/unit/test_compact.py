"""Compaction keeps every row once, also when it is killed, and what a resumed run looks at."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import dataset
from typer.testing import CliRunner

from agentark_ray.cli import app
from agentark_ray.config import ConfigError
from agentark_ray.run_folder import RunFolder
from agentark_ray.traces.compact import JOURNAL, PENDING, compact, groups
from agentark_ray.traces.generate import drop_unfinished

ROWS, FILES = 40, 12


def write(folder: Path) -> None:
    """Trace files as a job writes them, and its committed blocks."""
    for name in ("traces", "traces_checkpoint"):
        (folder / name).mkdir(parents=True)
    schema = pa.schema(
        [pa.field("debate_id", pa.string(), nullable=False), ("text", pa.string())],
        metadata={"agentark": "3"},
    )
    for block in range(FILES):
        ids = [f"{block:02}-{row:03}" for row in range(ROWS)]
        rows = pa.table({"debate_id": ids, "text": [f"{i} says {hash(i)}" for i in ids]}, schema)
        pq.write_table(rows, folder / "traces" / f"block{block:02}-0.parquet", compression="zstd")
        (folder / "traces_checkpoint" / f"block{block:02}.parquet").touch()


def held(folder: Path) -> list[tuple[str, str]]:
    table = dataset.dataset(folder / "traces", format="parquet").to_table()
    return sorted(zip(*(table[name].to_pylist() for name in table.schema.names), strict=True))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "traces").iterdir())


def test_few_files_have_the_same_rows(tmp_path: Path) -> None:
    write(tmp_path)
    before = held(tmp_path)
    size = (tmp_path / "traces" / "block00-0.parquet").stat().st_size
    done = compact(RunFolder(str(tmp_path)), 5 * size)
    assert (done.files_before, done.rows) == (FILES, ROWS * FILES)
    assert done.files == len(names(tmp_path)) < FILES / 2
    assert held(tmp_path) == before
    first = pq.read_schema(tmp_path / "traces" / "block00-0.parquet")
    assert first.metadata == {b"agentark": b"3"} and not first.field("debate_id").nullable
    assert not (tmp_path / JOURNAL).exists()


def test_a_resumed_run_takes_the_files_for_its_own(tmp_path: Path) -> None:
    write(tmp_path)
    before = held(tmp_path)
    folder = RunFolder(str(tmp_path))
    assert compact(folder, 10**9).files == 1
    drop_unfinished(folder, "traces")
    assert held(tmp_path) == before
    assert compact(folder, 10**9).files_before == 1


@pytest.mark.parametrize("length", [None, 99], ids=["whole", "truncated"])
@pytest.mark.parametrize("block", [0, 5])
def test_an_interrupted_run_keeps_its_committed_blocks(
    tmp_path: Path, block: int, length: int | None
) -> None:
    """The driver was killed before a block was committed: the next run holds it again."""
    write(tmp_path)
    before = held(tmp_path)
    pending = tmp_path / "traces_checkpoint" / f"block{block:02}.parquet"
    pending.rename(pending.with_suffix(".pending.parquet"))
    data = tmp_path / "traces" / f"block{block:02}-0.parquet"
    data.write_bytes(data.read_bytes()[:length])
    folder = RunFolder(str(tmp_path))
    done = compact(folder, 10**9)
    assert (done.files_before, done.files, done.rows) == (FILES - 1, 1, ROWS * (FILES - 1))
    drop_unfinished(folder, "traces")
    assert held(tmp_path) == [row for row in before if not row[0].startswith(f"{block:02}-")]


def test_without_checkpoints_every_file_is_kept(tmp_path: Path) -> None:
    write(tmp_path)
    before = held(tmp_path)
    shutil.rmtree(tmp_path / "traces_checkpoint")
    assert compact(RunFolder(str(tmp_path)), 10**9).files == 1
    assert held(tmp_path) == before


@pytest.mark.parametrize("step", ["written", "noted", "moved", "deleted"])
def test_a_killed_compaction_is_finished_by_the_next(tmp_path: Path, step: str) -> None:
    write(tmp_path / "done")
    compact(RunFolder(str(tmp_path / "done")), 10**9)
    (merged,) = (tmp_path / "done" / "traces").iterdir()
    run = tmp_path / "run"
    write(run)
    before = held(run)
    small = names(run)
    if step == "written":
        (run / "traces" / PENDING).write_bytes(merged.read_bytes()[:99])
    else:
        (run / JOURNAL).write_text(json.dumps({"out": "traces", "files": small}))
        place = PENDING if step == "noted" else small[0]
        (run / "traces" / place).write_bytes(merged.read_bytes())
    if step == "deleted":
        for name in small[1:5]:
            (run / "traces" / name).unlink()
    done = compact(RunFolder(str(run)), 10**9)
    assert (done.files, names(run)) == (1, [small[0]])
    assert held(run) == before
    assert not (run / JOURNAL).exists()


@given(st.lists(st.integers(1, 100), max_size=40), st.integers(1, 300))
def test_groups_are_neighbours_that_fit(sizes: list[int], target: int) -> None:
    found = list(groups(sizes, target))
    taken = [index for group in found for index in group]
    assert taken == sorted(set(taken))
    for group in found:
        assert len(group) > 1
        assert sum(sizes[index] for index in group) <= target
        assert all(2 * sizes[index] < target for index in group)


def test_groups_by_hand() -> None:
    assert list(groups([1, 1, 1, 1, 1], 2)) == []  # half of it is enough
    assert list(groups([1, 1, 1, 1, 1], 3)) == [[0, 1, 2], [3, 4]]
    assert list(groups([1, 9, 1, 1], 10)) == [[2, 3]]


def test_the_command(tmp_path: Path) -> None:
    write(tmp_path / "run")
    done = CliRunner().invoke(app, ["traces", "compact", str(tmp_path / "run")])
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith(f"{FILES} files -> 1, {ROWS * FILES} debates")
    (tmp_path / "empty").mkdir()
    missing = CliRunner().invoke(app, ["traces", "compact", str(tmp_path / "empty")])
    assert (missing.exit_code, "no traces" in missing.stderr) == (2, True)
    with pytest.raises(ConfigError, match="no traces"):
        compact(RunFolder(str(tmp_path / "empty")), 1)
