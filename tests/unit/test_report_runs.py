"""Parts of the report by hand, runs compared, Markdown and JSON, and the command."""

import re
import shutil
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from agentark_ray.cli import app
from agentark_ray.evaluate.report import cost, markdown, quality, state, timing
from agentark_ray.evaluate.report.compare import Answers, Comparison, compare
from agentark_ray.evaluate.report.cost import Return
from agentark_ray.evaluate.report.parts import DASH, Part, Table, cell, without_empty
from agentark_ray.evaluate.roi import Forecast, Serving, Work, roi
from agentark_ray.evaluate.tally import tally
from agentark_ray.load.figures import Ended, Targets, figures
from agentark_ray.load.figures import Tally as LoadTally
from agentark_ray.prices import PricesConfig
from agentark_ray.run_folder import RunFolder
from agentark_ray.traces.schema import QUESTION_SCHEMA
from tests.unit.reports import Page, render, run, summary_of
from tests.unit.test_summary import ROWS, row, write
from tests.unit.test_upkeep import folder  # noqa: F401 - a fixture

PRICES = PricesConfig(output=10.0, prompt=1.0, cached=0.5)


def texts(part: Part, table: int = 0) -> list[list[str]]:
    return [[one.text for one in row_] for row_ in part.tables[table].rows]


def test_robustness_is_a_heat_map_by_change_and_arm(tmp_path: Path) -> None:
    one = {"right_clean": 40, "flipped": 10, "rate": 0.25, "low": 0.14, "high": 0.4}
    none = {"right_clean": 0, "flipped": 0, "rate": None, "low": 0.0, "high": 1.0}
    summary = summary_of(tmp_path, ROWS) | {
        "robustness": {
            "student": {"typos": {"0.1": one, "0.3": one | {"rate": 0.5}}, "peer": {"2": none}},
            "debate": {"typos": {"0.1": one}},
        }
    }
    part = quality.robustness(summary)
    assert part.tables[0].columns == ("Change", "Debate", "Student")
    assert texts(part) == [
        ["typos, 10%", "25.0%", "25.0%"],
        ["typos, 30%", DASH, "50.0%"],
        ["confident wrong peers, 2", DASH, DASH],
    ]
    assert part.tables[0].rows[0][2].heat == 0.25
    assert part.tables[0].rows[0][2].note == "10 of 40; 14% to 40%"
    (chart,) = part.charts
    assert [trace["name"] for trace in chart["figure"]["data"]] == ["Debate", "Student"]
    assert chart["figure"]["data"][1]["x"] == [0.25, 0.5]


def test_second_turns_have_rates_with_intervals(tmp_path: Path) -> None:
    summary = summary_of(tmp_path, ROWS)
    summary["arms"]["student"]["second_turn"] = {
        "peer": {
            **{"wrong_before": 5, "right_before": 45, "undecided": 0},
            **{"fixed": 0.2, "fixed_count": 1, "fixed_low": 0.04, "fixed_high": 0.62},
            **{"broken": 0.4, "broken_count": 18, "broken_low": 0.27, "broken_high": 0.55},
            **{"kept": 0.6, "kept_count": 27, "kept_low": 0.45, "kept_high": 0.73},
        }
    }
    rows = quality.second_turns(summary).tables[0].rows
    last = rows[-1]
    assert [one.text for one in last] == ["Student", "20.0%", "60.0%", "40.0%"]
    assert last[0].note == "after a confident wrong peer"
    assert last[3].note == "27.0% to 55.0%, 18 of 45"
    debate = next(one for one in rows if one[0].text == "Debate")
    assert [one.text for one in debate[1:]] == ["66.7%", "66.7%", "33.3%"]
    assert debate[1].interval is None


