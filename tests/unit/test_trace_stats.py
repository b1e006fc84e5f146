"""Statistics of traces: figures that can be counted by hand, on rows and through the command."""

import json
import random
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from agentark_ray.cli import app
from agentark_ray.config import ConfigError
from agentark_ray.debate_rows import light_rows
from agentark_ray.histogram import LogHistogram
from agentark_ray.page.form import percent
from agentark_ray.page.html import packed_plotly
from agentark_ray.prices import TokenPrices
from agentark_ray.traces.charts import stats_charts
from agentark_ray.traces.stats import COLUMNS, Tally, cost, stats, tally
from agentark_ray.traces.terminal import figures
from tests.unit.transcripts import failed, row, turn, write

ROWS = [
    row("debate", "q1", "rrr", stop_reason="unanimous", wall_s=1.0),
    row("debate", "q2", "wwr", "rrr", stop_reason="unanimous", wall_s=2.0, cached_tokens=60),
    row("debate", "q3", "rrw", "rww", "wwu", wall_s=3.0),
    row("debate", "q4", "wwu", "uwr", wall_s=4.0),
    failed("debate", "q5", "rrw", wall_s=600.0),
    row("debate", "q1", "r", kind="latency"),  # not counted
]


@pytest.fixture
def found(tmp_path: Path) -> dict[str, Any]:
    return stats(tally(light_rows([write(tmp_path, ROWS)], COLUMNS)))


def test_debates_are_counted_by_status(found: dict[str, Any]) -> None:
    assert (found["debates"], found["graded"], found["status"]) == (5, 5, {"ok": 4, "failed": 1})


def test_failed_debates_count_as_wrong(found: dict[str, Any]) -> None:
    # q3 ends wrong; in q4 `uwr` has one wrong and one right answer, and the first one leads
    assert [r["verdict"] for r in ROWS[:5]] == ["correct", "correct", "incorrect", "correct", None]
    assert found["accuracy"] == 3 / 5


def test_a_stopped_debate_keeps_its_last_vote(found: dict[str, Any]) -> None:
    # leading answers: q1 3/3 right; q2 2/3 wrong, 3/3 right; q3 2/3 right, 2/3 wrong, 2/3 wrong;
    # q4 2/3 wrong, 1/3 right; q5 failed
    first, second, third = found["rounds"]
    assert [first["vote_accuracy"], second["vote_accuracy"], third["vote_accuracy"]] == [
        2 / 5,
        3 / 5,
        3 / 5,
    ]
    assert first["agreement"] == pytest.approx((3 + 2 + 2 + 2) / 3 / 4)
    assert second["agreement"] == pytest.approx((3 + 3 + 2 + 1) / 3 / 4)
    assert third["agreement"] == pytest.approx((3 + 3 + 2 + 1) / 3 / 4)
    assert [r["running"] for r in found["rounds"]] == [1.0, 3 / 4, 1 / 4]


def test_paths_compare_first_and_last_round(found: dict[str, Any]) -> None:
    # q2: wr, wr, rr; q3 r..w, r..w, w..u; q4: wu, ww, ur; those who spoke once do not count
    assert found["paths"] == {
        "kept_right": 1,
        "corrected": 3,
        "corrupted": 2,
        "stayed_wrong": 3,
        "undecided": 0,
    }


def test_a_judge_has_no_path() -> None:
    judged = row("debate", "q1", "rw", "wr")
    judges = [turn(2, 0, "incorrect"), turn(2, 1, "correct")]
    judged["turns"] += [said | {"role": "judge"} for said in judges]
    assert stats(tally([judged]))["paths"] == {
        "kept_right": 0,
        "corrected": 1,
        "corrupted": 1,
        "stayed_wrong": 0,
        "undecided": 0,
    }


def test_stops_are_counted_by_round_and_reason(found: dict[str, Any]) -> None:
    assert found["stops"] == [
        {"rounds": 1, "reason": "unanimous", "debates": 1},
        {"rounds": 2, "reason": "rounds", "debates": 1},
        {"rounds": 2, "reason": "unanimous", "debates": 1},
        {"rounds": 3, "reason": "rounds", "debates": 1},
    ]


def test_tokens_are_those_of_all_debates(found: dict[str, Any]) -> None:
    turns = 3 + 6 + 9 + 6 + 3
    assert found["tokens"] == {
        "output_tokens": 10 * turns,
        "prompt_tokens": 20 * turns,
        "cached_tokens": 60,
    }
    assert found["tokens_per_debate"]["output_tokens"] == 54.0
    assert found["cached_share"] == pytest.approx(1 / 9)


