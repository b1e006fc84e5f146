"""Which debates the report shows, and that only their texts are read."""

from pathlib import Path
from typing import Any

from agentark_ray.evaluate.examples import choose_examples, read_examples
from tests.unit.transcripts import failed, row, write

EXAMPLES = [
    row("debate", "q1", "rrr"),
    row("debate", "q2", "wwr", "rrr"),
    row("debate", "q3", "rrw", "www"),
    row("debate", "q4", "rrw", "rrr"),
    failed("debate", "q5"),
    *(row("single", f"q{i}", "w") for i in (1, 4)),
    *(row("student", f"q{i}", "r") for i in (1, 2, 3, 4)),
    row("single", "q2", "r"),
    row("debate", "q0", "www", kind="latency"),
    row("student", "q1", "r", kind="latency"),
    row("single", "q1", "r", replica=1),
    row("debate", "q2", "www", replica=1),
]


def titles(rows: list[dict[str, Any]]) -> dict[str, str]:
    return {example.question_id: example.title for example in choose_examples(rows)}


def test_examples_are_a_corrected_one_a_learnt_one_and_one_gone_wrong() -> None:
    assert titles(EXAMPLES) == {
        "q2": "The debate corrects a wrong vote",
        "q1": "The student is right where a single answer is wrong",
        "q3": "The debate talks itself out of the right answer",
    }
    assert titles(EXAMPLES[::-1]) == titles(EXAMPLES)


def test_examples_fall_back_in_order() -> None:
    rows = [row("debate", "q4", "rrw", "rrr"), row("debate", "q1", "rrr"), failed("debate", "q5")]
    assert titles(rows) == {
        "q4": "The debate wins over the agents that were wrong",
        "q1": "All agents agree at once",
        "q5": "The debate failed",
    }
    assert titles([row("debate", "q", "www")]) == {"q": "All agents agree on a wrong answer"}
    assert titles([row("debate", "q", "wrw")]) == {"q": "The debate ends on a wrong answer"}
    assert titles([row("single", "q", "r")]) == {}


def test_read_examples_brings_texts_of_the_chosen_questions_only(tmp_path: Path) -> None:
    found = read_examples([write(tmp_path, EXAMPLES)])
    assert {r["question_id"] for r in found} == {"q1", "q2", "q3"}
    assert {(r["kind"], r["replica"]) for r in found} == {("main", 0)}
    assert {r["arm"] for r in found} == {"single", "debate", "student"}
    assert found[0]["turns"][0]["text"] == "said"
    assert titles(found) == titles(EXAMPLES)
