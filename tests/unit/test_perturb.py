"""Changed questions: what each kind does, what it must leave alone, and when it does not apply."""

import itertools
import random
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentark_ray.config import TasksConfig
from agentark_ray.evaluate.perturb import noise, order, planted
from agentark_ray.evaluate.perturb.change import perturb
from agentark_ray.evaluate.perturb.names import EITHER, MEN, WOMEN, renamed
from agentark_ray.evaluate.perturb.number_words import in_words, number_words, value_of
from agentark_ray.evaluate.perturb.parts import take_apart
from agentark_ray.robustness_config import COUNTS, DEFAULT_KINDS, SHARES, Kind, check_strength
from agentark_ray.tasks.arithmetic import questions
from agentark_ray.tasks.registry import TASKS, all_shards, read_split
from agentark_ray.tasks.story import equations
from agentark_ray.tasks.text import split_options
from agentark_ray.types import Question, Split

DATA = Path(__file__).parents[3] / "shared" / "data"
SETS = {"gsm8k": "gsm8k", "aqua": "aqua", "mmlu": "mmlu_stem", "truthfulqa": "truthfulqa"}
MAY_CHANGE = (Kind.INJECTION, Kind.PEER)  # they may say a wrong number
CELLS = [(kind, strength) for kind, strengths in DEFAULT_KINDS.items() for strength in strengths]
_UNITS = {in_words(n): n for n in range(1000)}
_BELOW = "|".join(sorted(_UNITS, key=len, reverse=True))
_WORD = re.compile(
    rf"(?<![\w-])(?:(?P<thousands>{_BELOW}) thousand(?: (?P<rest>{_BELOW}))?|(?:{_BELOW}))"
    r"(?![\w-])",
    re.IGNORECASE,
)


def question(text: str, gold: str | None = "7", task: str = "gsm8k") -> Question:
    return Question(question_id="q", text=text, gold=gold, task=task, split=Split.EVAL)


def rng(seed: int = 0) -> random.Random:
    return random.Random(seed)


def numbers(text: str) -> Counter[str]:
    """All numbers of a text, those in words as digits."""

    def digits(found: re.Match[str]) -> str:
        if not found["thousands"]:
            return str(_UNITS[found[0].lower()])
        rest = _UNITS[found["rest"].lower()] if found["rest"] else 0
        return str(1000 * _UNITS[found["thousands"].lower()] + rest)

    plain = _WORD.sub(digits, text)
    return Counter(re.findall(r"\d+(?:[.,]\d+)*", plain))


def right_option(of: Question) -> str | None:
    """The text of the right option, or the gold answer where there are no options."""
    _, options = split_options(of.text)
    return options["ABCDEFGHIJ".index(of.gold)] if options and of.gold else of.gold


def check(before: Question, after: Question, kind: Kind) -> None:
    """What every kind must keep."""
    assert after.text != before.text
    assert (after.question_id, after.task, after.split) == (
        *(before.question_id, before.task, before.split),
    )
    if kind is Kind.PEER:  # whose words come below the options
        assert after.text.startswith(before.text) and after.gold == before.gold
        return
    assert right_option(after) == right_option(before)
    old, new = take_apart(before.text), take_apart(after.text)
    assert new.context == old.context
    if kind is Kind.OPTIONS:
        assert sorted(new.options) == sorted(old.options)
        assert new.stem == old.stem and after.gold != before.gold
    elif kind is not Kind.RENAMED:
        assert new.options == old.options
    if kind not in MAY_CHANGE:
        assert numbers(after.text) == numbers(before.text)
    if kind not in (Kind.NUMBER_WORDS, *MAY_CHANGE):
        digits = [re.findall(r"\d+", text) for text in (before.text, after.text)]
        assert digits[0] == digits[1] or kind in (Kind.OPTIONS, Kind.REORDERED)


@pytest.mark.parametrize(("kind", "strength"), CELLS)
@given(index=st.integers(0, 3000), seed=st.integers(0, 2**31 - 1))
def test_stories_keep_their_gold(kind: Kind, strength: float, index: int, seed: int) -> None:
    (story,) = questions("eval", index, index + 1)
    after = perturb(story, kind, strength, seed)
    if after is None:
        assert kind in (Kind.OPTIONS, Kind.REORDERED, Kind.RENAMED)
        return
    check(story, after, kind)
    assert after.gold == story.gold
    if kind in (Kind.IRRELEVANT, Kind.RENAMED):  # words that this reader of stories knows stay
        assert equations(after.text) == equations(story.text) != []
    assert after == perturb(story, kind, strength, seed)