def test_wall_time_is_that_of_debates_that_ended_well(found: dict[str, Any]) -> None:
    assert found["wall_s"]["p50"] == pytest.approx(2.0, rel=0.012)
    assert found["wall_s"]["p95"] == pytest.approx(4.0, rel=0.012)


def test_shortened_turns_are_counted_where_the_traces_know_of_them(tmp_path: Path) -> None:
    rows = [row("debate", "q1", "rr") | {"shortened_turns": n} for n in (2, 0, 3)]
    known, older = write(tmp_path / "known", rows), write(tmp_path / "older", rows[:1])
    for path in older.files:
        pq.write_table(pq.read_table(path).drop_columns("shortened_turns"), path)
    found = stats(tally(light_rows([known, older], COLUMNS)))
    assert found["shortened_turns"] == 5
    assert figures(found)["turns without the oldest rounds"] == "5, too long"


def test_debates_without_a_verdict_have_no_accuracy() -> None:
    ungraded = row("debate", "q1", "rr", verdict=None)
    assert stats(tally([ungraded, failed("debate", "q2", "r")]))["accuracy"] is None
    half = stats(tally([ungraded, row("debate", "q2", "r"), failed("debate", "q3", "r")]))
    assert (half["graded"], half["accuracy"]) == (2, 1 / 2)


def test_only_failures_have_no_rounds_and_no_times() -> None:
    found = stats(tally([failed("debate", "q1", "rr")]))
    assert (found["accuracy"], found["rounds"], found["stops"]) == (0.0, [], [])
    assert found["wall_s"] == {"p50": None, "p95": None}
    assert [chart["figure"] for chart in stats_charts(found, [])] == [None] * 4


def test_cached_prompt_tokens_have_their_own_price() -> None:
    tokens = {"output_tokens": 3_000_000, "prompt_tokens": 5_000_000, "cached_tokens": 4_000_000}
    assert cost(tokens, 500, TokenPrices(output=2.0, prompt=1.0, cached=0.25)) == {
        "output": 6.0,
        "prompt": 1.0,
        "cached": 1.0,
        "total": 8.0,
        "per_1000_debates": 16.0,
    }


@pytest.mark.parametrize("q", [1, 50, 95, 100])
def test_percentiles_are_within_the_promise(q: int) -> None:
    values = sorted(random.Random(q).lognormvariate(1, 2) for _ in range(1_000))
    histogram = LogHistogram()
    for value in values:
        histogram.add(value)
    assert histogram.percentile(q) == pytest.approx(values[10 * q - 1], rel=0.012)


def test_a_histogram_stays_small_and_counts_zero() -> None:
    histogram = LogHistogram()
    for value in range(100_000):
        histogram.add(value)
    assert len(histogram.bins) <= 5 * 100 + 1 + 600
    assert histogram.bins.total() == 100_000
    assert sum(count for _, count in histogram.coarse(5)) == 100_000


def test_coarse_bins_have_no_gaps_and_an_empty_one_at_each_end() -> None:
    histogram = LogHistogram()
    for value in (1.0, 1.5, 100.0):
        histogram.add(value)
    middles, counts = zip(*histogram.coarse(100), strict=True)  # a bin a decade
    assert counts == (0, 2, 0, 1, 0)
    assert middles == pytest.approx([10**exponent for exponent in (-0.5, 0.5, 1.5, 2.5, 3.5)])


def test_a_tally_does_not_grow_with_its_rows() -> None:
    def size(rows: int) -> int:
        tally_ = Tally()
        for i in range(rows):
            tally_.add(row("debate", f"q{i}", "rw", "rr", wall_s=1 + i % 7))
        rounds = tally_.rounds
        counters = (tally_.stops, rounds._held, rounds._ended, tally_.looks, tally_.wall_s.bins)
        return sum(map(len, counters))

    assert size(700) == size(14)


def test_several_arms_ask_for_one() -> None:
    rows = [row("single", "q1", "r"), row("debate", "q1", "rw")]
    with pytest.raises(ConfigError, match=r"several arms, name one: --arm single\|debate"):
        tally(rows)
    with pytest.raises(ConfigError, match="--arm other: no such arm, there is single, debate"):
        tally(rows, "other")
    assert tally(rows, "debate").statuses.total() == 1


def test_nothing_to_count_is_an_error() -> None:
    with pytest.raises(ConfigError, match="no debates"):
        tally([])


