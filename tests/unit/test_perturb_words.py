"""Changed words: typing errors, stray marks, numbers in words, other names."""

import re
from collections import Counter

import pytest

from agentark_ray.evaluate.perturb import noise
from agentark_ray.evaluate.perturb.names import EITHER, MEN, WOMEN, renamed
from agentark_ray.evaluate.perturb.number_words import in_words, number_words, value_of
from agentark_ray.evaluate.perturb.parts import take_apart
from tests.unit.perturbed import rng


def test_the_strength_of_noise_by_hand() -> None:
    ten = "alpha bravo charlie delta echoo foxtrot golfing hotel india juliett"
    for strength, changed in ((0.1, 1), (0.3, 3), (1, 10), (0.01, 1)):
        new = noise.typos(ten, strength, rng())
        assert new and sum(a != b for a, b in zip(ten.split(), new.split(), strict=True)) == changed
    eleven = f"{ten} kilo"  # ten gaps
    for strength, marks in ((0.1, 1), (0.3, 3), (0.5, 5), (1, 10)):
        new = noise.punctuation(eleven, strength, rng())
        assert new and len(new.split()) == 11 + marks
        assert [word for word in new.split() if word not in noise.MARKS] == eleven.split()


@pytest.mark.parametrize(
    "text",
    [
        "12 345 6.78 two seventeen hundred twice",  # numbers
        "$\\alpha + betagamma$ \\[ deltaepsilon \\] \\frac{length}{width} velocity = mass * accel",
        "length - width",
        "`somefunction(argument)` ```\nreturnvalue\n``` https://example.org/path sinus(angle)",
        "NASA DNA a an the of it's don't",  # too short, or letters
        "",
    ],
)
def test_nothing_of_this_is_mistyped(text: str) -> None:
    assert noise.typos(text, 1, rng()) is None


def test_typos_make_no_other_word_of_the_question() -> None:
    for seed in range(300):
        new = noise.typos("form from tent", 1, rng(seed))
        assert new is not None
        assert not {"form", "from", "ten", "tent"} & set(new.split()), new
        assert [word[0] for word in new.split()] == ["f", "f", "t"]


def test_marks_stay_out_of_formulas_and_do_not_change_numbers() -> None:
    text = "Let $a + b = 3$ and x = 4 hold, with 5 apples"
    for seed in range(100):
        new = noise.punctuation(text, 1, rng(seed))
        assert new and "$a + b = 3$" in new and "x = 4" in new
        assert not re.search(r"\d [.,:!]|[.,:!] \d", new)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "zero"),
        (13, "thirteen"),
        (20, "twenty"),
        (45, "forty-five"),
        (100, "one hundred"),
        (312, "three hundred twelve"),
        (1500, "one thousand five hundred"),
        (999999, "nine hundred ninety-nine thousand nine hundred ninety-nine"),
    ],
)
def test_numbers_in_words(number: int, words: str) -> None:
    assert in_words(number) == words
    assert number >= 100 or value_of(words) == number


@pytest.mark.parametrize("number", [-1, 1_000_000])
def test_numbers_that_have_no_words(number: int) -> None:
    with pytest.raises(ValueError, match="0 to 999,999"):
        in_words(number)


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ("Tom has 3 apples and twelve pears.", "Tom has three apples and 12 pears."),
        ("Twenty-one trains, 40 each.", "21 trains, forty each."),
        ("There are 250 of them.", "There are two hundred fifty of them."),
        ("One of the two costs $5, 20% or 1.5 less in 1999.", "One of the 2 costs $5, 20% or 1.5"),
        ("two hundred, two dozen, two and a half, two-thirds, 1/2, 3 + 4, 5 million", None),
        (
            "x = 3, $y = 4$, page 7, May 5, 10:30, 8 - 2, 5kg, f(3), 2 1/2, the 3rd, 007, 1,000",
            None,
        ),
        ("Ocean's Eleven was in theaters; Seven Springs; no one", None),
        ("She bought one hundred and five; six thousand", None),
    ],
)
def test_which_numbers_are_rewritten(text: str, changed: str | None) -> None:
    found = number_words(text, 1, rng())
    assert found is None if changed is None else found and found.startswith(changed)


