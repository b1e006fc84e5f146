"""Curation on a real Ray cluster: several rows a trace, several traces a question, doubles."""

import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import dataset

from agentark_ray.config import Config, parse_config
from agentark_ray.distill.curate import curate
from agentark_ray.distill.tokens import IGNORE
from agentark_ray.run_folder import RunFolder
from agentark_ray.tasks.arithmetic import problem
from agentark_ray.tiny.path import tiny_model_path
from agentark_ray.traces.schema import TRACE_SCHEMA
from agentark_ray.train import duplicates
from agentark_ray.train.dataset import build_dataset, load_tokenizer
from tests.unit.debates import RIGHT, WRONG, debate, said

pytestmark = [pytest.mark.usefixtures("ray_cluster"), pytest.mark.timeout(300)]
TINY = str(tiny_model_path())


def trace(number: int, replica: int = 0, **more: Any) -> dict[str, Any]:
    """A debate of three agents over two rounds on an arithmetic problem, some of them wrong."""
    story = problem("train", number)
    rng = random.Random(f"{number} {replica}")

    def turn() -> dict[str, Any]:
        slips = {rng.randrange(len(story.steps)): 1} if rng.random() < 0.5 else {}
        verdict = WRONG if slips else RIGHT
        return said(story.solution(slips), verdict, -rng.random(), prompt_tokens=1, cached_tokens=0)

    values = {
        "debate_id": f"d{number:03}-{replica}",
        "question_id": f"{number:016x}",
        "question": story.text,
        "gold": str(story.answer),
        "task": "arithmetic",
        "replica": replica,
        **more,
    }
    return debate([turn() for _ in range(3)], [turn() for _ in range(3)], **values)


def prepared(path: Path, traces: list[dict[str, Any]], *overrides: str) -> tuple[RunFolder, Config]:
    """A run folder with traces in files of ten."""
    config = parse_config({}, [f"output={path}/run", "distill.seq_len=512", *overrides], "test")
    folder = RunFolder(config.output)
    folder.filesystem.create_dir(folder.inner("traces"))
    for start in range(0, len(traces), 10):
        rows = [{name: row.get(name) for name in TRACE_SCHEMA.names} for row in traces[start:][:10]]
        table = pa.Table.from_pylist(rows, schema=TRACE_SCHEMA)
        pq.write_table(table, folder.inner("traces", f"{start:04}.parquet"))
    return folder, config


def rows_of(folder: RunFolder, name: str) -> list[dict[str, Any]]:
    return dataset.dataset(folder.inner("datasets", name)).to_table().to_pylist()


def test_a_question_gives_several_rows_and_what_fits_is_packed(tmp_path: Path) -> None:
    traces = [*(trace(i) for i in range(40)), trace(7) | {"question_id": "again"}]
    folder, config = prepared(tmp_path, traces, "distill={type: da, seq_len: 160, drafts: 1}")
    card = build_dataset(folder, config, TINY, "da")
    wanted = {
        t["question_id"]: curate([t], config.distill, "da", t["question_id"] == "again")
        for t in traces
    }
    found = {row["question_id"]: row for row in rows_of(folder, "da/rows")}
    assert found.keys() == wanted.keys()
    for question_id, row in found.items():
        made = [(r["kind"], r["messages"], r["target"]) for r in row["rows"]]
        assert made == [(r.kind, r.messages, r.target) for r in wanted[question_id].rows]
        none_fits = row["rows"] and all(r["dropped"] for r in row["rows"])
        assert row["dropped"] == ("too_long" if none_fits else wanted[question_id].dropped)
    assert found["again"]["dropped"] == "duplicate_question"
    assert card["rows"]["solve"] >= card["kept"] > 20
    assert card["rows"]["correct"] >= 3 and card["rows"]["confirm"] >= 3
    assert card["traces"] == card["questions"] == 41

    rows = [r for row in found.values() for r in row["rows"]]
    assert card["rows_too_long"] == sum(r["tokens"] > 160 for r in rows) > 0
    assert all((r["dropped"] == "too_long") == (r["tokens"] > 160) for r in rows)

    learned = [r for r in rows if r["dropped"] is None]
    packed = rows_of(folder, "da/packed")
    assert sum(row["examples"] for row in packed) == len(learned) == sum(card["rows"].values())
    targets = sorted(t for row in packed for t in row["labels"] if t != IGNORE)
    assert targets == sorted(t for r in learned for t in r["labels"] if t != IGNORE)
    assert len(targets) == card["target_tokens"]
    tokenizer = load_tokenizer(config, TINY)
    for row in learned:
        said_ = tokenizer.decode([t for t in row["labels"] if t != IGNORE])
        assert said_ == row["target"] + tokenizer.eos_token