def agentark(*args: object) -> Result:
    return CliRunner().invoke(app, ["traces", "stats", *map(str, args)])


def test_the_command_prints_one_json_object(tmp_path: Path, found: dict[str, Any]) -> None:
    done = agentark(tmp_path, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == found


def test_a_run_folder_is_read_at_its_traces(tmp_path: Path) -> None:
    write(tmp_path / "run" / "traces", ROWS)
    (tmp_path / "run" / "manifest.json").write_text("{}")
    assert json.loads(agentark(tmp_path / "run", "--json").stdout)["debates"] == 5


def test_the_table_has_the_figures(tmp_path: Path) -> None:
    write(tmp_path, ROWS)
    prices = ("--price-output", 100, "--price-prompt", 10, "--price-cached", 1)
    done = agentark(tmp_path, *prices)
    assert done.exit_code == 0, done.output
    for words in (
        "5 (4 ok, 1 failed)",
        "60.0% of 5",
        "270, 54 a debate",
        "11.1%",
        "after 3 rounds",
    ):
        assert words in done.stdout
    total = (270 * 100 + 480 * 10 + 60 * 1) / 1e6
    assert f"{total:.2g} USD" in done.stdout
    assert percent(1 / 4) in done.stdout


def test_prices_of_the_run_are_the_default(tmp_path: Path) -> None:
    write(tmp_path / "run" / "traces", ROWS)
    prices = {"output": 100.0, "prompt": 10.0, "cached": 1.0}
    manifest = {"config": {"prices": prices}}
    (tmp_path / "run" / "manifest.json").write_text(json.dumps(manifest))
    found = json.loads(agentark(tmp_path / "run", "--json").stdout)
    assert found["cost"]["total"] == pytest.approx((270 * 100 + 480 * 10 + 60 * 1) / 1e6)
    free = [f"--price-{name}=0" for name in prices]
    assert json.loads(agentark(tmp_path / "run", "--json", *free).stdout)["cost"]["total"] == 0


def test_prices_come_together(tmp_path: Path) -> None:
    done = agentark(write(tmp_path, ROWS).files[0], "--price-output", 1)
    assert done.exit_code == 2
    assert "all of --price-output, --price-prompt and --price-cached" in done.stderr


class Loads(HTMLParser):
    """What a page would load, and how often it has plotly."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [f"{tag} {name}" for name, _ in attrs if name in ("src", "srcset", "data")]
        self.found += [tag] if tag == "link" else []


def test_the_plot_is_one_file_with_every_chart(tmp_path: Path) -> None:
    write(tmp_path / "traces", ROWS)
    page = tmp_path / "stats.html"
    assert agentark(tmp_path, "--plot", page).exit_code == 0
    html = page.read_text()
    assert html.count(packed_plotly()) == 1
    rest = html.replace(packed_plotly(), "")
    assert Loads(rest).found == []
    assert "default-src 'none'" in rest
    figures = json.loads(rest.split('id="figures">')[1].split("</script>")[0])
    assert list(figures) == ["rounds", "paths", "stops", "wall"]
    for name, figure in figures.items():
        assert f'id="chart-{name}"' in rest
        assert go.Figure(json.loads(json.dumps(figure), object_hook=_without_colours)).data
        titles = [figure["layout"][axis].get("title") for axis in ("xaxis", "yaxis")]
        assert all(titles)
    assert figures["paths"]["data"][0]["y"] == [1, 3, 2, 3]


def _without_colours(value: dict[str, Any]) -> dict[str, Any]:
    return {key: inner for key, inner in value.items() if not _is_colour(inner)}


def _is_colour(value: Any) -> bool:
    values = value if isinstance(value, list) else [value]
    return any(isinstance(one, str) and one.startswith("var:") for one in values)


def test_a_plot_in_no_folder_is_refused_before_counting(tmp_path: Path) -> None:
    done = agentark(tmp_path / "missing", "--plot", tmp_path / "no" / "stats.html")
    assert done.exit_code == 2
    assert "no such folder" in done.stderr
    assert "--plot" in done.stderr


def test_a_file_that_is_not_parquet_is_named(tmp_path: Path) -> None:
    (tmp_path / "traces").mkdir()
    (tmp_path / "traces" / "a.parquet").write_bytes(b"half a file")
    done = agentark(tmp_path)
    assert done.exit_code == 2
    assert "cannot be read" in done.stderr
    assert "a.parquet" in done.stderr
