"""Mathematical answers: extraction, equality as a relation, and hostile texts."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentark_ray.grading.base import GradingTimeout
from agentark_ray.grading.latex import rewrite, squeeze, tidy
from agentark_ray.grading.lists import same_numbers
from agentark_ray.grading.math import MATH, equal, extract_answer
from agentark_ray.types import Verdict


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("so $\\boxed{\\frac{1}{2}}$.", "\\frac{1}{2}"),
        ("\\boxed{3} then \\boxed{4}.", "4"),
        ("\\boxed{1} and \\boxed{2}", "1, 2"),
        ("\\boxed{\\boxed{7}}", "{7}"),
        ("\\boxed{3} and then \\boxed{\\frac{1}{2", "3"),
        ("\\boxed{\\left\\{1, 2\\right\\}}", "\\left\\{1, 2\\right\\}"),
        ("The answer is $x^2+1$.", "x^2+1"),
        ("Final Answer: The final answer is $28 \\%$. I hope it is correct.", "28 \\%"),
        ("The value is 12.", "12"),
        ("Thus $f(3) = 7$.", "7"),
        ("It costs $5 and $6, so 11 in all.", "11"),
        ("\\frac{14}{3}", "\\frac{14}{3}"),
        ("$9$", "9"),
        ("<think>\\boxed{3}</think>\\boxed{4}", "4"),
        ("Nothing of the sort can be said about this.", None),
        ("", None),
    ],
)
def test_extraction(text: str, expected: str | None) -> None:
    assert extract_answer(text) == expected


def test_what_wraps_an_answer_is_taken_off() -> None:
    assert tidy(" $\\boxed{ 5 }$. ") == "5"
    assert tidy("\\[ x \\]") == "x"
    assert rewrite("\\dfrac12 \\leq x") == "\\frac{1}{2} \\le  x"
    assert squeeze("1 2") != squeeze("12")
    assert squeeze("\\left( 1 , 2 \\right)") == squeeze("(1,2)")


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("0.5", "\\frac{1}{2}", True),
        ("(x+1)^2", "x^2+2x+1", True),
        ("\\{1,2\\}", "2, 1", True),
        ("(1,2)", "(2,1)", False),
        ("[0,1)", "[0,1]", False),
        ("x=5", "5", True),
        ("1", "2x+z=1", False),
        ("\\frac{1}{2^{99}}", "\\frac{1}{2^{98}}", False),
        ("\\text{Evelyn}", "evelyn", True),
        ("28\\%", "0.28", True),
        ("0.666667", "\\frac{2}{3}", True),
        ("0.67", "\\frac{2}{3}", False),
        ("3.1415926", "3.14159265", False),  # two finite decimals: exactly
        ("1,5", "1.5", True),
        ("1, 5", "1.5", False),
    ],
)
def test_equality_in_both_orders(a: str, b: str, same: bool) -> None:
    assert equal(a, b) is same
    assert equal(b, a) is same


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("(1,2)", "(1, 2)", True),
        ("(1,2)", "(2,1)", False),
        ("[1,2)", "(1,2)", False),
        ("[1,2)", "[1,2.0)", True),
        ("1,2", "2,1", True),
        ("\\{1,2\\}", "2, 1", True),
        ("1,2", "1,2,3", False),
        ("(1,2)", "1,2", None),  # math-verify has a word on these
        ("(0.333333,1)", "(1/3,1)", None),
        ("50\\%,1", "0.5,1", None),
        ("1,x", "1,2", None),
        ("12", "12", None),
    ],
)
def test_collections_of_numbers(a: str, b: str, same: bool | None) -> None:
    assert same_numbers(a, b) is same
    assert same_numbers(b, a) is same


NUMBERS = st.integers(-20, 20).map(str)
ATOMS = st.one_of(NUMBERS, st.sampled_from(["x", "y", "\\pi", "0.5", "\\frac{1}{3}", "50\\%"]))
EXPRESSIONS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "\\cdot "]), inner).map(
            "({0[0]}){0[1]}({0[2]})".format
        ),
        st.tuples(inner, inner).map("\\frac{{{0[0]}}}{{{0[1]}}}".format),
        inner.map("\\sqrt{{{}}}".format),
        st.lists(inner, min_size=2, max_size=3).map(", ".join),
    ),
    max_leaves=3,
)


def outcome(a: str, b: str) -> bool | None:
    """The verdict; None where it is not known in time."""
    try:
        return equal(a, b)
    except GradingTimeout:
        return None


def assert_symmetric(a: str, b: str) -> None:
    both = outcome(a, b), outcome(b, a)
    assert None in both or both[0] is both[1]


@pytest.mark.timeout(300)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(EXPRESSIONS, EXPRESSIONS)
def test_equality_of_expressions_is_reflexive_and_symmetric(a: str, b: str) -> None:
    assert equal(a, a)
    assert outcome(a, f"$ {a} $") is not False
    assert_symmetric(a, b)


@pytest.mark.timeout(300)
@settings(max_examples=40, deadline=None)
@given(st.text(max_size=20), st.text(max_size=20))
def test_equality_of_texts_is_reflexive_and_symmetric(a: str, b: str) -> None:
    assert equal(a, a)
    assert_symmetric(a, b)


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_any_text_has_an_answer_or_none(text: str) -> None:
    answer = extract_answer(text)
    assert answer is None or answer.strip()


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "bomb",
    [
        "{" * 50_000 + "1" + "}" * 50_000,
        "\\boxed{" * 20_000,
        "\\boxed{" * 9_000 + "1" + "}" * 9_000,
        "9" * 1_000_000,
        "$" * 100_000,
        "1" + " " * 100_000 + "x",
        "1," * 50_000,
        "\\text{" * 20_000,
        "answer " * 20_000,
        "\\[" * 50_000,
        "-" * 100_000 + "1",
    ],
    ids=lambda bomb: bomb[:8],
)
def test_hostile_text_is_searched_quickly(bomb: str) -> None:
    extract_answer(bomb)
    extract_answer(f"The answer is \\boxed{{{bomb}}} and ${bomb}$")
    assert MATH.verdict(bomb, "x + 1") != Verdict.CORRECT
