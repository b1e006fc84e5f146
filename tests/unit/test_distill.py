"""Tokens and packing, by hand and by property."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentark_ray.distill.packing import pack, plan_packs
from agentark_ray.distill.tokens import IGNORE, Example, encode


class Letters:
    """A tokenizer with a token a letter; 0 ends an answer."""

    eos_token_id = 0
    name_or_path = "letters"

    def apply_chat_template(self, messages: Any, **_: Any) -> str:
        return "".join(m["content"] for m in messages) + ">"

    def encode(self, text: str, add_special_tokens: bool) -> list[int]:
        assert not add_special_tokens
        return [ord(letter) for letter in text]


def test_only_the_answer_and_its_end_are_targets() -> None:
    example = encode(Letters(), [{"role": "user", "content": "ab"}], "xy", {})
    assert example.input_ids == [ord("a"), ord("b"), ord(">"), ord("x"), ord("y"), 0]
    assert example.labels == [IGNORE] * 3 + [ord("x"), ord("y"), 0]


def test_a_tokenizer_without_an_end_is_an_error() -> None:
    tokenizer = Letters()
    tokenizer.eos_token_id = None  # type: ignore[assignment]
    with pytest.raises(ValueError, match="'letters' has no eos_token"):
        encode(tokenizer, [], "x", {})


def test_best_fit_decreasing_by_hand() -> None:
    # 6 | 5 | 4 joins 6 (room 4) | 3 joins 5 (room 5) | 2 joins 5+3 (room 2)
    assert plan_packs([3, 6, 2, 5, 4], 10) == [[1, 4], [3, 0, 2]]


def test_an_example_that_does_not_fit_is_an_error() -> None:
    with pytest.raises(ValueError, match="example 1 has 11 tokens, at most 10 fit"):
        plan_packs([3, 11], 10)


def test_a_packed_row_by_hand() -> None:
    first = Example(input_ids=[1, 2, 3], labels=[IGNORE, 2, 3])
    second = Example(input_ids=[4, 5], labels=[IGNORE, 5])
    assert pack([first, second], 7, pad_id=9) == [
        {
            "input_ids": [1, 2, 3, 4, 5, 9, 9],
            "position_ids": [0, 1, 2, 0, 1, 0, 1],
            "labels": [IGNORE, 2, 3, IGNORE, 5, IGNORE, IGNORE],
            "examples": 2,
        }
    ]


@given(st.lists(st.integers(1, 40), max_size=60), st.integers(40, 80))
def test_every_example_is_packed_once_and_fits(lengths: list[int], seq_len: int) -> None:
    packs = plan_packs(lengths, seq_len)
    assert sorted(i for group in packs for i in group) == list(range(len(lengths)))
    assert all(sum(lengths[i] for i in group) <= seq_len for group in packs)
    if len(packs) > 1:  # any two packs together overflow, or best fit would have joined them
        sizes = sorted(sum(lengths[i] for i in group) for group in packs)
        assert sizes[0] + sizes[1] > seq_len


@given(st.lists(st.integers(1, 30), max_size=20))
def test_packing_keeps_every_token_and_target(lengths: list[int]) -> None:
    examples = [
        Example(input_ids=[i + 1] * n, labels=[IGNORE] + [i + 1] * (n - 1))
        for i, n in enumerate(lengths)
    ]
    rows = pack(examples, 30, pad_id=0)
    assert all(len(row[name]) == 30 for row in rows for name in ("input_ids", "labels"))
    packed = sorted(t for row in rows for t in row["input_ids"] if t)
    assert packed == sorted(t for example in examples for t in example.input_ids)
    targets = [t for row in rows for t in row["labels"] if t != IGNORE]
    assert len(targets) == sum(n - 1 for n in lengths)
    assert sum(row["examples"] for row in rows) == len(lengths)
    # a position of 0 at every start, and no position skips
    for row in rows:
        steps = zip(row["position_ids"], row["position_ids"][1:], strict=False)
        assert all(after in (0, before + 1) for before, after in steps)
