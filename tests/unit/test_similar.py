"""Likeness of texts by hand-computed cases and by property."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentark_ray.similar import (
    PERMUTATIONS,
    RECALL,
    band_keys,
    band_rows,
    jaccard,
    jaccard_matrix,
    numbers,
    shingles,
    words,
)

SETS = st.lists(st.frozensets(st.sampled_from("abcdef")), max_size=6)


def test_words_by_hand() -> None:
    assert words("Tom's 1,000.5 APPLES, \\frac{1}{2}") == [
        *("tom", "'", "s", "1,000.5", "apples", ","),
        *("\\", "frac", "{", "1", "}", "{", "2", "}"),
    ]
    assert words("我有3个") == ["我", "有", "3", "个"]  # no blanks between words
    assert words("\uff21\u00e9") == words("ae\u0301")  # full width, composed
    assert words(" \n") == []


@given(st.text(st.characters(max_codepoint=127)))
def test_words_of_ascii_text_are_found_as_those_of_any_text(text: str) -> None:
    assert words(text) == words(f"{text} \u00e9")[:-1]


def test_numbers_are_digits_and_numerals_in_order() -> None:
    assert numbers(words("Three of 1,000 cost $2.50, twice")) == ("three", "1000", "2.50", "twice")
    assert numbers(words("3 and 5")) != numbers(words("5 and 3"))


def test_shingles_by_hand() -> None:
    assert shingles(["a", "b", "c", "d"]) == {"a b c", "b c d"}
    assert shingles(["a", "b"]) == {"a b"}
    assert shingles([]) == frozenset()
    assert shingles(["a", "b", "c"], size=1) == {"a", "b", "c"}


def test_jaccard_by_hand() -> None:
    assert jaccard({"a", "b", "c"}, {"b", "c", "d"}) == 2 / 4
    assert jaccard(frozenset(), frozenset()) == 1.0
    assert jaccard({"a"}, frozenset()) == 0.0


@given(SETS)
def test_the_matrix_holds_every_pair(sets: list[frozenset[str]]) -> None:
    found = jaccard_matrix(sets)
    assert found.shape == (len(sets), len(sets))
    wanted = [[jaccard(a, b) for b in sets] for a in sets]
    assert found == pytest.approx(np.array(wanted).reshape(found.shape))


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8, 0.9, 1.0])
def test_bands_find_a_pair_at_the_threshold(threshold: float) -> None:
    rows = band_rows(threshold)
    assert 1 - (1 - threshold**rows) ** (PERMUTATIONS // rows) >= RECALL
    longer = rows + 1
    if longer <= PERMUTATIONS:  # the longest bands that do
        assert 1 - (1 - threshold**longer) ** (PERMUTATIONS // longer) < RECALL


def pair(rng: random.Random, shared: int, apart: int) -> list[frozenset[str]]:
    """Two sets of which `shared` elements are common and `apart` are not, half of them each."""
    items = [f"{rng.random()}" for _ in range(shared + apart)]
    common, rest = items[:shared], items[shared:]
    return [frozenset(common + rest[: apart // 2]), frozenset(common + rest[apart // 2 :])]


def test_alike_sets_share_a_band_and_others_do_not() -> None:
    rng = random.Random(5)
    found = {0.9: 0, 0.3: 0}
    for _ in range(200):
        for likeness in found:
            shared = round(40 * likeness)
            a, b = band_keys(pair(rng, shared, 40 - shared), 0.8, ["q", "q"])
            found[likeness] += bool(set(a) & set(b))
    assert found[0.9] >= 198
    assert found[0.3] <= 2


def test_other_salts_share_no_band() -> None:
    same = [frozenset("abc")] * 3
    a, b, c = band_keys(same, 0.8, [("3",), ("4",), ("3",)])
    assert not set(a) & set(b)
    assert a == c and len(set(a)) == len(a)


def test_an_empty_set_is_like_nothing() -> None:
    assert list(band_keys([frozenset(), frozenset()], 0.8, ["", ""])) == [[], []]
