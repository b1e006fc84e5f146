"""Stored transcripts are graded again in place; no Ray."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agentark_ray.config import parse_config
from agentark_ray.grading.registry import GRADERS
from agentark_ray.run_folder import RunFolder
from agentark_ray.traces.regrade import _regrade_files, aggregate_of
from agentark_ray.traces.schema import TRACE_SCHEMA
from tests.unit.debates import RIGHT, WRONG, debate, said

CONFIG = parse_config({"debate": {"aggregate": "vote_all_rounds"}}, (), "test")


def vote(round_: int, answer: str, count: int, verdict: str) -> dict[str, Any]:
    return {"round": round_, "answer": answer, "count": count, "agents": 3, "verdict": verdict}


def stored(**more: Any) -> dict[str, Any]:
    """First two are right, then one; the last round alone has another answer than both."""
    rounds = (["#### 4", "#### 4", "#### 5"], ["#### 5", "#### 4", "#### 5"])
    turns = [
        [said(text, RIGHT if text.endswith("4") else WRONG) for text in texts] for texts in rounds
    ]
    votes = [vote(0, "4", 2, RIGHT), vote(1, "5", 2, WRONG)]
    row = debate(*turns, aliases=[], votes=votes, final_answer="4", verdict=RIGHT, **more)
    return {name: row.get(name) for name in TRACE_SCHEMA.names}


def write(tmp_path: Path, *rows: dict[str, Any]) -> str:
    path = tmp_path / "0.parquet"
    pq.write_table(pa.Table.from_pylist(list(rows), schema=TRACE_SCHEMA), path)
    return str(path)


def graded_again(tmp_path: Path, path: str) -> tuple[dict[str, int], list[dict[str, Any]]]:
    counts = _regrade_files(RunFolder(str(tmp_path)), CONFIG, [path])
    return dict(counts), pq.read_table(path).to_pylist()


def test_what_was_graded_wrongly_is_mended_and_nothing_else(tmp_path: Path) -> None:
    good = stored(debate_id="good")
    bad = stored(debate_id="bad") | {"final_answer": "5", "verdict": WRONG}
    bad["turns"] = [{**turn, "answer": None, "verdict": "unparsable"} for turn in good["turns"]]
    bad["votes"] = [vote(0, "7", 1, WRONG), vote(1, "7", 1, WRONG)]
    failed = stored(debate_id="failed", status="failed") | {"final_answer": None, "verdict": None}
    path = write(tmp_path, good, bad, failed)
    before = pq.read_table(path)
    counts, rows = graded_again(tmp_path, path)
    assert counts == {"answers": 3, "changed": 1}
    assert pq.read_table(path).schema.equals(before.schema, check_metadata=True)
    kept = before.to_pylist()
    assert (rows[0], rows[2]) == (kept[0], kept[2])
    assert rows[1] == {**kept[0], "debate_id": "bad"}
    stamp = Path(path).stat().st_mtime_ns
    assert graded_again(tmp_path, path)[0] == {"answers": 3, "changed": 0}
    assert Path(path).stat().st_mtime_ns == stamp  # what does not change is not written


def test_arms_have_their_own_aggregation(tmp_path: Path) -> None:
    """Over all rounds it is a draw of three, and the first leader stays; in the last round 5."""
    path = write(tmp_path, stored(), stored(arm="self_consistency"))
    _, rows = graded_again(tmp_path, path)
    assert [row["final_answer"] for row in rows] == ["4", "5"]
    teams = {
        "evaluate": {"teams": {"w": {"aggregate": "weighted_vote"}, "s": {"protocol": "single"}}}
    }
    config = parse_config({**teams, "debate": {"aggregate": "judge"}}, (), "test")
    assert [aggregate_of(config, arm) for arm in ("debate", "w", "s", "student")] == [
        *("vote", "weighted_vote", "vote", "vote")
    ]


def test_a_grader_that_fails_names_the_debate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(type(GRADERS["numeric"]), "extract", fail)
    path = write(tmp_path, stored())
    with pytest.raises(RuntimeError) as error:
        graded_again(tmp_path, path)
    assert error.value.__notes__ == ["while the debate d was graded again"]
