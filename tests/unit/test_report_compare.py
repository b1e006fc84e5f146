"""Runs compared, and reports as Markdown."""

import re
from pathlib import Path
from typing import Any

import pytest

from agentark_ray.evaluate.report import markdown
from agentark_ray.evaluate.report.compare import Answers, Comparison, as_json, compare, paired
from agentark_ray.evaluate.report.parts import DASH
from agentark_ray.evaluate.tally import tally
from tests.unit.reports import run
from tests.unit.transcripts import ROWS, row, summary_of, write


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
    assert as_json(found)["confidence"] == 0.95
    assert paired([found]).tables[0].columns[3] == "Difference, points, 95% interval"
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
    assert "| Difference, points, 95% interval |" in text
    assert "- Against a single answer no difference of the student is shown: +50.0 points" in text
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
