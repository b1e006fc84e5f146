"""The report's list of questions: what comes first, what fits, and what is left out and said."""

import json
import zlib
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentark_ray.evaluate.report import pack as packing
from agentark_ray.evaluate.report.pack import Packed, pack
from agentark_ray.evaluate.report.page import told_of_questions
from agentark_ray.evaluate.report.questions import Listed, Source, list_questions
from tests.unit.reports import render, unpacked
from tests.unit.transcripts import failed, row, write

TITLES = ["Student", "Debate"]
SIX = [
    *(row("debate", f"q{i}", letters) for i, letters in enumerate(("rrr", "www", "www", "rrr"))),
    *(row("student", f"q{i}", letter) for i, letter in enumerate("wrwr")),
    failed("debate", "q4", "r"),
    row("student", "q4", "w"),
    row("debate", "q5", "rrr"),  # the student was not asked
]


def of(folder: Path, rows: list[dict[str, Any]], *arms: str, name: str = "a") -> Source:
    return Source(
        name=name,
        transcripts=[write(folder, rows)],
        arms=arms or ("debate", "student"),
        student="student",
    )


def listed_of(folder: Path, rows: list[dict[str, Any]], *arms: str, most: int = 100) -> Listed:
    return list_questions([of(folder, rows, *arms)], TITLES, most, frozenset())


def values(text: str) -> Any:
    return json.loads(zlib.decompress(b64decode(text)))


def test_what_to_look_at_first_comes_first(tmp_path: Path) -> None:
    found = listed_of(tmp_path, SIX)
    assert [(group.title, group.questions) for group in found.groups] == [
        ("Student wrong, Debate right", 1),
        ("Student right, Debate wrong", 1),
        ("Failed or no answer in some arm", 1),
        ("Both wrong", 1),
        ("Both right", 1),
        ("Others", 1),
    ]
    assert found.keys == ("q0", "q1", "q4", "q2", "q3", "q5")
    assert found.codes == ("cw", "wc", "fw", "ww", "cc", "c-")
    assert (found.total, found.group) == (6, (0, 1, 2, 3, 4, 5))


def test_several_answers_are_right_wrong_or_partly_right(tmp_path: Path) -> None:
    rows = [
        row("student", f"q{q}", letter, replica=replica)
        for q, letters in enumerate(("rr", "rw", "wu"))
        for replica, letter in enumerate(letters)
    ]
    found = listed_of(tmp_path, [*rows, *(row("debate", f"q{q}", "w") for q in range(3))])
    assert dict(zip(found.keys, found.codes, strict=True)) == {"q0": "wc", "q1": "wp", "q2": "ww"}


def test_other_sets_are_listed_under_names_of_their_own(tmp_path: Path) -> None:
    rows = [row("debate", "q", "r"), row("debate", "q", "w", kind="ood:far")]
    found = listed_of(tmp_path, rows)
    assert (found.keys, found.sets) == (("q", "q (far)"), ("held out", "far"))
    assert found.total == 2


def test_of_many_questions_the_same_sample_is_kept_for_every_arm(tmp_path: Path) -> None:
    rows = [row(arm, f"q{i}", "r") for arm in ("debate", "student") for i in range(250)]
    found = listed_of(tmp_path, rows, most=40)
    assert (len(found.keys), found.total) == (40, 250)
    assert set(found.codes) == {"cc"}
    again = listed_of(tmp_path / "again", rows[::-1], most=40)
    assert again.keys == found.keys


def test_an_id_with_another_question_in_each_run_is_two_questions(tmp_path: Path) -> None:
    sources = [of(tmp_path / name, [row("student", "q", "r")], name=name) for name in "ab"]
    shared = list_questions(sources, ["1", "2"], 9, frozenset())
    assert (shared.keys, len(shared.columns)) == (("q",), 4)
    apart = list_questions(sources, ["1", "2"], 9, frozenset({"q"}))
    assert sorted(apart.keys) == ["q (1)", "q (2)"]


def packed_of(folder: Path, rows: list[dict[str, Any]], budget: int = 1_000_000) -> Packed:
    source = of(folder, rows)
    listed = list_questions([source], TITLES, 1_000, frozenset())
    return pack([source], listed, budget)


def test_the_list_and_the_words_of_every_question(tmp_path: Path) -> None:
    found = packed_of(tmp_path, SIX)
    index, words = values(found.index), values(found.blocks[0])
    assert (found.listed, found.worded, found.starts) == (6, 6, (0,))
    assert index["texts"][0] == words[0]["question"] == "text of q0"
    assert index["answers"] == [["4", "5", "", "5", "4", "4"], ["5", "4", "5", "5", "4", ""]]
    assert index["tokens"][0] == [30, 30, 10, 30, 30, 30]
    assert [(one["at"], one["code"]) for one in words[0]["rows"]] == [(0, "c"), (1, "w")]
    assert words[2]["rows"][0]["error"] == "TimeoutError: too slow"
    assert words[0]["rows"][0]["votes"][0]["count"] == 3
    assert "messages" not in json.dumps(words)


