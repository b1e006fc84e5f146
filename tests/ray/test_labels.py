"""Labels on a real Ray cluster: one label a debate, whatever is lost on the way."""

import asyncio
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
from rich.console import Console

from agentark_ray.config import ConfigError, parse_config
from agentark_ray.engine.scripted import ScriptedEngine
from agentark_ray.label_rows import labelled_dataset, labelled_traces, open_labels, trace_folder
from agentark_ray.labelling import Labelling, Settings
from agentark_ray.run_folder import RunFolder
from agentark_ray.tiny.path import tiny_model_path
from agentark_ray.traces.label_judge import Judge, messages
from agentark_ray.traces.schema import TRACE_SCHEMA
from agentark_ray.train.dataset import build_dataset
from agentark_ray.train.duplicates import duplicates_among, write_duplicates
from agentark_ray.types import ModelRef
from tests.ray.helpers import children, config_for, hold, wait_until
from tests.unit.labelled import trace, write_traces

pytestmark = [pytest.mark.usefixtures("ray_cluster"), pytest.mark.timeout(240)]

SCRIPTED = ["engine.type=scripted", "engine.rows_per_block=4", "engine.in_flight=8"]
JUDGE = Judge(model=ModelRef(name="tiny"), scope="all")


def labelling(run: RunFolder, *engine: str, **settings: Any) -> Labelling:
    config = parse_config({}, [*SCRIPTED, *engine], "test")
    values = {"name": "v1", "aggregate": "vote", "config": config, **settings}
    return Labelling(run.uri, Settings(**values), Console(quiet=True))


def label(run: RunFolder, *engine: str, **settings: Any) -> dict[str, Any]:
    return labelling(run, *engine, **settings).execute(nullcontext)


def label_files(run: RunFolder) -> dict[str, int]:
    """Name -> time of change of the label files."""
    found = Path(run.uri, "labels", "v1").glob("*.parquet")
    return {path.name: path.stat().st_mtime_ns for path in found}


def assert_one_label_a_debate(run: RunFolder) -> None:
    labels = open_labels(trace_folder(run.uri), "v1")
    ids = labels.dataset().to_table(columns=["debate_id"])["debate_id"].to_pylist()
    held = [row["debate_id"] for row in labelled_traces(run, "traces", None, ["debate_id"])]
    assert sorted(ids) == sorted(held)
    assert len(set(ids)) == len(ids)


def test_traces_are_labelled_once(tmp_path: Path, gsm8k_file: Callable[[int], Path]) -> None:
    run, total = hold(config_for(tmp_path, gsm8k_file(40)))
    figures = label(run, aggregate=None)["figures"]  # as the run's manifest says
    assert (figures["debates"], figures["failed"], figures["changed"]) == (total, 0, {})
    assert figures["verdicts"]["correct"] > figures["verdicts"]["incorrect"] > 0
    assert figures["final_changed"] == {}
    assert_one_label_a_debate(run)
    before = label_files(run)
    assert label(run, aggregate=None)["figures"] == figures
    assert label_files(run) == before
    with pytest.raises(ConfigError, match=r"made otherwise \(aggregate: 'vote' -> 'weighted_vote'"):
        label(run, aggregate="weighted_vote")


def test_an_interrupted_job_does_the_rest(tmp_path: Path) -> None:
    run = write_traces(tmp_path, 600, rows_a_file=100)
    manifest = label(run)
    assert manifest["figures"]["changed"] == {"incorrect -> correct": 300}
    first, *others = sorted(label_files(run))
    kept = label_files(run)
    (tmp_path / "labels/v1" / first).unlink()
    (tmp_path / "labels/v1" / f"{first}.abc.tmp").write_bytes(b"cut off")
    unfinished = {key: value for key, value in manifest.items() if key != "figures"}
    RunFolder(f"{run.uri}/labels/v1").write_json(unfinished, "manifest.json")
    again = label(run)["figures"]
    assert {**again, "seconds": 0} == {**manifest["figures"], "seconds": 0}
    now = label_files(run)
    assert {name: now[name] for name in others} == {name: kept[name] for name in others}
    assert not list((tmp_path / "labels/v1").glob("*.tmp"))
    assert_one_label_a_debate(run)


