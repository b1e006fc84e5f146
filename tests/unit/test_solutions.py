"""Doubles and the most different few among the right solutions of a question."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentark_ray.distill.rows import Drop
from agentark_ray.distill.solutions import (
    Said,
    Solution,
    diversity,
    most_different,
    right_solutions,
    step_likeness,
    step_shingles,
)
from agentark_ray.similar import jaccard, jaccard_matrix, words
from agentark_ray.strategy import CurationConfig
from tests.unit.debates import said

SETTINGS = CurationConfig()
TEXTS = st.lists(
    st.lists(st.sampled_from(["so", "2", "+", "3", "is", "5", ".", "\n"]), max_size=12).map(
        " ".join
    ),
    max_size=8,
)


def solutions(texts: list[str], settings: CurationConfig = SETTINGS) -> list[Solution]:
    """Right ones, each a bit less likely than the one before."""
    turns = [said(text, logprob=-i / 8, agent=i, round=0) for i, text in enumerate(texts)]
    return right_solutions([Said(debate_id="d", question="Q", turn=t) for t in turns], settings)


def test_the_likeliest_is_best_the_shorter_where_equal_and_wrong_ones_are_no_solutions() -> None:
    turns = [
        said("b b b", logprob=-0.2, agent=0, round=0),
        said("wrong", "incorrect", logprob=-0.01, agent=1, round=0),
        said("c c", logprob=-0.2, agent=2, round=0),
        said("late", "timeout", logprob=-0.01, agent=3, round=0),
        said("a", logprob=-0.1, agent=4, round=0),
    ]
    found = right_solutions([Said(debate_id="d", question="Q", turn=t) for t in turns], SETTINGS)
    assert [solution.text for solution in found] == ["a", "c c", "b b b"]


def test_doubles_go_to_the_better_one() -> None:
    found = solutions(["2 + 3 = 5.\n\\boxed{5}", "so 5", " 2 + 3  = 5.\n\\BOXED{5}\n", "so 5"])
    assert [s.dropped for s in found] == [None, None, Drop.DUPLICATE, Drop.DUPLICATE]


def test_near_doubles_by_hand() -> None:
    # 10 words are 8 shingles; with the last word changed 7 of 9 are shared
    a, b = "a b c d e f g h i j", "a b c d e f g h i k"
    assert jaccard(step_shingles(a), step_shingles(b)) == pytest.approx(7 / 9)
    near = SETTINGS.model_copy(update={"near_duplicate": 7 / 9 - 1e-6})
    assert [s.dropped for s in solutions([a, b], near)] == [None, Drop.NEAR_DUPLICATE]
    assert [s.dropped for s in solutions([a, b])] == [None, None]


def test_an_unfit_solution_takes_nobodys_place() -> None:
    turns = [
        said("so 5", logprob=-0.1, finish_reason="length", agent=0, round=0),
        said("so 5", logprob=-0.2, agent=1, round=0),
    ]
    found = right_solutions([Said(debate_id="d", question="Q", turn=t) for t in turns], SETTINGS)
    assert [s.dropped for s in found] == [Drop.TRUNCATED, None]


def test_shingles_do_not_reach_into_the_next_step() -> None:
    assert step_shingles("a b c d\ne f") == {"a b c", "b c d", "e f"}


def test_most_different_by_hand() -> None:
    alike = jaccard_matrix([frozenset(s) for s in ("abcd", "abce", "efgh", "abgh", "abcd")])
    # distances to the first: 0, 2/5, 1, 2/3, 0; then to first or third: 2/5, -, 2/3 at the fourth
    assert most_different(alike, 1) == [0]
    assert most_different(alike, 2) == [0, 2]
    assert most_different(alike, 3) == [0, 2, 3]
    assert most_different(alike, 9) == [0, 2, 3, 1]  # the fifth equals the first
    assert most_different(jaccard_matrix([]), 3) == []
    assert most_different(alike, 0) == []


def test_diversity_by_hand() -> None:
    alike = jaccard_matrix([frozenset("ab"), frozenset("bc"), frozenset("ab")])
    assert diversity(alike) == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)
    assert diversity(alike[:1, :1]) is None


@given(TEXTS, st.integers(1, 5))
def test_two_equal_solutions_are_never_chosen(texts: list[str], k: int) -> None:
    fit = [s for s in solutions(texts) if s.dropped is None]
    chosen = [fit[i] for i in most_different(step_likeness([s.text for s in fit]), k)]
    said_words = [tuple(words(s.text)) for s in chosen]
    assert len(set(said_words)) == len(said_words) <= k
    assert not fit or chosen[0] is fit[0]


@given(TEXTS)
def test_every_right_solution_stays_or_is_like_a_better_one(texts: list[str]) -> None:
    found = solutions(texts)
    assert len(found) == len(texts)
    stay = [s for s in found if s.dropped is None]
    for i, one in enumerate(stay):
        for other in stay[:i]:
            assert jaccard(one.shingles, other.shingles) < SETTINGS.near_duplicate
    for i, one in enumerate(found):
        if one.dropped in (Drop.DUPLICATE, Drop.NEAR_DUPLICATE):
            better = [s for s in found[:i] if s.dropped is None]
            assert max(jaccard(one.shingles, s.shingles) for s in better) >= 0.9


@given(TEXTS, st.randoms())
def test_the_order_of_the_turns_does_not_matter(texts: list[str], rng: random.Random) -> None:
    turns = [said(text, logprob=-(i // 2), agent=i, round=0) for i, text in enumerate(texts)]
    shuffled = list(turns)
    rng.shuffle(shuffled)
    first, second = (
        right_solutions([Said(debate_id="d", question="Q", turn=t) for t in order], SETTINGS)
        for order in (turns, shuffled)
    )
    assert first == second


@given(st.lists(st.frozensets(st.sampled_from("abcdefgh")), max_size=8), st.integers(1, 8))
def test_farthest_first_is_at_most_twice_as_close_as_the_best_choice(
    sets: list[frozenset[str]], k: int
) -> None:
    from itertools import combinations

    def spread(places: tuple[int, ...]) -> float:
        pairs = combinations(places, 2)
        return min((1 - jaccard(sets[a], sets[b]) for a, b in pairs), default=1.0)

    chosen = tuple(most_different(jaccard_matrix(sets), k))
    best = max((spread(c) for c in combinations(range(len(sets)), len(chosen))), default=1.0)
    assert 2 * spread(chosen) >= best - 1e-6
