"""Labels of hand-made traces: what is extracted, graded and counted anew, and what is not."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agentark_ray.config import ConfigError
from agentark_ray.grading.base import Grader
from agentark_ray.grading.numeric import NUMERIC
from agentark_ray.label_rows import (
    LABEL_SCHEMA,
    PARTS,
    Labels,
    apply_label,
    fingerprint,
    label_store,
    labelled_traces,
    open_labels,
    part_file,
    trace_files,
    trace_folder,
)
from agentark_ray.run_folder import RunFolder
from agentark_ray.traces.generate import Incomplete
from agentark_ray.traces.label import failed_label, relabel
from agentark_ray.traces.label_figures import agreement, count_labels
from agentark_ray.traces.label_job import Work, label_part, label_row, write_part, write_parts
from agentark_ray.traces.schema import TRACE_SCHEMA
from tests.unit.labelled import trace
from tests.unit.transcripts import failed, turn


def label(stored: dict[str, Any], aggregate: str = "vote", grader: Grader = NUMERIC) -> Any:
    return asyncio.run(relabel(stored, grader, aggregate))


def test_every_turn_and_vote_is_graded_anew() -> None:
    made = label(trace("4 5 4", "5 5 nothing"))
    assert [t["answer"] for t in made["turns"]] == ["4", "5", "4", "5", "5", None]
    assert [t["verdict"] for t in made["turns"]] == [
        *("correct", "incorrect", "correct"),
        *("incorrect", "incorrect", "unparsable"),
    ]
    assert {t["stored"] for t in made["turns"]} == {"incorrect"}
    assert made["votes"] == [
        {"round": 0, "answer": "4", "count": 2, "agents": 3, "verdict": "correct"},
        {"round": 1, "answer": "5", "count": 2, "agents": 3, "verdict": "incorrect"},
    ]
    assert (made["final_answer"], made["verdict"], made["stored"]) == ("5", *["incorrect"] * 2)
    assert (made["source"], made["error"]) == ("grader:numeric", None)


def test_aliases_are_right_too() -> None:
    made = label(trace("4 7", aliases=["7.0"]))
    assert [t["verdict"] for t in made["turns"]] == ["correct", "correct"]


def test_the_final_answer_is_aggregated_as_the_run_did() -> None:
    stored = trace("4 4 5", "5 6 4")
    stored["turns"][5]["mean_logprob"] = -0.1  # the others: -0.5
    assert label(stored, "vote")["final_answer"] == "5"
    assert label(stored, "vote_all_rounds")["final_answer"] == "4"
    assert label(stored, "weighted_vote")["final_answer"] == "4"


@pytest.mark.parametrize("closing", ["aggregator", "judge"])
def test_who_closes_a_debate_has_the_answer(closing: str) -> None:
    stored = trace("4 5", "4 4", roles="agent agent")
    stored["turns"].append({**turn(2, 2, "incorrect", "it is 6"), "role": closing})
    made = label(stored)
    assert made["final_answer"] == made["turns"][-1]["answer"] == "6"
    assert [vote["answer"] for vote in made["votes"]] == ["4", "4"]


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [("affirmative", "4"), ("Negative", "5"), ("undecided", "4"), ("none of it", "4")],
)
def test_a_judge_decides_for_a_side(verdict: str, expected: str) -> None:
    stored = trace("4 5 0", "4 5 0", roles="affirmative negative judge")
    stored["turns"][5]["text"] = f"2 against 1. Verdict: {verdict}"
    made = label(stored)
    assert made["final_answer"] == expected
    assert [(v["answer"], v["count"], v["agents"]) for v in made["votes"]] == [("4", 1, 2)] * 2


def test_verifiers_votes_stay_and_their_answer_is_the_solvers() -> None:
    stored = trace("5 1 1", "4 1 1", roles="solver verifier verifier")
    made = label(stored)
    assert (made["final_answer"], made["verdict"]) == ("4", "correct")
    assert [(v["answer"], v["count"], v["verdict"]) for v in made["votes"]] == [
        ("5", 9, "incorrect"),
        ("4", 9, "correct"),
    ]


def test_a_failed_debate_keeps_having_no_answer() -> None:
    made = label(failed("debate", "q1", "rr") | {"aliases": []})
    assert (made["final_answer"], made["verdict"]) == (None, None)
    assert len(made["turns"]) == 2


def test_without_a_gold_answer_there_is_no_verdict() -> None:
    made = label(trace("4 5", gold=None))
    assert [t["verdict"] for t in made["turns"]] == [None, None]
    assert (made["final_answer"], made["verdict"]) == ("4", None)


def test_traces_of_the_first_version_have_agents_only() -> None:
    stored = trace("4 5", "4 4")
    del stored["aliases"]
    for said in stored["turns"]:
        del said["role"]
    assert label(stored)["votes"][1]["count"] == 2


def test_what_a_grader_cannot_bear_is_a_row_with_its_error(tmp_path: Path) -> None:
    def refuse(text: str) -> str:
        raise RecursionError("planted")

    stored = trace("4 5")
    folder = RunFolder(str(tmp_path))
    work = Work(traces=folder, store=folder, grader=None, aggregate="vote")
    broken = Grader(name="x", instruction="", extract=refuse, equal=lambda a, b: True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Work, "grader_of", lambda self, row: broken)
        made = asyncio.run(label_row(work, stored))
    assert made == failed_label(stored, "grader:x", RecursionError("planted"))
    assert made["error"] == "RecursionError: planted"
    assert [t["verdict"] for t in made["turns"]] == [None, None]
    applied = apply_label(stored, made)
    assert [t["verdict"] for t in applied["turns"]] == [None, None]


# Cohen's own layout: 20 both right, 15 both wrong, 5 grader only, 10 judge only. p_o = 0.7,
# p_e = 0.5 * 0.6 + 0.5 * 0.4 = 0.5, kappa = 0.4.
PAIRS = {
    ("correct", "correct"): 20,
    ("correct", "incorrect"): 5,
    ("incorrect", "correct"): 10,
    ("incorrect", "incorrect"): 12,
    ("unparsable", "incorrect"): 3,
    ("correct", "unparsable"): 7,  # the judge said neither: not compared
    ("timeout", "correct"): 2,  # the grader does not know: not compared
}


def test_agreement_by_hand() -> None:
    found = agreement(PAIRS)
    assert found["compared"] == 50
    assert found["accuracy"] == pytest.approx(0.7)
    assert found["kappa"] == pytest.approx(0.4)
    assert found["confusion"]["correct"] == {"correct": 20, "incorrect": 5, "unparsable": 7}


def test_agreement_of_nothing_is_unknown() -> None:
    assert agreement({})["accuracy"] is None
    same = agreement({("correct", "correct"): 4})
    assert (same["accuracy"], same["kappa"]) == (1.0, None)  # two who always say yes


def write_traces(folder: Path, rows: Sequence[dict[str, Any]], **options: Any) -> RunFolder:
    """RUN/traces with one file; the run's folder."""
    (folder / "traces").mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist(list(rows), schema=TRACE_SCHEMA)
    pq.write_table(table, folder / "traces" / "a.parquet", **options)
    return RunFolder(str(folder))


