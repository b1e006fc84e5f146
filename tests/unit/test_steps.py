"""Steps of a solution and their labels, by hand and by property."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentark_ray.distill.step_labels import (
    divergence,
    outcome,
    prefix_texts,
    prefixes,
    rollout_labels,
    rollout_shares,
    shared_steps,
)
from agentark_ray.distill.steps import split_steps, step_texts


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("5 + 8 = 13.\n13 - 7 = 6.\n\\boxed{6}", ["5 + 8 = 13.", "13 - 7 = 6.", "\\boxed{6}"]),
        (
            "He has 3.5 kg. She has 2. So 5.5!  Right?",
            ["He has 3.5 kg.", "She has 2.", "So 5.5!", "Right?"],
        ),
        ("Mr. Smith, i.e. J. Smith, left. He ran.", ["Mr. Smith, i.e. J. Smith, left.", "He ran."]),
        ("So y = x. Then done.", ["So y = x.", "Then done."]),
        ("it costs 5 p. and more", ["it costs 5 p. and more"]),
        ('He said "No." (She left.) $x$ is 3.', ['He said "No."', "(She left.)", "$x$ is 3."]),
        ("1. Add 3.\n2) Then 8.", ["1. Add 3.", "2) Then 8."]),
        ("1.\nAdd.", ["1.\nAdd."]),
        ("We get:\n\\[\nx = 3. Then\n\\]\nDone.", ["We get:\n\\[\nx = 3. Then\n\\]", "Done."]),
        ("```\na = 1\n\nb = 2\n```\nend", ["```\na = 1\n\nb = 2\n```", "end"]),
        (
            "$$a\nb$$\n\\begin{align*}\nc\nd\n\\end{align*}",
            ["$$a\nb$$", "\\begin{align*}\nc\nd\n\\end{align*}"],
        ),
        ("open \\[\na\nb", ["open \\[", "a", "b"]),
        ("one\n---\n***\ntwo", ["one\n---\n***", "two"]),
        ("---\none", ["---\none"]),
        (
            "\u6211\u67093\u4e2a\u3002\u7136\u540e2\u4e2a\uff01",
            ["\u6211\u67093\u4e2a\u3002", "\u7136\u540e2\u4e2a\uff01"],
        ),
        ("...", ["..."]),
        (" \n\t\n", []),
        ("", []),
    ],
)
def test_steps_by_hand(text: str, steps: list[str]) -> None:
    assert step_texts(text) == steps


TEXTS = st.text(st.sampled_from("aB1. \n:-!?$[]\\`\u3002\u00e9"), max_size=80) | st.text()


@given(TEXTS)
def test_steps_hold_everything_but_white_space_in_order(text: str) -> None:
    steps = split_steps(text)
    ends = [0, *(step.end for step in steps)]
    starts = [*(step.start for step in steps), len(text)]
    assert all(not text[a:b].strip() for a, b in zip(ends, starts, strict=True))
    assert all(step.start < step.end for step in steps)
    assert all(said == said.strip() for said in step_texts(text))


@given(TEXTS)
def test_a_step_says_something_unless_nothing_is_said(text: str) -> None:
    steps = step_texts(text)
    assert len(steps) <= 1 or all(any(c.isalnum() for c in step) for step in steps)


@pytest.mark.parametrize(
    "bomb",
    [
        *("\\[" * 50_000, ". A" * 30_000, ":\n" * 50_000, "- \n" * 30_000, "$$" * 49_999),
        *("(" * 100_000, "".join(f"\\begin{{a{i}}}" for i in range(9_000)), "Aa. " * 25_000),
    ],
)
def test_steps_take_linear_time(bomb: str) -> None:
    started = time.process_time()
    split_steps(bomb)
    assert time.process_time() - started < 5


def test_outcome_labels_every_step_alike() -> None:
    assert outcome("a\nb\nc", right=False) == [False] * 3
    assert outcome("", right=True) == []


RIGHT = "In May: 5 + 8 = 13.\nIn June: 13 - 7 = 6.\nIn July: 6 * 2 = 12.\n\\boxed{12}"


@pytest.mark.parametrize(
    ("wrong", "labels"),
    [
        # the second result is wrong; what follows from it is bad too
        ("In May: 5 + 8 = 13.\nIn June: 13 - 7 = 7.\nIn July: 7 * 2 = 14.\n\\boxed{14}", "1000"),
        # said in other words, with the same numbers: shared
        ("May gives 5 + 8 = 13.\nIn June: 13 - 7 = 5.\n\\boxed{5}", "100"),
        # a step left out: it is bad that the next one has other numbers
        ("In May: 5 + 8 = 13.\nIn July: 13 * 2 = 26.\n\\boxed{26}", "100"),
        # every step is shared, in order, yet the answer is wrong: it shows in the last one
        ("In May: 5 + 8 = 13.\nIn June: 13 - 7 = 6.", "10"),
        # the right steps in another order are no longer this solution
        ("In June: 13 - 7 = 6.\nIn May: 5 + 8 = 13.\n\\boxed{13}", "100"),
        ("nothing alike", "0"),
        ("", ""),
    ],
)
def test_divergence_by_hand(wrong: str, labels: str) -> None:
    assert divergence(wrong, RIGHT) == [label == "1" for label in labels]


def test_steps_without_numbers_must_agree_in_nearly_all_words() -> None:
    assert shared_steps(["The sum is even"], ["the sum IS even."]) == 1  # 4 of 5
    assert shared_steps(["It is even"], ["It is even, so"]) == 0  # 3 of 5
    assert shared_steps(["So the sum is even"], ["So the sum is not even"]) == 0  # 5 of 6, but not


@given(st.text("ab1 .\n", max_size=40), st.text("ab1 .\n", max_size=40))
def test_divergence_is_good_then_bad_and_bad_at_the_end(wrong: str, right: str) -> None:
    labels = divergence(wrong, right)
    assert len(labels) == len(split_steps(wrong))
    assert labels == sorted(labels, reverse=True)
    assert not labels or not labels[-1]


def test_prefixes_end_with_every_step_but_the_last() -> None:
    ask = [{"role": "user", "content": "Q"}]
    text = "a = 1.\n b = 2.\nc"
    assert prefixes(ask, text) == [  # type: ignore[arg-type]
        [*ask, {"role": "assistant", "content": "a = 1.\n"}],  # the line end, not the blank
        [*ask, {"role": "assistant", "content": "a = 1.\n b = 2.\n"}],
    ]
    assert prefix_texts("One.\n\n Two. Three.") == ["One.\n\n", "One.\n\n Two."]
    assert prefixes(ask, "one") == []  # type: ignore[arg-type]


def test_rollout_labels_by_hand() -> None:
    shares = rollout_shares(
        [
            ["correct", "correct", "incorrect", "unparsable"],
            ["correct", "timeout", None, "incorrect"],  # two say nothing
            ["timeout", None, None, "timeout"],
            ["incorrect"] * 4,
        ],
        "correct",
    )
    assert shares == [0.5, 0.5, None, 0.0, 1.0]
    assert rollout_labels(shares) == [True, True, None, False, True]
    assert rollout_labels(shares, above=0.5) == [False, False, None, False, True]
    assert rollout_shares([], "incorrect") == [0.0]
    assert rollout_shares([], None) == [None]
