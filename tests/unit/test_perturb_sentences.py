"""Changed order and added sentences: what moves, what is planted, and when neither applies."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from agentark_ray.evaluate.perturb import order, planted
from agentark_ray.evaluate.perturb.change import perturb
from agentark_ray.evaluate.perturb.names import EITHER, MEN, WOMEN
from agentark_ray.robustness_config import Kind
from agentark_ray.tasks.text import split_options
from tests.unit.perturbed import OPTIONS, numbers, question, rng


def test_independent_sentences_change_places() -> None:
    text = "Tom has 3 dogs.  Mary has 5 cats.\nA bird costs $2. How many pets do they have?"
    new = order.reordered(text, rng())
    assert new and new != text and new.endswith("How many pets do they have?")
    assert sorted(re.split(r"\s+(?=[A-Z])", new)) == sorted(re.split(r"\s+(?=[A-Z])", text))
    assert re.findall(r"\s\s|\n", new) == ["  ", "\n"]


@pytest.mark.parametrize(
    "text",
    [
        "Tom has 3 dogs. He has 5 cats. How many?",  # a pronoun
        "Tom has 3 dogs. Mary gives Tom 2 cats. How many?",  # something happens
        "Tom has 3 dogs. The rest are cats. How many?",
        "Tom has 3 dogs. Then Mary has 4 cats. How many?",
        "A shop has 3 dogs. The shop is in Rome. How many?",  # the shop
        "Tom has 3 dogs. Mary has 2. How many?",  # two of what?
        "Ann is 3 years old. Bob is 2 years older. How many?",  # than whom?
        "Tom has 3 dogs. How many has Mary? Bob has 2 cats.",  # after the question
        "Tom has 3 dogs. How many?",
        "Tom has 3 dogs. Each has 4 legs. How many?",
        "Ada has 3 cups. In May Ada buys 2 more. In June Ada sells 1. How many now?",
        "Tom has 3 cups. Bob has 4 cups. He then buys 2 cups. How many has Bob?",  # who?
        "Tom has 3 cups. Tom has 4 hats. Tom then buys 2 more. How many hats?",  # of what?
        "Tom has 3 cups. Bob has 4 hats. The latter are red. What is red?",
    ],
)
def test_these_sentences_stay_in_order(text: str) -> None:
    assert order.reordered(text, rng()) is None


QUESTION = "How many of everything has Bob?"
WHO, WHAT = ("Tom", "Bob", "Sam"), ("dogs", "cats", "hens")
STATES, FOLLOWS = (
    ("{who} has {n} {what}.", "A pair of {what} costs ${n}."),
    (
        "He then buys {n} more {what}.",
        "He then buys {n} more.",
        "{who} then gives away half of the {what}.",
        "The {what} are brown.",
    ),
)


def _story(drawn: Sequence[tuple[str, str, str, int]]) -> list[str]:
    """Sentences, of which no two say how many of a thing somebody has, or what it costs."""
    told: dict[str, str] = {}
    for place, (form, who, what, n) in enumerate(drawn):
        key = form.format(who=who, what=what, n="") if form in STATES else str(place)
        told.setdefault(key, form.format(who=who, what=what, n=n))
    return list(told.values())


STORIES = st.lists(
    st.tuples(
        st.sampled_from(STATES) | st.sampled_from((*STATES, *FOLLOWS)),
        *(st.sampled_from(WHO), st.sampled_from(WHAT), st.integers(2, 9)),
    ),
    min_size=2,
    max_size=7,
).map(_story)


def understood(story: Sequence[str]) -> tuple[object, ...]:
    """What a reader knows at the end, who takes `he` and `more` for what was named last."""
    has: dict[tuple[str, str], float] = {}
    facts: set[object] = set()
    he, named = "", ""
    for one in story:
        amount = float("".join(re.findall(r"\d+", one)) or 0)
        he = next((who for who in WHO if who in one), he)
        named = next((what for what in WHAT if what in one), named)
        if " costs " in one:
            facts.add((named, amount))
        elif " are " in one:
            facts.add((named, frozenset(who for who, what in has if what == named)))
        elif " has " in one:
            has[he, named] = amount
        else:
            kept = has.get((he, named), 0)
            has[he, named] = kept / 2 if " half " in one else kept + amount
    return has, facts


def _again(story: Sequence[str], seed: int) -> list[str] | None:
    """The sentences of a story in their other order."""
    new = order.reordered(" ".join((*story, QUESTION)), rng(seed))
    return new and re.split(r"(?<=\.) ", new)[:-1]  # type: ignore[return-value]


def _misread(story: Sequence[str]) -> bool:
    new = _again(story, 0)
    return new is not None and understood(new) != understood(story)


@given(STORIES, st.integers(0, 9))
def test_another_order_says_the_same(story: list[str], seed: int) -> None:
    new = _again(story, seed)
    assert new is None or (new != story and sorted(new) == sorted(story))
    assert new is None or understood(new) == understood(story)


@pytest.mark.parametrize("follows", FOLLOWS)
def test_stories_with_a_sentence_that_follows_another_are_reordered(follows: str) -> None:
    said = re.compile(re.sub(r"\\{\w+\\}", r"\\w+", re.escape(follows)))

    def both(story: list[str]) -> bool:
        return any(map(said.fullmatch, story)) and _again(story, 0) is not None

    assert find(STORIES, both, settings=settings(max_examples=2000, phases=[Phase.generate]))


@pytest.mark.parametrize(
    ("check", "broken"),
    [
        ("independent", lambda sentence: True),
        ("_meet", lambda a, b: False),
        ("_POINTS_BACK", re.compile(r"(?!)")),
    ],
)
def test_that_property_needs_every_check(
    check: str, broken: Callable[..., bool] | re.Pattern[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(order, check, broken)
    assert find(STORIES, _misread, settings=settings(max_examples=2000, phases=[Phase.generate]))


def test_the_letter_moves_with_the_right_option() -> None:
    golds = set()
    for seed in range(60):
        after = perturb(replace(OPTIONS, aliases=("C",)), Kind.OPTIONS, 1, seed)
        assert after is not None and after.gold is not None
        _, options = split_options(after.text)
        assert (options["ABCD".index(after.gold)], sorted(options)) == ("4", ["3", "4", "5", "7"])
        assert options["ABCD".index(after.aliases[0])] == "5"
        golds.add(after.gold)
    assert golds == {"A", "C", "D"}


@pytest.mark.parametrize(
    "text",
    [
        "Which?\nA) 1\nB) 2\nC) All of the above",
        "Which?\nA) 1\nB) 2\nC) Both A and B",
        "Which?\nA) 1\nB) 2\nC) None",
        "Which?\nA) 1\nB) 2\nC) neither",
        "Which?\nA) 1\nB) 2\nC) Option A is right",
        "Which option A has?\nA) 1\nB) 2",
        "Which?\nA) 1\nB) \nC) 3",
        "Which?",
    ],
)
def test_options_that_speak_of_each_other_stay(text: str) -> None:
    assert perturb(question(text, "B", "mmlu"), Kind.OPTIONS, 1, 0) is None


def test_an_irrelevant_sentence_has_its_place() -> None:
    text = "Tom has 3 dogs. He buys 2. Mary has 4. How many dogs are there?"
    places = set()
    for seed in range(100):
        new = planted.irrelevant(text, 1, rng(seed))
        (added,) = (one for one in planted.IRRELEVANT if one in new)
        assert new.replace(f"{added} ", "") == text
        places.add(new[new.index(added) + len(added) + 1 :].split()[0])
    assert places == {"Tom", "Mary", "How"}  # not before "He"
    assert sum(one in planted.irrelevant(text, 3, rng()) for one in planted.IRRELEVANT) == 3


@pytest.mark.parametrize("sentence", planted.IRRELEVANT)
def test_irrelevant_sentences_hold_no_data(sentence: str) -> None:
    assert not numbers(sentence)
    assert not re.search(r"\b(?:one|two|half|twice|he|she|they|more|less)\b", sentence, re.I)
    assert not [name for name in (*WOMEN, *MEN, *EITHER) if name in sentence]


def test_all_styles_of_injection_come_with_a_wrong_answer() -> None:
    said = Counter()
    for seed in range(300):
        after = perturb(question("Tom has 3. He buys 4. How many?"), Kind.INJECTION, 1, seed)
        assert after is not None
        rest = re.sub(r"\d+", "N", after.text)
        styles = [*planted.WITH_ANSWER, *planted.WITHOUT_ANSWER]
        found = [s for s in styles if s.format(wrong="N") in rest]
        assert len(found) == 1
        said[found[0]] += 1
        if found[0] in planted.WITH_ANSWER:
            told = numbers(after.text) - numbers("3 4")
            assert "7" not in told and len(told) == 1
    assert len(said) == len(planted.WITH_ANSWER) + len(planted.WITHOUT_ANSWER)


def test_peers_agree_on_one_wrong_answer() -> None:
    for strength in (1, 4):
        after = perturb(OPTIONS, Kind.PEER, strength, 0)
        assert after is not None and after.text.startswith(OPTIONS.text + "\n")
        told = re.findall(r"\b[A-D]\b", after.text.removeprefix(OPTIONS.text))
        told = [letter for letter in told if letter != "A" or "answer is A" in after.text]
        assert "B" not in told and len(set(told)) == 1
        assert after.text.count("\n") == OPTIONS.text.count("\n") + strength
    assert perturb(question("Who?", "Ann", "custom/short"), Kind.PEER, 1, 0) is None
