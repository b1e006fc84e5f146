"""Parts of the report by hand."""

from datetime import date
from pathlib import Path
from typing import Any

from agentark_ray.evaluate.engine_time import EngineTime, Speed
from agentark_ray.evaluate.report import arms, cost, quality, side_by_side, state, timing
from agentark_ray.evaluate.report.cost import Return
from agentark_ray.evaluate.report.parts import DASH, Part, Table, cell, without_empty
from agentark_ray.evaluate.roi import Forecast, Serving, Work, roi
from agentark_ray.evaluate.summary import summarize
from agentark_ray.gates_config import GatesConfig
from agentark_ray.load.figures import Ended, Targets, figures
from agentark_ray.load.figures import Tally as LoadTally
from agentark_ray.prices import PricesConfig
from tests.unit.transcripts import BY_POINT, ROWS, summary_of, write

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
    assert part.tables[0].columns[2] == "Drop, points, 95% interval"
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


def speeds(**speeds: float) -> dict[str, Speed]:
    return {arm: Speed(tokens_per_s=speed, origin="as it was") for arm, speed in speeds.items()}


def test_money_by_the_time_of_engines(tmp_path: Path) -> None:
    summary = summary_of(tmp_path, ROWS)
    engines = EngineTime(gpu_hour=3.6, gpus_per_engine=2, speeds=speeds(debate=900.0, student=50.0))
    part = cost.money(summary, None, engines)
    cells = {row_[0].text: row_[-1] for row_ in part.tables[0].rows}
    # 45 and 10 tokens a query, 1,000 queries, 0.002 US dollars a second
    assert (cells["Debate"].text, cells["Student"].text) == ("0.1", "0.4")
    assert cells["Student"].note == "400.0% of the debate's; 50 tokens/s, as it was"
    assert (cells["Single answer"].text, "not measured" in cells["Single answer"].note) == (
        DASH,
        True,
    )
    assert "A GPU costs 3.6 US dollars an hour" in part.foot
    by_tokens = cost.money(summary, PRICES.tokens, engines)
    assert by_tokens.tables[0].rows[-1][-1].text == "0.12"


def test_why_a_gpu_hour_makes_no_money(tmp_path: Path) -> None:
    summary = summary_of(tmp_path, ROWS)
    for gpus, known, words in (
        (0, speeds(debate=900.0), "the run's engines have none, so no money"),
        (1, {}, "no seconds of engines were measured, so no money"),
    ):
        part = cost.money(
            summary, None, EngineTime(gpu_hour=2.0, gpus_per_engine=gpus, speeds=known)
        )
        assert "US dollars" not in part.tables[0].columns
        assert words in part.foot


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


def test_gates_that_are_off_and_gates_of_another_config_are_shown(tmp_path: Path) -> None:
    of_run = BY_POINT.model_dump(mode="json")
    used = BY_POINT.model_copy(update={"p99_ms": None, "p95_ms": 500.0})
    summary = summarize([write(tmp_path, ROWS)], used, train_traces=1500, seeds=[17])
    part = state.gates(summary, of_run)
    shown = {row_[0].text: row_[1].text for row_ in part.tables[0].rows}
    assert (shown["p99 latency"], shown["p95 latency"]) == ("off", "pass")
    assert part.notes == [
        "A hybrid needs 0.8 of the debate's accuracy.",
        "`gates.p95_ms` is 500.0 here, and 80.0 in the run's config.",
        "`gates.p99_ms` is none here, and 200.0 in the run's config.",
    ]
    assert state.gates(summary, used.model_dump(mode="json")).notes == part.notes[:1]
    both = side_by_side.gates(["one", "two"], [summary_of(tmp_path / "x", ROWS), summary])
    p99 = next(row_ for row_ in both.tables[0].rows if row_[0].text == "p99 latency")
    assert (p99[1].text, p99[2].text) == ("29.8 ms", "off")


def test_rivals_are_a_table_with_the_level_of_its_intervals(tmp_path: Path) -> None:
    sure = GatesConfig(confidence=0.9)
    rft = [one | {"arm": "rft"} for one in ROWS if one["arm"] == "single"]
    stored = [write(tmp_path, [*ROWS, *rft])]
    summary = summarize(stored, sure, train_traces=1500, seeds=[17], controls=["rft"])
    _, against, rivals = arms.accuracy(summary).tables
    level = "Difference, points, 90% interval"
    assert (against.columns[1], rivals.columns[2]) == (level, level)
    rows = {row_[0].text: row_ for row_ in rivals.rows}
    assert list(rows) == ["Rft, the RFT control", "Single answer", "Self-consistency"]
    single = rows["Single answer"]
    # the student alone is right on q2 and q3
    assert [one.text for one in single[1:]] == ["no difference shown", "+50.0", "2", "0"]
    assert (single[1].note, single[1].mark) == ("n 4", "warn")
    assert "90%" in arms.accuracy(summary).foot
    assert "90% interval" in arms.accuracy(summary).charts[1]["caption"]


def test_second_turns_say_that_first_answers_are_drawn_anew(tmp_path: Path) -> None:
    part = quality.second_turns(summary_of(tmp_path, ROWS))
    assert "first answers are drawn anew for its second turn" in part.foot


def test_columns_without_a_figure_are_left_out() -> None:
    rows = [[cell("a"), cell(DASH), cell("1")], [cell("b"), cell(DASH), cell(DASH)]]
    found = without_empty(Table(columns=("x", "y", "z"), rows=rows))
    assert found.columns == ["x", "z"]
    assert [[one.text for one in row_] for row_ in found.rows] == [["a", "1"], ["b", DASH]]
