"""Numeric answers: extraction and exact equality."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentark_ray.grading.numeric import NUMERIC, equal, extract_answer, parse
from agentark_ray.types import Verdict
from tests.unit.real_files import GSM8K_FILES, needs_gsm8k


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("so it is \\boxed{12}", "12"),
        ("first \\boxed{3}, then \\boxed{-4.50}", "-4.50"),
        ("The total is $1,234.\n#### 1,234", "1234"),
        ("#### -7", "-7"),
        ("The answer is 42. I used 7 steps.", "42"),
        ("the answer is: $3.50", "3.50"),
        ("3 + 4 = 7", "7"),
        ("it costs 1/2 of it", "1/2"),
        ("He is 5.", "5"),
        ("no number here", None),
        ("", None),
        ("\\boxed{x}", None),
        ("\\boxed{}  but 5 before", "5"),
        ("the answer is .5", ".5"),
    ],
)
def test_extraction(text: str, expected: str | None) -> None:
    assert extract_answer(text) == expected


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("12", "12.0", True),
        ("1/2", "0.5", True),
        ("1,000", "1000", True),
        (".5", "0.50", True),
        ("+3", "3", True),
        ("0.3333", "1/3", False),
        ("-3", "3", False),
        ("1/0", "1/0", True),
        ("1/0", "5", False),
    ],
)
def test_equality_is_exact(a: str, b: str, same: bool) -> None:
    assert equal(a, b) is same
    assert equal(b, a) is same


def test_verdicts() -> None:
    assert NUMERIC.verdict("4.0", "4") == Verdict.CORRECT
    assert NUMERIC.verdict("5", "4") == Verdict.INCORRECT
    assert NUMERIC.verdict(None, "4") == Verdict.UNPARSABLE


@given(st.text())
def test_any_text_has_an_answer_equal_to_itself_or_none(text: str) -> None:
    answer = extract_answer(text)
    assert answer is None or equal(answer, answer)


@given(st.integers(-(10**9), 10**9), st.text(alphabet="abc .,\n"))
def test_a_boxed_integer_is_found_whatever_surrounds_it(number: int, noise: str) -> None:
    assert extract_answer(f"{noise}\\boxed{{{number}}}{noise}") == str(number)


@given(st.fractions(), st.fractions())
def test_equality_is_that_of_the_numbers(a: object, b: object) -> None:
    assert equal(str(a), str(b)) is (a == b)


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    "bomb", ["9" * 200_000, "{" * 100_000, "\\boxed{" * 20_000, "1," * 100_000]
)
def test_hostile_text_costs_little(bomb: str) -> None:
    answer = extract_answer(bomb)
    assert answer is None or equal(answer, answer)


@needs_gsm8k
@pytest.mark.parametrize(("split", "rows"), [("train", 7473), ("test", 1319)])
def test_every_gold_answer_of_gsm8k_is_right(split: str, rows: int) -> None:
    lines = (GSM8K_FILES / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == rows
    for line in lines:
        solution = json.loads(line)["answer"]
        gold, published = extract_answer(solution), solution.rpartition("####")[2]
        assert gold is not None, solution
        assert NUMERIC.verdict(gold, gold) == Verdict.CORRECT
        assert equal(gold, published) and not equal(f"{gold}1", gold)
        assert extract_answer(f"So it is \\boxed{{{gold}}}.") == gold


def test_two_thousand_verdicts_cost_little() -> None:
    steps = "She sells 48/2 = 24 clips in May and 48 + 24 = 72 clips in both months.\n" * 32
    ends = ("\\boxed{{{}}}", "#### {}", "The answer is {}.", "So there are {} left.")
    texts = [steps + ends[n % 4].format(f"{n * 7919:,}") for n in range(2_000)]

    def seconds() -> float:
        started = time.process_time()
        verdicts = {NUMERIC.verdict(extract_answer(t), str(n * 7919)) for n, t in enumerate(texts)}
        assert verdicts == {Verdict.CORRECT}
        return time.process_time() - started

    assert min(seconds() for _ in range(3)) < 3


@pytest.mark.timeout(10)
@pytest.mark.parametrize("answer", ["1e999999999", "9" * 1_000_000, "9^9999", "1/" + "9" * 5_000])
def test_numbers_beyond_all_bounds_are_not_computed(answer: str) -> None:
    assert parse(answer) is None
    assert equal(answer, answer)
    assert not equal(answer, "9")