@pytest.mark.parametrize("task", SETS)
@pytest.mark.skipif(not DATA.is_dir(), reason="needs the files in ../shared/data")
def test_real_questions_keep_their_gold(task: str) -> None:
    path = str(DATA / SETS[task])
    config = TasksConfig(name=task, path=path, eval_path=path)  # type: ignore[arg-type]
    many = list(itertools.islice(read_split(all_shards(config, 0), Split.EVAL, 0), 600))
    rare = [(one, cell) for one in many[60:] for cell in CELLS if cell[0] is Kind.REORDERED]
    found = many[:60]
    applied: Counter[Kind] = Counter()
    for one, (kind, strength) in [*itertools.product(found, CELLS), *rare]:
        after = perturb(one, kind, strength, seed=3)
        if after is not None:
            check(one, after, kind)
            applied[kind] += 1
    always = (Kind.TYPOS, Kind.PUNCTUATION, Kind.IRRELEVANT, Kind.INJECTION)
    assert all(applied[kind] >= 0.95 * len(found) * len(DEFAULT_KINDS[kind]) for kind in always)
    assert applied[Kind.NUMBER_WORDS] > 0 or task == "truthfulqa"
    assert (applied[Kind.OPTIONS] > 0.7 * len(found)) == (task != "gsm8k")
    if task == "gsm8k":
        assert applied[Kind.RENAMED] > 0.35 * len(found)
        assert applied[Kind.REORDERED] >= 5


@given(st.text(max_size=300), st.sampled_from(CELLS), st.integers(0, 99))
def test_any_text_is_changed_or_left_out(text: str, cell: tuple[Kind, float], seed: int) -> None:
    for gold, task in (("7", "gsm8k"), ("A", "mmlu"), (None, "custom/short")):
        before = question(text, gold, task)
        after = perturb(before, *cell, seed)
        assert after is None or (after.text != text and after.question_id == "q")


def test_seeds_and_strengths_differ() -> None:
    (story,) = questions("eval", 5, 6)
    assert len({perturb(story, Kind.TYPOS, 0.1, seed) for seed in range(20)}) > 15
    assert perturb(story, Kind.REPEAT, 1, 0) == story


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


def test_names_are_in_one_group_and_no_other_words() -> None:
    everybody = [*WOMEN, *MEN, *EITHER]
    assert len(set(everybody)) == len(everybody)
    ambiguous = {"May", "April", "June", "Will", "Mark", "Bill", "Grace", "Rose", "Penny", "Jordan"}
    assert not ambiguous & set(everybody)


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
    ],
)
def test_these_sentences_stay_in_order(text: str) -> None:
    assert order.reordered(text, rng()) is None


OPTIONS = question("Which is even?\nA) 3\nB) 4\nC) 5\nD) 7", "B", "mmlu")


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


def test_a_question_about_a_document_is_changed_in_the_question() -> None:
    text = "The tower is tall. It has 3 floors.\n\nQuestion: How many floors does this tower have?"
    for kind in (Kind.TYPOS, Kind.PUNCTUATION, Kind.IRRELEVANT, Kind.INJECTION):
        after = perturb(question(text), kind, 1, 1)
        assert after is not None
        assert after.text.startswith("The tower is tall. It has 3 floors.\n\nQuestion: ")


@pytest.mark.parametrize(
    ("kind", "strength"),
    [
        *((kind, bad) for kind in SHARES for bad in (0, -0.1, 1.5)),
        *((kind, bad) for kind, most in COUNTS.items() for bad in (0, 0.5, most + 1)),
        *((kind, bad) for kind in (Kind.OPTIONS, Kind.REPEAT) for bad in (0, 0.5, 2)),
    ],
)
def test_strengths_out_of_range(kind: Kind, strength: float) -> None:
    with pytest.raises(ValueError, match=f"{kind}: strength is .*got {strength:g}"):
        check_strength(kind, strength)
    with pytest.raises(ValueError, match="strength"):
        perturb(OPTIONS, kind, strength, 0)


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_a_grader_that_wrong_answers_know(task: str) -> None:
    one: dict[str, Any] = {"text": "How many of 3?\nA) 1\nB) 2", "task": task}
    gold = "A" if TASKS[task].grader.name == "choice" else "12"
    after = perturb(question(gold=gold, **one), Kind.PEER, 1, 0)
    assert (after is None) == (TASKS[task].grader.name in ("short", "summary"))