def test_other_stages_read_labelled_traces(tmp_path: Path) -> None:
    run = write_traces(tmp_path, 50)
    label(run)
    columns = ("debate_id", "gold", "verdict", "turns")
    rows = labelled_dataset(run, "traces", "v1", columns).take_all()
    assert len(rows) == 50
    assert set(rows[0]) == set(columns)
    streamed = {row["debate_id"]: row for row in labelled_traces(run, "traces", "v1")}
    for row in rows:
        even = int(row["gold"]) % 2 == 0
        assert row["verdict"] == ("correct" if even else "incorrect")
        assert row["turns"][0]["verdict"] == streamed[row["debate_id"]]["turns"][0]["verdict"]
        assert row["turns"][0]["messages"]
    kept = {}
    for version in (None, "v1"):
        values = [f"output={run.uri}", f"distill.labels={version or 'null'}"]
        config = parse_config({}, values, "test")
        card = build_dataset(run, config, str(tiny_model_path()), "rsft")
        kept[version] = card["kept"], card["dropped"].get("wrong_consensus", 0)
    assert kept[None] == (0, 50)  # the stored verdicts say that all is wrong
    assert kept["v1"][0] > 0
    assert kept["v1"][1] == 25


def test_of_doubles_the_one_that_the_labels_call_right_stays(tmp_path: Path) -> None:
    run = write_traces(tmp_path, 6, gold="12")  # stored verdicts: all wrong; d0012 says 12
    label(run)
    questions = {f"{i:016x}" for i in range(10, 16)}
    for version, stays in ((None, 10), ("v1", 12)):
        write_duplicates(run, f"doubles_{version}", 0.8, version)
        doubles = duplicates_among(run, f"doubles_{version}", list(questions))
        assert questions - doubles == {f"{stays:016x}"}


def test_a_judge_says_what_its_engine_says(tmp_path: Path) -> None:
    run = write_traces(tmp_path, 30)
    manifest = label(run, judge=JUDGE)
    judge, agreement = manifest["figures"]["judge"], manifest["figures"]["judge"]["agreement"]
    assert (judge["judged"], judge["failed"], agreement["compared"]) == (60, 0, 60)
    engine = ScriptedEngine(seed=17, latency_s=0, accuracy=0.6, max_model_len=4096)
    pairs: Counter[tuple[str, bool]] = Counter()
    for row in labelled_traces(run, "traces", "v1"):
        for turn, right in zip(row["turns"], [int(row["gold"]) % 2 == 0, False], strict=True):
            asked = messages(JUDGE.texts(row, turn["text"]))
            said = asyncio.run(engine(0, asked, JUDGE.sampling)).text
            assert turn["verdict"] == {"true": "correct", "false": "incorrect"}[said]
            pairs["correct" if right else "incorrect", said == "true"] += 1
    same = pairs["correct", True] + pairs["incorrect", False]
    assert agreement["accuracy"] == pytest.approx(same / 60)
    assert agreement["confusion"]["correct"]["correct"] == pairs["correct", True]
    assert manifest["identity"]["judge.votes"] == 1
    assert len(manifest["identity"]["judge.chat_template"]) == 16
    assert label(run, judge=JUDGE) == manifest
    with pytest.raises(ConfigError, match=r"judge.votes: 1 -> 3.*choose another --name"):
        label(run, judge=replace(JUDGE, votes=3))
    with pytest.raises(ConfigError, match=r"judge: 'tiny' -> None"):
        label(run)