def test_debates_on_one_question_meet_wherever_they_are_stored(tmp_path: Path) -> None:
    traces = [trace(i, replica) for replica in range(3) for i in range(15)]
    folder, config = prepared(tmp_path, traces, "distill.type=rft")
    card = build_dataset(folder, config, TINY, "rft")
    found = {row["question_id"]: row for row in rows_of(folder, "rft/rows")}
    assert (card["traces"], card["questions"], len(found)) == (45, 15, 15)
    for question_id, row in found.items():
        own = [t for t in traces if t["question_id"] == question_id]
        wanted = curate(own, config.distill, "rft")
        assert [r["target"] for r in row["rows"]] == [r.target for r in wanted.rows]
        assert wanted.sampling is not None
        assert row["sampling"]["samples"] == wanted.sampling.samples == 9


STORY = (
    "Every morning before school {name} feeds {a} goats, then {b} hens and at last the old horse"
    " of the neighbour, who pays for it. How many animals does {name} feed a day?"
)


def doubled(number: int, question: str, gold: str, **more: Any) -> dict[str, Any]:
    return trace(number) | {"question": question, "gold": gold, **more}


def planted() -> list[dict[str, Any]]:
    """Questions of which 1 and 3 are doubles of 0; the others are not."""
    text = STORY.format(name="Ann", a=7, b=4)
    return [
        doubled(0, text, "12"),
        doubled(1, text.replace("old horse", "aged horse"), "12"),
        doubled(2, STORY.format(name="Ann", a=4, b=7), "12"),  # other numbers
        doubled(3, text.upper(), "12", verdict="incorrect"),
        doubled(4, text, "11"),  # another right answer
        doubled(5, text.replace("7", "5"), "12"),
        doubled(6, text, "12", task="gsm8k"),  # another task
        *(trace(i) for i in range(7, 30)),
    ]


@pytest.mark.parametrize("one_task", [10_000, 0], ids=["one task", "shuffle"])
def test_doubled_questions_are_found(
    tmp_path: Path, one_task: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicates, "ONE_TASK", one_task)
    monkeypatch.setattr(duplicates, "QUESTIONS_A_PARTITION", 8)  # four partitions
    folder, _ = prepared(tmp_path, planted())
    duplicates.write_duplicates(folder, "doubles", 0.8, None)
    ids = [t["question_id"] for t in planted()]
    found = duplicates.duplicates_among(folder, "doubles", ids)
    assert {int(question_id, 16) for question_id in found} == {1, 3}
    assert duplicates.duplicates_among(folder, "doubles", ids[2:3]) == set()


def test_of_doubles_the_one_with_a_right_consensus_stays(tmp_path: Path) -> None:
    text = STORY.format(name="Ann", a=7, b=4)
    traces = [doubled(0, text, "12", verdict="incorrect"), doubled(1, text, "12")]
    folder, _ = prepared(tmp_path, traces)
    duplicates.write_duplicates(folder, "doubles", 0.8, None)
    ids = [t["question_id"] for t in traces]
    assert duplicates.duplicates_among(folder, "doubles", ids) == {ids[0]}


def test_nothing_is_a_double_where_nobody_looked(tmp_path: Path) -> None:
    folder, _ = prepared(tmp_path, planted()[:1])
    assert duplicates.duplicates_among(folder, "doubles", ["0"]) == set()
