"""Duplicates within a split are dropped and counted; evaluation questions in training are found."""

import json
import random
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentark_ray.config import TasksConfig, parse_config
from agentark_ray.run_folder import RunFolder
from agentark_ray.similar import jaccard, shingles
from agentark_ray.tasks import arithmetic
from agentark_ray.tasks.base import TaskError
from agentark_ray.tasks.gsm8k import GSM8K
from agentark_ray.tasks.leaks import NEAR, RENAMED, Asked, EvalIndex
from agentark_ray.tasks.text import with_context, with_options
from agentark_ray.traces.leaks import find_leaks
from agentark_ray.traces.requests import write_questions
from agentark_ray.traces.unique import Seen
from agentark_ray.types import Split
from tests.unit.real_files import GSM8K_FILES, needs_gsm8k

MARTA = (
    "Marta has 12 crates of 8 melons. She sells 5 melons on Monday and gives half of what is left"
    " to her sister Ida, who already has 30 melons of her own. How many melons has Ida now?"
)


def similarity(train: str, held_out: str, golds: tuple[str, str] = ("1", "2")) -> float | None:
    """Of the leak between two questions; None if there is none."""
    index = EvalIndex(
        [Asked("other", "Who wrote the novel Emma?", "3"), Asked("e", held_out, golds[1])]
    )
    found = index.leaks([Asked("t", train, golds[0])])
    assert all(
        (leak.train.question_id, leak.evaluation.question_id) == ("t", "e") for leak in found
    )
    return found[0].similarity if found else None


@pytest.mark.parametrize(
    "same",
    [
        MARTA.upper(),
        MARTA.replace(". ", "\n\n").replace("?", ""),
        MARTA.replace(",", ";").replace("8 melons", "8\u00a0melons"),
        MARTA.replace("Ida", "\uff29da"),  # full width
    ],
)
def test_word_for_word_but_for_looks(same: str) -> None:
    assert similarity(same, MARTA) == 1.0


def test_options_in_another_order_are_the_same_question() -> None:
    options = ["The heart", "The liver", "The left lung"]
    question = "Which organ makes bile?"
    shuffled = with_options(question, options[::-1])
    assert similarity(shuffled, with_options(question, options)) == 1.0
    assert similarity(question, with_options(question, options)) is None
    other = ["The skin", "The spleen", "The brain"]
    assert similarity(with_options(question, other), with_options(question, options)) is None


def test_one_word_in_twenty_is_near_by_hand() -> None:
    words = [f"w{chr(97 + i)}" for i in range(22)]  # 20 shingles
    changed = [*words[:10], "zz", *words[11:]]  # 3 of them others: 17 of 23
    assert similarity(" ".join(changed), " ".join(words)) is None
    longer = words + [f"v{chr(97 + i)}" for i in range(10)]  # 30 shingles
    changed = [*longer[:10], "zz", *longer[11:]]
    assert similarity(" ".join(changed), " ".join(longer)) == pytest.approx(27 / 33)


def test_other_numbers_are_another_question() -> None:
    assert similarity(MARTA.replace("12 crates", "13 crates"), MARTA, ("1", "1")) is None
    swapped = MARTA.replace("12", "x").replace("8", "12").replace("x", "8")
    assert similarity(swapped, MARTA, ("1", "1")) is None
    assert similarity(MARTA.replace("half", "a third"), MARTA, ("1", "1")) is None


def test_other_signs_are_another_question() -> None:
    held_out = (
        "Let f be the function with f(x) = x^2 + 3 for every real x. Find all zeros of f in the"
        " complex plane, and say how many of them lie on the follow-up circle around the origin."
    )
    assert similarity(held_out.replace("+", "-"), held_out) is None
    assert similarity(held_out.replace("Find", "State"), held_out) is not None
    assert similarity(held_out.replace("follow-up", "follow up"), held_out) is not None


def test_other_names_are_the_same_problem_if_the_answer_is() -> None:
    renamed = MARTA.replace("Marta", "Olga").replace("Ida", "Eve")
    assert RENAMED <= (similarity(renamed, MARTA, ("7", "7")) or 0) < NEAR
    assert similarity(renamed, MARTA, ("7", "8")) is None
    wordy = "Who was the first president of the old republic of Marta and when did he retire?"
    assert similarity(wordy.replace("Marta", "Olga"), wordy, ("7", "7")) is None


