"""Hand-labelled answers that graders get wrong: at most 0.5 % errors, all of them known."""

import json
from collections import Counter
from pathlib import Path

import pytest

from agentark_ray.grading.registry import GRADERS
from agentark_ray.types import Verdict

FILE = Path(__file__).parents[1] / "data" / "tricky_answers.jsonl"
PAIRS = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]
MAX_ERROR = 0.005
KNOWN_ERRORS: tuple[tuple[str, str], ...] = ()  # (grader, response) that are graded wrongly


def test_the_file_is_large_and_a_third_of_it_is_wrong() -> None:
    assert len(PAIRS) >= 300
    assert {pair["grader"] for pair in PAIRS} == set(GRADERS)
    assert len({(p["grader"], p["response"], p["gold"]) for p in PAIRS}) == len(PAIRS)
    expected = Counter(pair["expected"] for pair in PAIRS)
    assert set(expected) == {Verdict.CORRECT, Verdict.INCORRECT, Verdict.UNPARSABLE}
    assert expected[Verdict.CORRECT] < len(PAIRS) * 2 / 3
    assert all(pair["why"].strip() for pair in PAIRS)


@pytest.mark.timeout(300)
def test_errors_on_tricky_answers() -> None:
    errors = []
    for pair in PAIRS:
        grader = GRADERS[pair["grader"]]
        answer = grader.extract(pair["response"])
        verdict = grader.verdict(answer, pair["gold"])
        if verdict != pair["expected"] and (pair["grader"], pair["response"]) not in KNOWN_ERRORS:
            errors.append(f"{pair}: got {verdict}, answer {answer!r}")
    assert not errors, "\n".join(errors)
    assert len(KNOWN_ERRORS) <= MAX_ERROR * len(PAIRS)


@pytest.mark.parametrize("name", ["numeric", "choice"])
def test_an_extracted_answer_extracts_to_an_equal_one(name: str) -> None:
    grader = GRADERS[name]
    for pair in PAIRS:
        answer = grader.extract(pair["response"])
        if answer is not None:
            again = grader.extract(answer)
            assert again is not None and grader.equal(again, answer), (pair["response"], answer)
