"""Short answers, summaries, scores, BERTScore, and the table of graders."""

import json
import subprocess
import sys
from importlib.util import find_spec

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentark_ray.grading import short, summary
from agentark_ray.grading.base import GradingTimeout
from agentark_ray.grading.bertscore import bert_scores
from agentark_ray.grading.numeric import NUMERIC
from agentark_ray.grading.registry import GRADERS
from agentark_ray.grading.short import SHORT
from agentark_ray.grading.summary import SUMMARY
from agentark_ray.tiny.path import tiny_model_path
from agentark_ray.types import Verdict


def test_em_and_f1_by_hand() -> None:
    # the cat sat -> cat sat; a cat sat down -> cat sat down: 2 common of 2 and 3.
    assert short.scores("The cat sat!", "a cat sat down") == {"em": 0.0, "f1": 4 / 5}
    assert short.scores("The Cat.", "cat") == {"em": 1.0, "f1": 1.0}
    assert short.scores("dog", "cat") == {"em": 0.0, "f1": 0.0}


def test_the_best_alias_counts() -> None:
    assert SHORT.measure("NYC", "New York City", ["NYC"]) == {"em": 1.0, "f1": 1.0}
    assert SHORT.measure(None, "New York City") == {"em": 0.0, "f1": 0.0}
    assert SHORT.measure("NYC", None) == {}
    assert NUMERIC.measure("5", "5") == {}
    assert SHORT.verdict("NYC", "New York City", ["NYC"]) == Verdict.CORRECT


def test_the_f1_threshold() -> None:
    gold = "the quick brown fox jumps over dogs"
    assert short.equal("quick brown fox jumps over one lazy sheep", gold)  # 10 / 14 words
    assert not short.equal("quick brown fox sleeps under one lazy sheep", gold)  # 6 / 14


def test_rouge_by_hand() -> None:
    # The longest common subsequence of "a b c d" and "a c d e" is "a c d": 3 of 4 and 4.
    found = summary.scores("alpha beta gamma delta", "alpha gamma delta eps")
    assert found["rougeL"] == pytest.approx(0.75)
    assert found["rouge1"] == pytest.approx(0.75)
    assert found["rouge2"] == pytest.approx(1 / 3)


def test_summaries_lose_their_heading() -> None:
    assert SUMMARY.extract("**Summary:** They met.") == "They met."
    assert SUMMARY.extract("<think>so</think>They met.") == "They met."
    assert SUMMARY.extract("  ") is None


def test_endless_summaries_are_refused() -> None:
    with pytest.raises(GradingTimeout):
        summary.scores("a b " * 10_000, "c d " * 10_000)


@given(st.text(max_size=40), st.text(max_size=40))
def test_equality_is_reflexive_and_symmetric(a: str, b: str) -> None:
    for grader in (SHORT, SUMMARY):
        assert grader.equal(a, a)
        assert grader.equal(a, b) is grader.equal(b, a)


@given(st.text(alphabet="yesno 12.,-the", max_size=20), st.text(alphabet="yesno 12.,-the"))
def test_short_equality_is_symmetric_near_its_rules(a: str, b: str) -> None:
    assert short.equal(a, a)
    assert short.equal(a, b) is short.equal(b, a)


def test_graders_are_found_by_their_names() -> None:
    assert list(GRADERS) == ["numeric", "math", "choice", "short", "summary"]
    assert all(name == grader.name for name, grader in GRADERS.items())
    assert all(grader.instruction for grader in GRADERS.values())


def test_the_table_loads_no_library_that_is_slow() -> None:
    code = (
        "import sys, json, agentark_ray.grading.registry; heavy = ('math_verify', 'sympy', 'nltk',"
        " 'rouge_score', 'torch', 'ray'); print(json.dumps([m for m in heavy if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert json.loads(done.stdout) == [], done.stderr


def test_bertscore_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bert_score", None)
    with pytest.raises(ImportError, match=r"agentark-ray\[bertscore\]"):
        bert_scores(["a"], ["a"])


def test_bertscore_needs_pairs() -> None:
    with pytest.raises(ValueError, match="1 answers, 2 golds"):
        bert_scores(["a"], ["a", "b"])


@pytest.mark.skipif(find_spec("bert_score") is None, reason="needs the extra bertscore")
def test_bertscore_of_equal_texts_is_the_highest() -> None:
    texts = ["12 + 3 = 15", "7 - 2 = 5"]
    same, other = bert_scores([texts[0]] * 2, texts, model=str(tiny_model_path()), layer=2)
    assert other < same == pytest.approx(1.0, abs=0.01)
