"""The parts of the agreement benchmark that need no lm-eval, by hand."""

import json
import random
from pathlib import Path

import pytest

from agentark_ray.grading.numeric import NUMERIC
from agentark_ray.types import Verdict
from benchmarks.lm_eval_agreement import (
    FILTERS,
    FORMS,
    INVALID,
    Counts,
    Harness,
    Output,
    another,
    compare,
    is_asked,
    published,
    ratios,
    rewritten,
    same_number,
    shares,
    summed,
)

SOLUTION = "He buys 3 bags of 12 eggs, 3*12=36 eggs.\nHe breaks half of 36, so 18 are left."


class Fixed(Harness):
    """Says what it is told to."""

    def __init__(self, flexible: str, right: bool, strict_right: bool) -> None:
        said = ((flexible, right), (INVALID, strict_right))
        self._said: dict[str, tuple[str, bool]] = dict(zip(FILTERS, said, strict=True))

    def grade(self, text: str, gold: str) -> dict[str, tuple[str, bool]]:
        return self._said


def test_our_grader_is_right_in_every_form() -> None:
    rng = random.Random(5)
    for gold in ("18", "1234", "7", "-4", "250000"):
        for _ in range(4):
            for output in rewritten(SOLUTION, gold, rng):
                verdict = NUMERIC.verdict(NUMERIC.extract(output.text), gold)
                if output.right is not None:
                    assert (verdict == Verdict.CORRECT) is output.right, output


def test_half_of_the_outputs_are_wrong_and_a_wrong_number_is_another_one() -> None:
    rng = random.Random(3)
    made = [one for _ in range(200) for one in rewritten(SOLUTION, "18", rng)]
    known = [one.right for one in made if one.right is not None]
    assert sum(known) == pytest.approx(len(known) / 2, rel=0.1)
    assert {one.form for one in made} == set(FORMS)
    assert all(another(number, rng) != number for number in ("0", "1", "-3", "18") * 50)


def test_forms_that_a_task_asks_for() -> None:
    asked = {name for name in FORMS if is_asked(name)}
    assert asked == {
        *("hashes", "hashes, commas", "hashes, currency", "hashes, corrected"),
        *("boxed", "boxed, commas", "boxed, currency", "boxed, decimals", "boxed, unit"),
    }
    assert not is_asked("run: single")


@pytest.mark.parametrize(
    ("flexible", "ours", "same"),
    [
        ("18", "18", True),
        ("$1,234.", "1234", True),
        ("18.00", "18", True),
        ("$.", "18", False),
        (INVALID, None, True),
        (INVALID, "18", False),
        ("18", None, False),
        ("...", None, True),
        ("3", "36/3", False),
    ],
)
def test_the_same_number(flexible: str, ours: str | None, same: bool) -> None:
    assert same_number(flexible, ours) is same


def test_counts_by_hand() -> None:
    counts, other = Counts(), Counts()
    right = Output(form="boxed", text="\\boxed{18}", gold="18", right=True)
    compare(Fixed("18", True, False), right, counts)
    compare(Fixed("$.", False, False), right, counts)
    wrong = Output(form="boxed", text="\\boxed{17}", gold="18", right=False)
    compare(Fixed("17", False, False), wrong, counts)
    compare(Fixed("17", False, True), wrong, other)
    assert (counts.outputs, counts.extracted, counts.graded, counts.graded_strict) == (3, 2, 2, 1)
    assert (counts.ours_right, counts.flexible_right, counts.strict_right) == (3, 2, 1)
    (difference,) = counts.differences
    assert difference == {"end": "\\boxed{18}", "gold": "18", "lm_eval": "$.", "ours": "18"}
    found = {"boxed": counts, "hashes": other}
    assert summed(found, ["boxed", "hashes"]) == {
        "extracted": 3 / 4,
        "graded": 3 / 4,
        "graded_strict": 1 / 4,
    }
    assert summed(found, ["hashes"])["graded"] == 1.0
    told = shares("boxed", counts)
    assert (told["asked"], told["extracted"], told["ours_right"]) == (True, 0.6667, 1.0)
    unknown = Counts()
    compare(Fixed("17", False, False), Output(form="x", text="17", gold="18", right=None), unknown)
    assert "ours_right" not in shares("run: single", unknown)


def test_ratios_of_asked_forms_of_all_and_of_a_run() -> None:
    found = {
        "boxed": Counts(outputs=4, extracted=4, graded=3),
        "bold": Counts(outputs=4, extracted=2, graded=1),
        "run: single": Counts(outputs=5, extracted=4, graded=5),
    }
    assert ratios(found) == {
        "asked_extracted": 1.0,
        "asked_graded": 0.75,
        "all_extracted": 0.75,
        "all_graded": 0.5,
        "run_extracted": 0.8,
        "run_graded": 1.0,
    }
    without_run = ratios({"boxed": found["boxed"]})
    assert list(without_run) == ["asked_extracted", "asked_graded", "all_extracted", "all_graded"]


def test_published_solutions(tmp_path: Path) -> None:
    file = tmp_path / "test.jsonl"
    records = [
        {"question": "Q?", "answer": "3*6=<<3*6=18>>18.\n#### 18"},
        {"question": "R?", "answer": "#### 4"},  # says no reasoning
    ]
    file.write_text("\n".join(map(json.dumps, records)))
    assert list(published(file)) == [("3*6=18.", "18")]