def test_a_question_about_another_document_is_another_question() -> None:
    asked = "Which data sets are used in the experiments?"
    papers = [" ".join(a + b + n for a in "abcdef" for b in "ghijklmnop") for n in "yz"]
    held_out = with_context(papers[0], asked)
    assert similarity(with_context(papers[0], asked), held_out) == 1.0
    assert similarity(with_context(papers[1], asked), held_out) is None
    assert similarity(asked, held_out) is None
    assert similarity(with_context(papers[0], "Who wrote it, and when?"), held_out) is None
    edited = with_context(papers[0].replace("apy ", "apy so "), asked)
    assert similarity(edited, held_out) == pytest.approx(56 / 61)  # 58 shingles, 2 of them split


def test_long_documents_are_compared_by_a_sketch() -> None:
    rng = random.Random(5)
    words = [f"w{rng.randrange(10**6)}" for _ in range(8_000)]
    changed = [word if i % 40 else "other" for i, word in enumerate(words)]
    exact = jaccard(shingles(words), shingles(changed))
    asked = "Who spoke about the new budget, and why?"
    found = similarity(with_context(" ".join(changed), asked), with_context(" ".join(words), asked))
    assert found == pytest.approx(exact, abs=0.06)


def test_the_closest_evaluation_question_is_named() -> None:
    near = MARTA.replace("already", "still")
    index = EvalIndex([Asked("near", near, "1"), Asked("exact", MARTA, "1")])
    (leak,) = index.leaks([Asked("t", MARTA, "1")])
    assert (leak.evaluation.question_id, leak.similarity) == ("exact", 1.0)


@given(st.lists(st.sampled_from("abcdefgh"), min_size=8, max_size=40), st.integers(0, 2**32))
def test_nothing_near_is_missed_and_nothing_else_reported(words: list[str], seed: int) -> None:
    rng = random.Random(seed)
    changed = [word if rng.random() > 0.05 else "z" for word in words]
    exact = jaccard(shingles(words), shingles(changed))
    found = similarity(" ".join(changed), " ".join(words))
    assert found == (exact if exact >= NEAR else None) or (words == changed and found == 1.0)


def test_arithmetic_problems_are_no_leaks_of_each_other() -> None:
    def asked(split: str, n: int) -> list[Asked]:
        found = arithmetic.questions(split, 0, n)
        return [Asked(q.question_id, q.text, q.gold) for q in found]

    assert EvalIndex(asked("eval", 500)).leaks(asked("train", 5_000)) == []


@needs_gsm8k
def test_published_gsm8k_has_no_leak_and_planted_ones_are_found() -> None:
    shards = GSM8K.shards(TasksConfig(name="gsm8k", path=str(GSM8K_FILES)), 0)
    asked: dict[str, list[Asked]] = {
        shard.split: [Asked(q.question_id, q.text, q.gold) for q in GSM8K.read(shard)]
        for shard in shards
    }
    index = EvalIndex(asked["eval"])
    assert index.leaks(asked["train"]) == []
    planted = [q._replace(text=_typo(q.text)) for q in asked["eval"]]
    assert len(index.leaks(planted)) > 0.95 * len(planted)


def _typo(text: str) -> str:
    """A text whose longest word has a letter less."""
    word = max((w for w in text.split() if w.isalpha()), key=len)
    return text.replace(word, word[:2] + word[3:], 1)


def write(tmp_path: Path, train: list[str], held_out: list[str], *overrides: str) -> dict[str, int]:
    """The figures of a run with these questions; the answers are their lengths."""
    for name, texts in (("train", train), ("eval", held_out)):
        lines = [json.dumps({"question": q, "answer": f"#### {len(q)}"}) for q in texts]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    values = [f"tasks.path={tmp_path}/train.jsonl", f"tasks.eval_path={tmp_path}/eval.jsonl"]
    config = parse_config({}, ["tasks.name=gsm8k", *values, *overrides], "test")
    return write_questions(RunFolder(str(tmp_path / "run")), config)


def written(tmp_path: Path, split: str) -> list[str]:
    return pq.read_table(tmp_path / "run" / "questions" / f"{split}.parquet")[
        "question"
    ].to_pylist()


