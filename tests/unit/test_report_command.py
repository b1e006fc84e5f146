"""`agentark report` on an evaluated run folder."""

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from agentark_ray.cli import app
from agentark_ray.run_folder import RunFolder
from agentark_ray.traces.schema import QUESTION_SCHEMA
from tests.unit.reports import Page
from tests.unit.run_folders import evaluated_run


def cli(*args: str) -> Result:
    return CliRunner().invoke(app, ["report", *args], catch_exceptions=False)


@pytest.fixture
def evaluated(tmp_path: Path) -> RunFolder:
    folder = evaluated_run(tmp_path / "run")
    rows = [dict.fromkeys(QUESTION_SCHEMA.names) | {"question_id": f"q{i}"} for i in (1, 2, 3, 4)]
    for one in rows:
        one |= {"question": f"text of {one['question_id']}", "gold": "4", "split": "eval"}
    table = pa.Table.from_pylist(rows, schema=QUESTION_SCHEMA)
    pq.write_table(table, folder.path("questions", "eval.parquet"))
    return folder


def test_the_command_writes_three_files(evaluated: RunFolder) -> None:
    asked = ("--queries-per-day", "1000", "--investment", "4.2")
    prices = ("prices.output=10", "prices.prompt=1", "prices.cached=0.5")
    found = cli(evaluated.uri, *asked, *prices)
    assert found.exit_code == 0, found.output
    assert "Hybridize" in found.stdout
    value = evaluated.read_json("report.json")
    (told,) = value["runs"]
    assert told["summary"] == evaluated.read_json("eval", "summary.json")
    assert told["roi"]["break_even"][0]["queries"] == 10_000
    assert [one["item"] for one in told["checklist"]][:2] == ["Questions", "Contamination"]
    listed = {one["id"]: one for one in value["questions"]["list"]}
    arms = [column["arm"] for column in value["questions"]["columns"]]
    assert sorted(listed) == ["q1", "q2", "q3", "q4"]
    given = listed["q4"]["answers"][arms.index("debate")]
    assert given == {"verdict": "failed", "answer": "", "tokens": 30}
    assert listed["q2"]["answers"][arms.index("student")]["verdict"] == "correct"
    assert "10,000" in Path(evaluated.path("report.md")).read_text()
    page = Page(Path(evaluated.path("report.html")).read_text()).squeezed
    assert "Forecast: 1,000 queries a day" in page


def test_a_gpu_hour_alone_is_a_price(evaluated: RunFolder) -> None:
    found = cli(evaluated.uri, "prices.gpu_hour=3.6", "gpus_per_engine=1")
    assert found.exit_code == 0, found.output
    told = evaluated.read_json("report.json")["runs"][0]["engine_time"]
    assert told["speeds"]["debate"]["tokens_per_s"] == 675
    # 45,000 tokens at 675 a second, 0.001 US dollars each
    assert "| Debate | 45,000 | 90,000 | 0 | 0.06667 (" in evaluated_text(evaluated)
    assert cli(evaluated.uri, "prices.gpu_hour=3.6").exit_code == 0
    assert "the run's engines have none, so no money is shown" in evaluated_text(evaluated)


def evaluated_text(folder: RunFolder) -> str:
    return Path(folder.path("report.md")).read_text()


def test_formats_and_folder_can_be_chosen(evaluated: RunFolder, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert cli(evaluated.uri, "--format", "md", "--out", str(out)).exit_code == 0
    assert [path.name for path in out.iterdir()] == ["report.md"]
    assert not evaluated.exists("report.html")


def test_the_command_compares_two_runs(evaluated: RunFolder, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(evaluated.uri, other)
    found = cli(evaluated.uri, str(other))
    assert found.exit_code == 0, found.output
    assert "4 questions in common, and compared; no others." in found.stdout
    value = evaluated.read_json("comparison.json")
    assert {one["difference"] for one in value["comparisons"][0]["arms"]} == {0.0}
    assert [one["name"] for one in value["runs"]] == ["run (run)", "run (other)"]
    text = Page(Path(evaluated.path("comparison.html")).read_text()).squeezed
    assert "Comparison of 2 runs" in text
    assert "All are the same." in text  # settings


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--format", "pdf"], "--format pdf: expected one of html, md, json"),
        (["--queries-per-day", "5"], "no price: give prices.output="),
        (["seed=3"], "seed: 17 -> 3"),
        (["--max-mb", "1"], "--max-mb 1: without questions the page takes 2.1 MB"),
        (["nowhere"], "nowhere: no evaluated run"),
    ],
)
def test_what_a_user_has_to_mend(evaluated: RunFolder, args: list[str], words: str) -> None:
    found = cli(evaluated.uri, *args)
    assert found.exit_code == 2
    assert words in found.stderr
    assert not evaluated.exists("report.html")


def test_a_summary_of_an_earlier_version_is_named(evaluated: RunFolder) -> None:
    summary = evaluated.read_json("eval", "summary.json")
    del summary["next_steps"]
    evaluated.write_json(summary, "eval", "summary.json")
    found = cli(evaluated.uri)
    assert found.exit_code == 2
    assert "is of an earlier version, without next_steps" in found.stderr


def test_run_twice_or_none() -> None:
    assert "a run is given twice" in cli("a", "a").stderr
    assert "no RUN" in cli("prices.output=1").stderr