def test_a_share_of_the_numbers_is_rewritten() -> None:
    new = number_words("2 cats, 3 dogs, 4 cows, 5 pigs", 0.5, rng())
    assert new and len(re.findall(r"\d", new)) == 2


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Tom has 3. Tom's dog saw Mary and Tom.", ()),
        ("Tom Sawyer has 3. Mary has 4.", ("Tom Sawyer",)),
        ("Mary Ann has 3 more than Bob.", ("Mary Ann",)),
        ("King James has 3. Bob has 1.", ("King James",)),
        ("In May Tom buys 3. In June Ida buys 2.", ("In May", "In June")),
    ],
)
def test_names_are_renamed_through_the_question(text: str, kept: tuple[str, ...]) -> None:
    for seed in range(20):
        found = renamed(take_apart(text), "7", rng(seed))
        assert found is not None
        names = [name for name in (*WOMEN, *MEN, *EITHER) if re.search(rf"\b{name}\b", text)]
        for name in names:
            stays = any(name in phrase for phrase in kept)
            assert bool(re.search(rf"\b{name}\b", found.stem)) == stays, found.stem
        assert all(phrase in found.stem for phrase in kept)
        before, after = (Counter(re.findall(r"\w+", one)) for one in (text, found.stem))
        assert sorted(before.values()) == sorted(after.values())


def test_gender_stays_and_people_stay_apart() -> None:
    for seed in range(50):
        found = renamed(take_apart("Tom, Bob and Mary have 3."), "7", rng(seed))
        assert found is not None
        tom, bob, mary = re.findall(r"[A-Z][a-z]+", found.stem)
        assert tom in MEN and bob in MEN and mary in WOMEN and tom != bob


@pytest.mark.parametrize(
    ("text", "gold"),
    [
        ("Who was John?", "7"),  # no number: about the world
        ("Mark has 3 dollars. Will Grace pay?", "7"),  # no names that are only names
        ("Tom and Bob have 3.", "Tom or Bob"),  # the answer is a name
        ("Tom has 3.\n\nQuestion: How many has Tom in 3 days?", "7"),  # a document
    ],
)
def test_where_nobody_is_renamed(text: str, gold: str) -> None:
    assert renamed(take_apart(text), gold, rng()) is None


@pytest.mark.parametrize(
    "text",
    [
        "Don't count the 3 broken ones.",
        "Don\u2019t count the 3 broken ones.",
        "The Taylor series has 3 terms.",
        "The Kelly criterion says 3.",
        "By Charles' law 3 l become 4 l. Tom has 1 l.",
        "By Charles's gas law 3 l become 4 l.",
        "By Charles\u2019 law 3 l become 4 l.",
        "James' 3 dogs are brown.",  # whoever is put in there needs an s
        "Jan 5 is a Monday.",
        "Elizabeth I had 3 ships.",
        "Elizabeth I was 25. Edward VI was 9.",
        "It is 1955 km from San Diego to New York.",
        "There are 3 boats on Lake Elizabeth.",
        "Mount Albert is 300 m high.",
        "Saint Helen had 3 sons.",
        "They drove 3 miles from Fort William to New Kelly and Port Arthur.",
        "St. Louis is 3 miles away, and Ft. William 4.",
        "Hurricane Fay lasted 3 days.",
        "J. Edward has 3 dogs.",
        "John F Kennedy was 46.",
        "What does John 3:16 say?",
        "Bob has 3 weights, and a bob hangs from each.",
        "Samantha has 3 dogs. Sam buys 2 more.",  # the same person?
        "Joey'll have 3 dogs, and Amy'd like 2.",
    ],
)
def test_what_may_be_no_first_name_stays(text: str) -> None:
    assert renamed(take_apart(text), "7", rng()) is None


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("If Tom has 3 dogs, how many legs is that?", "Tom"),
        ("Tom's 3 dogs are brown.", "Tom"),
        ("Tom\u2019s 3 dogs are brown.", "Tom"),
        ("On Monday Mary has 3 dogs.", "Mary"),
        ("She has 3 dogs (Amy has 2).", "Amy"),
        ("A dog costs $3. Charles has none.", "Charles"),
        ("San Diego is 3 miles away. Tom walks there.", "Tom"),
        ("Jan 5 is a Monday. Emma buys 3 cups.", "Emma"),
        ("Sheila has 3 dogs. She buys 2 more.", "Sheila"),
    ],
)
def test_first_names_beside_other_words_are_renamed(text: str, name: str) -> None:
    found = renamed(take_apart(text), "7", rng())
    assert found is not None
    before, after = text.split(name), re.split(r"(\w+)", found.stem)
    assert name not in found.stem
    assert found.stem.startswith(before[0]) and found.stem.endswith(before[-1])
    assert {*WOMEN, *MEN} & set(after)


def test_names_are_in_one_group_and_no_other_words() -> None:
    everybody = [*WOMEN, *MEN, *EITHER]
    assert len(set(everybody)) == len(everybody)
    ambiguous = (
        "May April June August Jan Will Mark Bill Grace Hope Rose Penny Jack Art Don Carol Heather"
        " Patty Robin Taylor Henry Leo Martin Max Oscar Randy Rob Nick Josh Ken Joey Hank Brad"
        " Terry Tony Hugo Victor Rick Sally Nancy Rex Diego Jose Juan Jordan Paris"
    )
    assert not set(ambiguous.split()) & set(everybody)