def test_the_list_says_where_it_cuts_a_question(tmp_path: Path) -> None:
    rows = [row("student", f"q{n}", "r") | {"question": "x" * n} for n in (240, 241)]
    texts = values(packed_of(tmp_path, rows).index)["texts"]
    assert set(texts) == {"x" * 240, "x" * 239 + "…"}


def test_second_turns_and_changed_questions_belong_to_their_question(tmp_path: Path) -> None:
    rows = [
        row("student", "q", "r"),
        row("student_check", "q", "r", "w"),
        row("student_peer", "q", "r", "r"),
        row("student", "q", "w", kind="changed:typos:0.1") | {"question": "txet fo q"},
        row("student", "q", "r", kind="changed:renamed:1"),
        row("student", "q", "r", kind="latency"),
        row("debate", "q", "rrr"),
        row("debate", "q", "rrr", kind="changed:renamed:1"),
    ]
    found = packed_of(tmp_path, rows)
    (words,) = values(found.blocks[0])
    own = [one for one in words["rows"] if one["at"] == 1]
    told = [(one["kind"], one.get("change"), one["code"]) for one in own]
    assert sorted(told, key=str) == [
        ("changed", "renamed 1", "c"),
        ("changed", "typos 0.1", "w"),
        ("check", None, "w"),
        ("main", None, "c"),
        ("peer", None, "c"),
    ]
    assert words["question"] == "text of q"
    assert "txet fo q" in [one.get("question") for one in words["rows"]]
    assert values(found.index)["flipped"] == [[1]]


def many(n: int) -> list[dict[str, Any]]:
    """Questions whose transcripts do not compress to nothing: every text is another one."""
    rows = [row(arm, f"q{i:03}", "r") for arm in ("debate", "student") for i in range(n)]
    for number, one in enumerate(rows):
        one["turns"][0]["text"] = " ".join(str(number * k * 7919 % 99_991) for k in range(1, 400))
    return rows


def test_what_does_not_fit_is_left_out_from_the_end_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "BLOCK", 20_000)
    source = of(tmp_path, many(100))
    listed = list_questions([source], TITLES, 1_000, frozenset())
    whole, part = pack([source], listed, 10_000_000), pack([source], listed, 100_000)
    assert whole.worded == whole.listed == part.listed == 100
    assert 0 < part.worded < 100
    assert part.size <= 100_000 < whole.size
    assert part.blocks == whole.blocks[: len(part.blocks)]
    assert part.worded_by_group == (0, 0, 0, 0, part.worded, 0)
    assert told_of_questions(listed, whole) == [
        "All 100 questions are listed, each with its transcripts."
    ]
    first, second = told_of_questions(listed, part)
    assert first == (
        f"All 100 questions are listed; transcripts of {part.worded} are here:"
        f" {part.worded} of 100 “Both right”."
    )
    assert second.startswith(f"The transcripts of {100 - part.worded} questions are left out")


def test_a_list_that_does_not_fit_is_shortened_and_told(tmp_path: Path) -> None:
    source = of(tmp_path, many(100))
    listed = list_questions([source], TITLES, 1_000, frozenset())
    found = pack([source], listed, 700)
    assert 0 < found.listed < 100
    assert found.size <= 700
    assert told_of_questions(listed, found)[0].startswith(
        f"Of 100 questions {found.listed} are listed, the first ones"
    )
    with pytest.raises(ValueError, match="the list of 100 questions does not fit into 10 bytes"):
        pack([source], listed, 10)


def test_a_sample_is_called_a_sample(tmp_path: Path) -> None:
    source = of(tmp_path, many(50))
    listed = list_questions([source], TITLES, 10, frozenset())
    told = told_of_questions(listed, pack([source], listed, 1_000_000))
    assert told == ["Of 50 questions 10 are listed, a random sample, each with its transcripts."]


def test_long_texts_say_how_much_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "LETTERS", 10)
    monkeypatch.setattr(packing, "TURNS", 2)
    one = row("student", "q", "r")
    one["turns"][0]["text"] = "x" * 1_510
    found = packed_of(tmp_path, [one, row("debate", "q", "rrr")])
    (words,) = values(found.blocks[0])
    debate, student = words["rows"]
    told = f"{'x' * 10}\n[... 1,500 more letters are not in this file]"
    assert student["turns"][0]["text"] == told
    assert found.shortened == 1
    assert (len(debate["turns"]), debate["hidden"]) == (2, 1)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@settings(max_examples=25, deadline=None)
@given(question=TEXT, gold=TEXT, said=TEXT, answer=TEXT)
def test_any_text_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, question: str, gold: str, said: str, answer: str
) -> None:
    one: dict[str, Any] = row("student", "q", "r", gold=gold, final_answer=answer)
    one["question"] = question
    one["turns"][0]["text"] = said
    html = render(tmp_path_factory.mktemp("any"), [one, row("debate", "q", "r")])
    whole = next(
        found
        for found in unpacked(html, "question-words-0")[0]["rows"]
        if found["turns"] and found["at"] == 1
    )
    assert (whole["turns"][0]["text"], whole["answer"]) == (said, answer)
    assert unpacked(html, "question-list")["golds"][0] in (gold[:60], "4")