def test_step_quality_shows_what_there_is(tmp_path: Path) -> None:
    found = {
        **{"solutions": 4, "steps": 2.5, "verifying": 0.5, "revising": 0.0, "equations": 8},
        **{"equations_holding": 0.75, "checkable": 4, "consistent": 0.5},
    }
    summary = summary_of(tmp_path, ROWS)
    summary["arms"]["student"]["steps"] = found
    assert texts(quality.steps(summary)) == [["Student", "2.5", "50.0%", "0.0%", "75.0%", "50.0%"]]
    gold = {"solutions": 9, "left_out": 1, "tokens": 90, "nll": 1.0, "perplexity": 2.718}
    summary["arms"]["student"]["steps"] = found | {"gold": gold, "prm": {"mean": 0.9, "min": 0.5}}
    summary["arms"]["single"]["steps"] = {"gold": gold}
    single, student = quality.steps(summary).tables[0].rows
    assert [one.text for one in single] == ["Single answer", *[DASH] * 7, "2.72"]
    assert [one.text for one in student[-3:]] == ["0.900", "0.500", "2.72"]
    assert student[-1].note == "9 solutions, 1 too long"


def test_a_drop_on_another_set(tmp_path: Path) -> None:
    far = {"accuracy": 0.5, "low": 0.2, "high": 0.8, "n": 8}
    drop = {"drop": 0.25, "drop_low": -0.1, "drop_high": 0.5}
    summary = summary_of(tmp_path, ROWS) | {"ood": {"far": {"student": {**far, **drop}}}}
    part = quality.other_sets(summary)
    assert part.tables[0].title == "Set far"
    assert texts(part) == [["Student", "50.0%", "+25.0"]]
    assert part.tables[0].rows[0][2].note == "\N{MINUS SIGN}10.0 to +50.0"
    assert part.charts[0]["figure"]["data"][0]["text"] == ["held out", "far"]
    assert part.charts[0]["figure"]["data"][0]["x"] == [0.75, 0.5]


def load_of(**changes: Any) -> dict[str, Any]:
    """Two rates of one arm, as load/figures.py counts them."""
    asked = Targets(ms=1_000.0)
    rates = []
    for offered, seconds in ((2.0, 0.5), (4.0, 3.0)):
        counted = LoadTally(offered=offered, seconds=8.0, targets=asked)
        for number in range(int(8 * offered)):
            at = number / offered
            counted.add(
                Ended(
                    scheduled=at,
                    sent=at,
                    first=at + seconds / 2,
                    ended=at + seconds,
                    tokens=10,
                    inter_token_s=0.01,
                    error=None,
                )
            )
        rates.append(figures(counted) | {"saturated": seconds > 1})
    arm = {
        "measured": "2026-01-31T12:00:00Z",
        "machine": {
            **{"host": "h", "cpu": "a cpu", "cores": 2, "memory_bytes": 8e9},
            **{"gpus": [], "load_average": [0.1, 0.2, 0.3]},
        },
        "seconds": 8.0,
        "targets": {"ms": 1_000.0, "ttft_ms": None},
        "cold_start_s": 31.25,
        "weights_bytes": 7_700_000,
        "resident_bytes": 3_200_000_000,
        "gpu_bytes": None,
        "sustained_rate": 2.0,
        "rates": rates[::-1],
    }
    return {"version": 1, "arms": {"student": arm | changes}}


def test_load_by_rate_with_resources() -> None:
    part = timing.load(load_of())
    # In the last 6 of 8 s end 12 and 21 answers, of 10 tokens each.
    assert texts(part) == [
        ["2 a second", "16 of 16", *["500"] * 3, "250", "10.0", "20", "100.0%", "yes"],
        ["4 a second", "32 of 32", *["3,000"] * 3, "1,500", "10.0", "35", "0.0%", "no"],
    ]
    assert part.tables[0].title == "Student; good is the answer within 1,000 ms"
    assert texts(part, 1) == [["Student", "2 a second", "31.2 s", "7.7 MB", "3.2 GB", DASH]]
    ids = [chart["id"] for chart in part.charts]
    assert ids == ["load-e2e", "load-ttft", "load-tokens", "load-goodput"]
    trace = part.charts[0]["figure"]["data"][0]
    assert (trace["x"], trace["y"]) == ([2.0, 4.0], [500.0, 3000.0])
    assert trace["marker"]["symbol"] == ["circle", "circle-open"]
    assert "a cpu, 2 cores, 8.0 GB of memory, no GPU; load average 0.1, 0.2, 0.3" in part.foot
    assert timing.load(None).empty
    assert "agentark load RUN" in timing.load({"arms": {}}).missing