def test_a_judge_meets_all_kinds_of_rows(tmp_path: Path) -> None:
    run = write_traces(tmp_path, 40)
    kinds = {
        "ungraded": {"gold": None},
        "poison": {"gold": None, "question": "POISON"},
        "long": {"gold": None, "question": "so many words " * 100},
    }
    for name, changes in kinds.items():
        rows = [trace("4 5", debate_id=f"{name}{i}", **changes) for i in range(2)]
        table = pa.Table.from_pylist(rows, schema=TRACE_SCHEMA)
        pq.write_table(table, tmp_path / "traces" / f"{name}.parquet")
    engine = ("engine.scripted_fault=raise", "engine.retries=0", "engine.max_model_len=120")
    judge = replace(JUDGE, scope="ungraded", votes=3, too_long="window")
    figures = label(run, *engine, judge=judge)["figures"]
    assert (figures["debates"], figures["failed"]) == (46, 2)
    assert figures["judge"]["judged"] == 2 * 2 + 2 * 2  # ungraded and long
    assert (figures["judge"]["failed"], figures["judge"]["cut"]) == (4, 4)
    assert figures["judge"]["agreement"]["compared"] == 0
    rows = {row["debate_id"]: row for row in label_rows(run)}
    assert rows["d0010"]["source"] == "grader:numeric"
    assert rows["ungraded0"]["source"] == rows["poison0"]["source"] == "judge:tiny"
    assert rows["poison1"]["error"] == "RuntimeError: scripted fault: the prompt contains POISON"
    assert {turn["verdict"] for turn in rows["poison1"]["turns"]} == {None}
    shares = {round(turn["share"], 3) for turn in rows["ungraded1"]["turns"]}
    assert shares <= {0.667, 1.0}
    with pytest.raises(Exception, match=r"debates failed, at most 0 may"):
        label(run, *engine, "engine.max_failed_fraction=0", judge=judge, name="v2")


def label_rows(run: RunFolder) -> list[dict[str, Any]]:
    return open_labels(trace_folder(run.uri), "v1").dataset().to_table().to_pylist()


@pytest.mark.slow
def test_an_engine_that_dies_is_replaced(tmp_path: Path) -> None:
    once = tmp_path / "died"
    run = write_traces(tmp_path, 40)
    bad = write_traces(tmp_path / "bad", 1, question=f"POISON:{once}")
    os.rename(f"{bad.uri}/traces/0010.parquet", f"{run.uri}/traces/poison.parquet")
    figures = label(run, "engine.scripted_fault=exit", judge=JUDGE)["figures"]
    assert once.exists()
    assert (figures["failed"], figures["judge"]["judged"]) == (0, 82)


def test_a_killed_actor_loses_nothing(tmp_path: Path) -> None:
    run = write_traces(tmp_path, 120)

    def kill() -> int:
        wait_until(lambda: len(label_files(run)) >= 3)
        killed = 0
        for actor in children("JudgeActor"):
            with suppress(psutil.NoSuchProcess):  # one of an earlier test may still be ending
                actor.kill()
                killed += 1
        return killed

    with ThreadPoolExecutor(1) as pool:
        killed = pool.submit(kill)
        figures = label(run, "engine.scripted_latency_s=0.3", judge=JUDGE)["figures"]
        assert killed.done(), "the job ended before the actor could be killed"
        assert killed.result() >= 1
        assert figures["judge"]["failed"] == 0
    assert (figures["debates"], figures["failed"], figures["judge"]["judged"]) == (120, 0, 240)
    assert_one_label_a_debate(run)


DRIVER = """
import sys
from agentark_ray.run_folder import RunFolder
from agentark_ray.session import ray_session
from tests.ray.test_labels import JUDGE, labelling
labelling(RunFolder(sys.argv[1]), "engine.scripted_latency_s=0.3", judge=JUDGE).execute()
"""


@pytest.mark.slow
def test_a_killed_driver_loses_no_finished_part(tmp_path: Path) -> None:
    run = write_traces(tmp_path, 120)
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER, run.uri],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "RAY_ADDRESS": ray.get_runtime_context().gcs_address or ""},
    )
    wait_until(lambda: len(label_files(run)) >= 4 or process.poll() is not None)
    assert process.poll() is None, "the job ended before it could be killed"
    process.kill()
    process.wait()
    kept = label_files(run)
    assert 4 <= len(kept) < 30
    with pytest.raises(ConfigError, match="labelling has not finished"):
        open_labels(trace_folder(run.uri), "v1")
    figures = label(run, "engine.scripted_latency_s=0.3", judge=JUDGE)["figures"]
    assert (figures["debates"], figures["judge"]["judged"]) == (120, 240)
    now = label_files(run)
    assert {name: now[name] for name in kept} == kept
    assert_one_label_a_debate(run)
