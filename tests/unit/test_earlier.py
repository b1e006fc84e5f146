"""Rows that are not asked for are set aside and come back; no Ray."""

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agentark_ray.run_folder import RunFolder
from agentark_ray.traces import earlier
from agentark_ray.traces.earlier import keep_asked
from agentark_ray.traces.generate import count_traces, drop_unfinished, stored_ids

OUT = "eval/transcripts/base"


def write(folder: RunFolder, name: str, ids: Iterable[str]) -> None:
    there = list(ids)
    columns = {"debate_id": there, "status": ["ok"] * len(there)}
    tokens = dict.fromkeys(("output_tokens", "prompt_tokens", "cached_tokens"), [1] * len(there))
    path = Path(folder.inner(f"{name}.parquet"))
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({**columns, **tokens}), path)


def block(folder: RunFolder, name: str, ids: str) -> None:
    """A block of OUT, as Ray Data leaves it."""
    write(folder, f"{OUT}/{name}-0", ids)
    write(folder, f"{OUT}_checkpoint/{name}", ids)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    found = RunFolder(str(tmp_path))
    block(found, "x", "abc")
    block(found, "y", "de")
    return found


def ask(folder: RunFolder, ids: str) -> dict[str, int]:
    write(folder, "requests/base", ids)
    moved = keep_asked(folder, "base", OUT)
    drop_unfinished(folder, OUT)  # all that is left belongs to a finished block
    assert stored_ids(folder, f"{OUT}_checkpoint") == stored_ids(folder, OUT)
    assert count_traces(folder, OUT)["rows"] == len(stored_ids(folder, OUT))
    return moved


def there(folder: RunFolder) -> tuple[str, str]:
    found = (stored_ids(folder, name) for name in (OUT, f"{OUT}_earlier"))
    return tuple("".join(sorted(ids)) for ids in found)  # type: ignore[return-value]


def test_only_what_is_asked_stays_and_comes_back(folder: RunFolder) -> None:
    assert ask(folder, "abcdef") == {"back": 0, "aside": 0}
    assert there(folder) == ("abcde", "")
    assert ask(folder, "adf") == {"back": 0, "aside": 3}
    assert there(folder) == ("ad", "bce")
    block(folder, "z", "f")
    assert ask(folder, "bef") == {"back": 2, "aside": 2}
    assert there(folder) == ("bef", "acd")
    assert ask(folder, "bef") == {"back": 0, "aside": 0}
    assert ask(folder, "abcdef") == {"back": 3, "aside": 0}
    assert there(folder) == ("abcdef", "")
    assert ask(folder, "x") == {"back": 0, "aside": 6}
    assert there(folder) == ("", "abcdef")


def test_a_folder_that_is_not_there_yet_is_no_error(tmp_path: Path) -> None:
    assert ask(RunFolder(str(tmp_path)), "ab") == {"back": 0, "aside": 0}


@pytest.mark.parametrize("step", range(1, 7))
def test_it_may_be_stopped_anywhere(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    ask(folder, "ad")
    steps, replace_file = 0, earlier.replace_file

    def stop(*args: object) -> None:
        nonlocal steps
        steps += 1
        if steps == step:
            raise KeyboardInterrupt
        replace_file(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(earlier, "replace_file", stop)
    with pytest.raises(KeyboardInterrupt):
        ask(folder, "bcd")  # b and c come back, a leaves
    monkeypatch.setattr(earlier, "replace_file", replace_file)
    ask(folder, "bcd")
    assert there(folder) == ("bcd", "ae")
    ask(folder, "abcde")
    assert there(folder) == ("abcde", "")


def test_a_block_that_was_not_finished_is_dropped_first(folder: RunFolder) -> None:
    write(folder, f"{OUT}/w-0", "g")
    assert ask(folder, "abcdeg") == {"back": 0, "aside": 0}
    assert there(folder) == ("abcde", "")