def test_money_of_a_thousand_queries(tmp_path: Path) -> None:
    summary = summary_of(tmp_path, ROWS)
    part = cost.money(summary, PRICES.tokens)
    rows = {one[0]: one[1:] for one in texts(part)}
    # debate: 45 output at 10 and 90 prompt at 1 USD a million, times 1,000 queries
    assert rows["Debate"] == ["45,000", "90,000", "0", "0.54"]
    assert rows["Student"][-1] == "0.12"
    assert part.tables[0].rows[-1][-1].note == "22.2% of the debate's"
    assert "US dollars" not in cost.money(summary, None).tables[0].columns
    assert "no money is shown" in cost.money(summary, None).foot


def test_the_return_with_and_without_a_forecast(tmp_path: Path) -> None:
    forecast = Forecast(queries_per_day=1_000.0, start=date(2026, 1, 1))
    found = roi(
        summary_of(tmp_path, ROWS)["arms"],
        "student",
        PRICES,
        Serving(gpus_per_engine=0, debate_tokens_per_s=None, student_tokens_per_s=None),
        Work(
            tokens={"output_tokens": 0, "prompt_tokens": 0, "cached_tokens": 0},
            engine_seconds=None,
            training_seconds=1.0,
            training_gpus=0,
        ),
        forecast,
        investment_usd=4.2,
    )
    part = cost.returns(Return(roi=found, forecast=forecast, by_day=True))
    # 0.00054 - 0.00012 USD saved a query: 4.2 USD after 10,000 queries, 10 days
    assert texts(part, 1)[0][:4] == ["Student", "10,000", "10", "2026-01-11"]
    without = cost.returns(Return(roi=found, forecast=forecast))
    assert texts(without, 1) == [["Student", "10,000"]]
    assert "`--queries-per-day` adds days" in without.intro
    (trace,) = part.charts[0]["figure"]["data"]
    assert dict(zip(trace["x"], trace["y"], strict=True))[1_000.0] == 10
    assert cost.returns(Return(roi=None, forecast=None, why_not="no price")).missing == (
        "Not known: no price."
    )


def test_gates_say_how_much_is_missing(tmp_path: Path) -> None:
    summary = summary_of(tmp_path, ROWS)
    (table,) = state.gates(summary).tables
    assert "More needed" not in table.columns
    summary["gates"][0] |= {"status": "open", "more": 1_200, "unit": "questions"}
    (table,) = state.gates(summary).tables
    assert [row_[5].text for row_ in table.rows][:2] == ["1,200 questions", DASH]
    assert (table.rows[0][1].text, table.rows[0][1].mark) == ("open", "warn")


def test_columns_without_a_figure_are_left_out() -> None:
    rows = [[cell("a"), cell(DASH), cell("1")], [cell("b"), cell(DASH), cell(DASH)]]
    found = without_empty(Table(columns=("x", "y", "z"), rows=rows))
    assert found.columns == ["x", "z"]
    assert [[one.text for one in row_] for row_ in found.rows] == [["a", "1"], ["b", DASH]]


def answers(folder_: Path, name: str, rows: list[dict[str, Any]], **changes: Any) -> Answers:
    ids = dict.fromkeys((one["question_id"] for one in rows if one["kind"] == "main"), 1)
    values = {
        "name": name,
        "student": "student",
        "tallies": tally(write(folder_ / name, rows).to_table().to_pylist()),
        "contents": ids,
        "settings": {"seed": "17", "output": name},
    }
    return Answers(**(values | changes))