def test_duplicates_are_dropped_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    figures = write(tmp_path, ["a 1", "b 2", "a 1", "a 1", "c 3"], ["d 4"])
    assert figures == {"train": 3, "eval": 1, "duplicates": 2, "other_gold": 0, "leaks": 0}
    assert written(tmp_path, "train") == ["a 1", "b 2", "c 3"]
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, '{"question": "a 1", "answer": "#### 99"}']))
    values = [f"tasks.path={path}", f"tasks.eval_path={tmp_path}/eval.jsonl", "tasks.name=gsm8k"]
    config = parse_config({}, values, "test")
    figures = write_questions(RunFolder(str(tmp_path / "run")), config)
    assert (figures["duplicates"], figures["other_gold"]) == (3, 1)


def test_a_limit_counts_questions_that_are_kept(tmp_path: Path) -> None:
    figures = write(tmp_path, ["a 1", "a 1", "b 2", "c 3"], ["d 4"], "tasks.train_questions=2")
    assert (figures["train"], figures["duplicates"]) == (2, 1)


def test_leaks_end_the_run_with_the_pairs(tmp_path: Path) -> None:
    train = [f"{MARTA} What does shop {i} say?" for i in range(20)]
    held_out = [*train[:7], "how many are 3 and 4", train[9].replace("already", "still")]
    with pytest.raises(TaskError) as error:
        write(tmp_path, [*train, "How many are 3 and 4?"], held_out)
    message = str(error.value)
    assert "tasks: 9 training questions are evaluation questions" in message
    assert "(8 word for word, 1 nearly)" in message
    assert message.count("1.00  train     ") == 5
    assert "tasks.leaks=drop" in message


def test_leaks_can_be_dropped_or_allowed(tmp_path: Path) -> None:
    train, held_out = ["a 1", "How many are 3 and 4?", "b 2"], ["how many are 3 and 4", "c 3"]
    figures = write(tmp_path, train, held_out, "tasks.leaks=drop")
    assert (figures["train"], figures["eval"], figures["leaks"]) == (2, 2, 1)
    assert written(tmp_path, "train") == ["a 1", "b 2"]
    figures = write(tmp_path, train, held_out, "tasks.leaks=allow")
    assert (figures["train"], figures["leaks"]) == (3, 1)
    assert written(tmp_path, "train") == train
    with pytest.raises(TaskError, match="nothing else is there to train on"):
        write(tmp_path, held_out, held_out, "tasks.leaks=drop")


def test_out_of_distribution_questions_are_evaluation_questions(tmp_path: Path) -> None:
    (tmp_path / "ood.jsonl").write_text(json.dumps({"question": "b 2", "answer": "#### 1"}))
    ood = f"tasks.ood_path={tmp_path}/ood.jsonl"
    figures = write(tmp_path, ["a 1", "c 3"], ["d 4"], ood)
    assert (figures["train"], figures["eval"], figures["ood"]) == (2, 1, 1)
    with pytest.raises(TaskError, match="1 training questions are evaluation questions"):
        write(tmp_path, ["a 1", "b 2"], ["d 4"], ood)


def test_questions_beyond_one_row_group_are_compared(tmp_path: Path) -> None:
    texts = [f"Question about shop number {i}?" for i in range(2_500)]
    write(tmp_path, texts, ["d 4", texts[-1], texts[1_000]], "tasks.leaks=allow")
    leaks = find_leaks(RunFolder(str(tmp_path / "run")), [Split.EVAL])
    assert len(leaks.ids) == leaks.exact == len(leaks.worst) == 2


def test_an_id_of_two_questions_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "q.csv"
    path.write_text("id,question,answer\n7,What is 1?,1\n8,What is 2?,2\n7,What is 3?,3\n")
    columns = "tasks.columns={id: id}"
    values = [f"tasks.path={path}", f"tasks.eval_path={path}", "tasks.grader=numeric", columns]
    config = parse_config({}, ["tasks.name=custom", "tasks.leaks=allow", *values], "test")
    folder = RunFolder(str(tmp_path / "run"))
    with pytest.raises(
        TaskError, match=r"the id '7' stands for two train questions: 'What is 1\?'"
    ):
        write_questions(folder, config)
    path.write_text("id,question,answer\n7,What is 1?,1\n8,What is 2?,2\n7,What is 1?,1\n")
    assert write_questions(folder, config)["duplicates"] == 2


def test_seen_keeps_the_first_label() -> None:
    seen = Seen()
    assert [seen.before(*pair) for pair in ("a1", "b2", "a3", "a4")] == [None, None, "1", "1"]
    seen.close()
