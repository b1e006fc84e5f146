"""Transcripts on disk -> summary.json, with figures that can be counted by hand."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from agentark_ray.debate_rows import PathClass, light_rows, second_looks
from agentark_ray.evaluate.statistics import wilson
from agentark_ray.evaluate.summary import summarize
from agentark_ray.evaluate.transcripts import COLUMNS
from tests.unit.debates import RIGHT
from tests.unit.transcripts import BY_POINT, ROWS, failed, row, summary_of, write


@pytest.fixture
def summary(tmp_path: Path) -> dict[str, Any]:
    return summary_of(tmp_path, ROWS)


def test_accuracy_counts_failed_and_unparsable_as_wrong(summary: dict[str, Any]) -> None:
    arms = summary["arms"]
    assert list(arms) == ["single", "self_consistency", "debate", "student"]
    assert {name: arm["accuracy"] for name, arm in arms.items()} == {
        "single": 0.25,
        "self_consistency": 0.5,
        "debate": 0.5,
        "student": 0.75,
    }
    assert (arms["debate"]["n"], arms["debate"]["failed"], arms["single"]["unparsable"]) == (
        4,
        1,
        1,
    )
    assert arms["debate"]["ci_low"] < 0.5 < arms["debate"]["ci_high"]


def test_tokens_are_a_mean_over_all_queries(summary: dict[str, Any]) -> None:
    debate = summary["arms"]["debate"]  # 3 + 6 + 6 + 3 turns of 10 and 20 tokens, 4 queries
    assert debate["output_tokens_per_query"] == 45.0
    assert debate["prompt_tokens_per_query"] == 90.0


def test_latency_is_that_of_the_finished_latency_rows(summary: dict[str, Any]) -> None:
    found = summary["arms"]["student"]["latency_ms"]
    assert found == {"p50": 20.0, "p95": 29.0, "p99": 29.8, "n": 3, "failed": 1}


def test_an_arm_without_latency_rows_has_nulls(summary: dict[str, Any]) -> None:
    found = summary["arms"]["single"]["latency_ms"]
    assert found == {"p50": None, "p95": None, "p99": None, "n": 0, "failed": 0}


def test_self_correction_of_the_probe_of_agents_and_of_nobody(summary: dict[str, Any]) -> None:
    found = {name: arm["self_correction"] for name, arm in summary["arms"].items()}
    assert found["single"] == {
        "fixed": 2 / 3,
        "broken": 1.0,
        "fixed_count": 2,
        "wrong_before": 3,
        "broken_count": 1,
        "right_before": 1,
    }
    assert found["debate"] == {
        "fixed": 2 / 3,
        "broken": 1 / 3,
        "fixed_count": 2,
        "wrong_before": 3,
        "broken_count": 1,
        "right_before": 3,
    }
    assert found["self_consistency"] is None
    assert found["student"] is None


def test_second_looks_compare_first_and_last_whatever_the_order() -> None:
    trace = row("debate", "q", "wr", "wr", "rr")
    trace["turns"].reverse()
    assert second_looks(trace) == [PathClass.CORRECTED, PathClass.KEPT_RIGHT]
    assert second_looks(row("debate", "q", "rw")) == []


def test_rounds_carry_stopped_debates_and_count_the_failed(summary: dict[str, Any]) -> None:
    first, second = summary["rounds"]
    assert first == {
        "round": 0,
        "agreement": pytest.approx((1 + 2 / 3 + 2 / 3) / 3),
        "vote_accuracy": 2 / 4,
        "running": 1.0,
    }
    assert second["vote_accuracy"] == summary["arms"]["debate"]["accuracy"]
    assert second["running"] == pytest.approx(2 / 3)


def test_arms_are_compared_with_the_debate_question_by_question(summary: dict[str, Any]) -> None:
    assert summary["mcnemar"]["student"] == {
        "pairs": 4,
        "only_first": 1,
        "only_second": 0,
        "p": 1.0,
    }
    assert "debate" not in summary["mcnemar"]


def test_the_decision_is_there_with_its_gates(summary: dict[str, Any]) -> None:
    assert summary["decision"] == "hybridize"
    values = {gate["name"]: (gate["value"], gate["passed"]) for gate in summary["gates"]}
    assert values["accuracy_ratio"] == (1.5, True)
    assert values["token_ratio"] == (10 / 45, False)
    assert values["min_traces"] == (1500, True)
    assert set(summary["warnings"]) < set(summary["reasons"])
    assert (summary["questions"], summary["seeds"]) == (4, [17])


def test_gates_that_are_not_the_runs_are_kept_and_warned_of(tmp_path: Path) -> None:
    stored = [write(tmp_path, ROWS)]
    used = BY_POINT.model_copy(update={"p95_ms": 500.0, "token_ratio": None})
    found = summarize(stored, used, train_traces=1500, seeds=[17], gates_of_run=BY_POINT)
    assert found["gate_settings"] == used.model_dump(mode="json")
    assert found["warnings"][0] == (
        "Decided by other gates than the run's config has (config -> used):"
        " `gates.p95_ms: 80.0 -> 500.0`; `gates.token_ratio: 0.2 -> None`."
    )
    assert found["warnings"][0] in found["reasons"]
    same = summarize(stored, used, train_traces=1500, seeds=[17], gates_of_run=used)
    assert same["warnings"] == found["warnings"][1:]


def many(arm: str, right: range | set[int], n: int = 100) -> list[dict[str, Any]]:
    """An arm that is right on some of n questions."""
    return [row(arm, f"q{i}", "r" if i in right else "w") for i in range(n)]


def test_the_student_is_compared_with_its_cheaper_rivals(tmp_path: Path) -> None:
    rows = [
        *many("single", range(60)),  # 20 only the student
        *many("self_consistency", {*range(77), 90, 91}),  # 3 only the student, 2 only the vote
        *many("debate", range(80)),
        *many("student", range(80)),
        *many("rft", range(92)),
    ]
    stored = [write(tmp_path, rows)]
    found = summarize(stored, BY_POINT, train_traces=1500, seeds=[17], controls=["rft"])
    rivals = found["against_rivals"]
    assert {arm: one["standing"] for arm, one in rivals.items()} == {
        "rft": "worse",
        "single": "better",
        "self_consistency": "no difference shown",
    }
    single = rivals["single"]
    assert (single["only_student"], single["only_rival"], single["questions"]) == (20, 0, 100)
    assert single["difference"] == pytest.approx(0.2)
    assert single["low"] < single["difference"] < single["high"]
    assert (single["confidence"], found["against_debate"]["rft"]["confidence"]) == (0.95, 0.95)
    told = [one["told"] for one in rivals.values()]
    assert told[0].startswith(
        "Against the RFT control (rft) the student is worse: -12.0 points of accuracy on 100"
        " common questions, 95 % interval -1"
    )
    assert told[1].startswith("Against a single answer the student is better: +20.0 points")
    assert "no difference of the student is shown: +1.0 points" in told[2]
    assert set(told) <= set(found["reasons"])


def test_the_control_is_no_rival_of_itself(tmp_path: Path) -> None:
    rows = [*many("debate", range(8), 10), *many("student", range(8), 10)]
    stored = [write(tmp_path, rows)]
    asked = {"train_traces": 1500, "seeds": [17], "controls": ["student"]}
    assert summarize(stored, BY_POINT, **asked)["against_rivals"] == {}


def test_several_datasets_are_one_evaluation(tmp_path: Path, summary: dict[str, Any]) -> None:
    base = [r for r in ROWS if not r["arm"].startswith("student")]
    student = [r for r in ROWS if r["arm"].startswith("student")]
    parts = [write(tmp_path / "x", base), write(tmp_path / "y", student)]
    assert summarize(parts, BY_POINT, train_traces=1500, seeds=[17]) == summary


@pytest.mark.parametrize(
    "rows",
    [
        ROWS,
        [failed("debate", "q1"), failed("student", "q1"), failed("single", "q1")],
        [row("debate", "q1", "uuu", "uuu"), row("student", "q1", "u")],
        [row("student", "q1", "r")],
    ],
    ids=["usual", "all failed", "nobody answers", "student only"],
)
def test_the_summary_is_json_without_nan(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    text = json.dumps(summary_of(tmp_path, rows), allow_nan=False)
    assert json.loads(text) == summary_of(tmp_path, rows)
    assert not any(isinstance(v, float) and math.isnan(v) for v in _leaves(json.loads(text)))


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return [leaf for item in inner for leaf in _leaves(item)]
    return [value]


def test_when_everything_failed_the_summary_says_so(tmp_path: Path) -> None:
    rows = [failed(arm, f"q{i}") for arm in ("single", "debate", "student") for i in range(5)]
    found = summary_of(tmp_path, rows)
    assert found["decision"] == "continue"
    assert found["arms"]["debate"]["failed"] == 5
    assert any("cannot solve this task" in text for text in found["reasons"])


def test_a_failed_query_is_wrong_whatever_its_verdict(tmp_path: Path) -> None:
    rows = [failed("debate", "q1", verdict=RIGHT), row("debate", "q2", "r")]
    assert summary_of(tmp_path, rows)["arms"]["debate"]["correct"] == 1


def test_a_question_answered_twice_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'debate' answers question q1 twice"):
        summary_of(tmp_path, [row("debate", "q1", "r"), row("debate", "q1", "r")])


def again(trace: dict[str, Any], replica: int) -> dict[str, Any]:
    return trace | {"replica": replica, "debate_id": f"{trace['debate_id']}-{replica}"}


def test_several_answers_to_a_question_are_one_cluster(tmp_path: Path) -> None:
    once = [row("debate", f"q{i}", "r" if i % 4 else "w") for i in range(40)]
    once += [row("student", f"q{i}", "r" if i % 3 else "w") for i in range(40)]
    often = [again(trace, k) for trace in once for k in range(5)]
    alone, many = summary_of(tmp_path / "1", once), summary_of(tmp_path / "5", often)
    student = many["arms"]["student"]
    assert (student["n"], student["questions"], student["correct"]) == (200, 40, 130)
    # The same answer five times is known no better than once.
    for key in ("accuracy", "ci_low", "ci_high", "output_tokens_per_query"):
        assert student[key] == pytest.approx(alone["arms"]["student"][key])
    assert many["against_debate"]["student"] == pytest.approx(alone["against_debate"]["student"])
    assert [gate["bound"] for gate in many["gates"]] == pytest.approx(
        [gate["bound"] for gate in alone["gates"]]
    )
    found = many["mcnemar"]["student"]
    # q0 is wrong in both arms every 12th time: 10 - 4 and 14 - 4
    assert (found["pairs"], found["only_first"], found["only_second"]) == (40, 6, 10)
    assert found["p"] == pytest.approx(0.3173, abs=1e-4)  # z = 4 / sqrt(16)
    assert "65.0% of 40 questions (200 answers)" in " ".join(many["reasons"])


def test_different_answers_to_a_question_say_more_than_one(tmp_path: Path) -> None:
    rows = [
        again(row("student", f"q{i}", "r" if (i + k) % 2 else "w"), k)
        for i in range(20)
        for k in range(4)
    ]
    student = summary_of(tmp_path, rows)["arms"]["student"]
    # Every question is right in half of its answers: as good as 20 questions, no better.
    assert (student["ci_low"], student["ci_high"]) == pytest.approx(wilson(10, 20))
    rows = [
        again(row("student", f"q{i}", "r" if (i + k) % 3 else "w"), k)
        for i in range(20)
        for k in range(4)
    ]
    low, high = (
        summary_of(tmp_path / "b", rows)["arms"]["student"][key] for key in ("ci_low", "ci_high")
    )
    assert high - low < 0.75 * (wilson(13, 20)[1] - wilson(13, 20)[0])


def test_an_arm_answers_all_questions_as_often(tmp_path: Path) -> None:
    rows = [row("debate", "q1", "r"), again(row("debate", "q1", "r"), 1), row("debate", "q2", "r")]
    with pytest.raises(ValueError, match="1 to 2 times"):
        summary_of(tmp_path, rows)


def test_latency_rows_alone_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no rows of kind 'main'"):
        summary_of(tmp_path, [row("student", "q1", "r", kind="latency")] * 2)


def test_texts_and_prompts_stay_on_disk(tmp_path: Path) -> None:
    rows = list(light_rows([write(tmp_path, ROWS)], COLUMNS))
    assert len(rows) == len(ROWS)
    (turn_,) = rows[0]["turns"]
    assert (turn_["agent"], turn_["round"], turn_["verdict"]) == (0, 0, RIGHT)
    assert not turn_.keys() - {"agent", "role", "round", "verdict"}
    assert set(rows[0]) == {name.split(".")[0] for name in COLUMNS}