def compared(folder_: Path) -> Comparison:
    """Of q0 to q9 the second run lost two and won one; q10 is new, q9 is another question."""
    before = [row("student", f"q{i}", "rrrrrwwwww"[i]) for i in range(10)]
    after = [row("student", f"q{i}", "wwrrrrwwwwr"[i]) for i in range(11)]
    first = answers(folder_, "first", before)
    second = answers(folder_, "second", after, settings={"seed": "18", "output": "x", "new": "1"})
    changed = {**second.contents, "q9": 2}
    return compare(first, Answers(**{**_fields(second), "contents": changed}), 0.95)


def _fields(found: Answers) -> dict[str, Any]:
    return {name: getattr(found, name) for name in Answers.__dataclass_fields__}


def test_two_runs_are_compared_on_their_common_questions(tmp_path: Path) -> None:
    found = compared(tmp_path)
    assert (found.common, found.only_first, found.only_second) == (9, 0, 1)
    assert found.different == ("q9",)
    assert found.settings == (("new", DASH, "1"), ("seed", "17", "18"))
    (pair,) = found.arms
    assert (pair.n, pair.first, pair.second) == (9, 5 / 9, 4 / 9)
    assert pair.difference == pytest.approx(-1 / 9)
    assert pair.low < pair.difference < pair.high
    assert (pair.only_first, pair.only_second, pair.p) == (2, 1, 1.0)
    assert found.told() == (
        "second against first: 9 questions in common, and compared; 1 only in second; 1 id with"
        " another question in each."
    )


def test_runs_without_a_common_question_say_so(tmp_path: Path) -> None:
    first = answers(tmp_path, "a", [row("student", "q1", "r")])
    second = answers(tmp_path, "b", [row("student", "q2", "r")])
    found = compare(first, second, 0.95)
    assert found.arms == ()
    assert "0 questions in common, so none can be compared; 1 only in a; 1 only" in found.told()


def test_students_of_other_names_are_compared_as_students(tmp_path: Path) -> None:
    first = answers(tmp_path, "a", [row("student", "q", "r")])
    second = answers(tmp_path, "b", [row("da", "q", "w")], student="da")
    (pair,) = compare(first, second, 0.95).arms
    assert (pair.first_arm, pair.second_arm, pair.difference) == ("student", "da", -1.0)


def test_markdown_tells_the_same_and_takes_no_markup(tmp_path: Path) -> None:
    summary = summary_of(tmp_path, ROWS)
    text = markdown.render([run(summary, "a|b <b>_x_", examples=ROWS)], [])
    assert text.startswith(r"# a\|b \<b\>\_x\_: Hybridize")
    assert "| Student | 75.0% (30.1% to 95.4%, n 4) |" in text
    assert re.search(r"\| Output tokens against the debate \(.*\) \| ✕ fail \| 0.222 \|", text)
    assert f"**Next step:** {summary['next_steps'][0]}" in text
    assert "Not measured: `evaluate.robustness" not in text  # the words of the part
    assert "`evaluate.robustness.questions=N`" in text
    assert "\n> text of q" in text
    for line in text.splitlines():
        if line.startswith("|") and not line.startswith("|---"):
            assert line.endswith("|")
    assert markdown.escaped("`a|b` *c* `") == r"a\|b \*c\* "


def test_a_comparison_in_markdown(tmp_path: Path) -> None:
    summary = summary_of(tmp_path, ROWS)
    text = markdown.render([run(summary, "one"), run(summary, "two")], [compared(tmp_path)])
    assert text.startswith("# Comparison: one and two")
    assert "9 questions in common" in text
    assert "| seed | 17 | 18 |" in text
    assert text.count("Hybridize") == 4  # both in the overview, and the head of each


def test_the_page_tells_what_self_consistency_was_given(tmp_path: Path) -> None:
    found = {"samples": 7, "measured": {"samples": 7}, "share_of_debate": 0.98}
    text = Page(render(tmp_path, ROWS, summary={"self_consistency": found})).squeezed
    assert "votes over 7 answers, as many as a debate was measured to cost; it wrote 98%" in text


def cli(*args: str) -> Result:
    return CliRunner().invoke(app, ["report", *args], catch_exceptions=False)


@pytest.fixture
def evaluated(folder: RunFolder) -> RunFolder:  # noqa: F811
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