def made_labels(run: RunFolder, part_rows: int) -> Labels:
    """Version v1, made without Ray."""
    traces = trace_folder(run.uri)
    store = label_store(traces, "v1")
    work = Work(traces=traces, store=store, grader=None, aggregate="vote")
    files = trace_files(traces)
    write_parts(work, files, part_rows)
    labels = Labels(traces=traces, store=store)
    for part in labels.parts():
        label_part(work, part)
    manifest = {"traces": {"fingerprint": fingerprint(traces, files)}, "figures": {}}
    store.write_json(manifest, "manifest.json")
    return labels


def many(count: int) -> list[dict[str, Any]]:
    """Traces whose right answer is their number; odd ones are answered 4."""
    return [
        trace(f"{i if i % 2 == 0 else 4} 5", debate_id=f"d{i:04}", gold=str(i))
        for i in range(10, 10 + count)
    ]


@pytest.mark.parametrize("part_rows", [1, 7, 40, 1000])
@pytest.mark.parametrize("group", [16, 1000])
def test_every_trace_meets_its_own_label(tmp_path: Path, part_rows: int, group: int) -> None:
    rows = many(100)
    run = write_traces(tmp_path, rows, row_group_size=group)
    labels = made_labels(run, part_rows)
    parts = list(labels.parts())
    assert sum(part["rows"] for part in parts) == 100
    assert len(parts) <= -(-100 // group) * 32
    found = list(labelled_traces(run, "traces", "v1"))
    assert [r["debate_id"] for r in found] == [r["debate_id"] for r in rows]
    for new, old in zip(found, rows, strict=True):
        even = int(old["gold"]) % 2 == 0
        assert new["turns"][0]["verdict"] == ("correct" if even else "incorrect")
        assert new["verdict"] == new["votes"][0]["verdict"] == new["turns"][0]["verdict"]
        assert new["turns"][0]["text"] == old["turns"][0]["text"]
    figures = count_labels(labels)
    assert (figures["debates"], figures["labels"], figures["failed"]) == (100, 200, 0)
    assert figures["verdicts"] == {"correct": 50, "incorrect": 150}
    assert figures["final_verdicts"] == {"correct": 50, "incorrect": 50}
    assert figures["changed"] == {"incorrect -> correct": 50}
    assert figures["judge"] is None


def test_light_columns_get_their_verdicts(tmp_path: Path) -> None:
    run = write_traces(tmp_path, many(3))
    made_labels(run, 2)
    light = list(labelled_traces(run, "traces", "v1", ["status", "turns.list.element.verdict"]))
    assert light[0] == {
        "debate_id": "d0010",
        "status": "ok",
        "turns": [{"verdict": "correct"}, {"verdict": "incorrect"}],
    }
    stored = list(labelled_traces(run, "traces", None, ["status", "turns.list.element.verdict"]))
    assert stored[0] == {
        "status": "ok",
        "turns": [{"verdict": "incorrect"}, {"verdict": "incorrect"}],
    }


def test_one_trace_finds_its_label(tmp_path: Path) -> None:
    rows = many(50)
    labels = made_labels(write_traces(tmp_path, rows), 8)
    assert labels.row(rows[42])["turns"][0]["verdict"] == "correct"
    assert labels.row(rows[43])["turns"][0]["verdict"] == "incorrect"


def test_a_missing_or_short_label_file_is_found(tmp_path: Path) -> None:
    labels = made_labels(write_traces(tmp_path, many(20)), 5)
    first, second, *_ = labels.parts()
    (tmp_path / "labels/v1/left.parquet.1.tmp").touch()
    table = pq.read_table(tmp_path / "labels/v1" / part_file(second))
    write_part(labels.store, second, [table.slice(1)])
    with pytest.raises(Incomplete, match=r"expected the labels of 5 debates, found 4"):
        count_labels(labels)
    assert not list((tmp_path / "labels/v1").glob("*.tmp"))
    (tmp_path / "labels/v1" / part_file(first)).unlink()
    with pytest.raises(Incomplete, match="no such label file"):
        count_labels(labels)


def test_labels_of_other_traces_are_refused(tmp_path: Path) -> None:
    run = write_traces(tmp_path, many(20))
    made_labels(run, 5)
    traces = trace_folder(run.uri)
    with pytest.raises(ConfigError, match=r"no such labels \(there is: v1\)"):
        open_labels(traces, "v2")
    with pytest.raises(ConfigError, match="up to 64 letters"):
        open_labels(traces, "../v1")
    write_traces(tmp_path, many(21))
    with pytest.raises(ConfigError, match="the traces have changed"):
        open_labels(traces, "v1")
    with pytest.raises(ValueError, match=r"debate d0010 met the label of d0011"):
        apply_label({"debate_id": "d0010"}, {"debate_id": "d0011"})


def test_an_unfinished_version_is_no_version(tmp_path: Path) -> None:
    run = write_traces(tmp_path, many(5))
    labels = made_labels(run, 5)
    labels.store.write_json({"traces": {}}, "manifest.json")
    with pytest.raises(ConfigError, match="labelling has not finished"):
        next(labelled_traces(run, "traces", "v1"))


def test_labels_lie_beside_any_trace_folder(tmp_path: Path) -> None:
    write_traces(tmp_path, many(1))
    assert label_store(trace_folder(str(tmp_path)), "v1").uri == f"{tmp_path}/labels/v1"
    inside = trace_folder(str(tmp_path / "traces"))
    assert label_store(inside, "v1").uri == f"{tmp_path}/labels/v1"
    other = RunFolder(str(tmp_path / "eval" / "base"))
    assert label_store(other, "v1").uri == f"{tmp_path}/eval/base_labels/v1"


def test_traces_of_an_unknown_task_need_a_grader(tmp_path: Path) -> None:
    rows = [*many(3), trace("4", task="riddles", debate_id="x")]
    run = write_traces(tmp_path, rows)
    traces = trace_folder(run.uri)
    work = Work(traces=traces, store=label_store(traces, "v1"), grader=None, aggregate="vote")
    with pytest.raises(ConfigError, match=r"task riddles, which is not known.*--grader numeric"):
        write_parts(work, trace_files(traces))
    assert not work.store.exists(*PARTS)
    named = Work(traces=traces, store=work.store, grader="numeric", aggregate="vote")
    assert write_parts(named, trace_files(traces)) == 4


def test_baselines_vote_over_their_last_round(tmp_path: Path) -> None:
    folder = RunFolder(str(tmp_path))
    work = Work(traces=folder, store=folder, grader=None, aggregate="vote_all_rounds")
    arms = ("debate", "single_check", "self_consistency")
    assert Counter(work.aggregate_of({"arm": arm}) for arm in arms) == {
        "vote_all_rounds": 1,
        "vote": 2,
    }


def test_the_label_schema_has_its_version() -> None:
    assert (LABEL_SCHEMA.metadata or {})[b"agentark.label_schema_version"] == b"1"
