"""The families of questions in the formats their authors and the Hugging Face Hub publish."""

import json
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agentark_ray.config import ConfigError, TasksConfig, parse_config
from agentark_ray.questions import GraderName, TaskName
from agentark_ray.tasks.base import TaskError
from agentark_ray.tasks.registry import TASKS, all_shards, read_split
from agentark_ray.tasks.text import split_context, split_options
from agentark_ray.types import Question, Split
from tests.unit.test_tasks_formats import put

DATA = Path(__file__).parents[3] / "shared" / "data"


def questions(split: str = "train", **config: Any) -> list[Question]:
    """The questions of a split. One file is read whole: as training and evaluation questions."""
    if "eval_path" not in config and Path(config["path"]).is_file():
        config["eval_path"] = config["path"]
    shards = all_shards(TasksConfig(**config), 17)
    return list(read_split(shards, Split(split), 17))


def ask(tmp_path: Path, name: str, record: dict[str, Any], **config: Any) -> list[Question]:
    """The questions of one record, which must be the same from JSON lines and from Parquet."""
    found = [
        questions(name=name, path=put(tmp_path / f"{name}{suffix}", [record]), **config)
        for suffix in (".jsonl", ".parquet")
    ]
    assert found[0] == found[1]
    return found[0]


def refuse(tmp_path: Path, name: str, record: dict[str, Any], expected: str, **config: Any) -> None:
    path = put(tmp_path / f"{name}.jsonl", [record])
    with pytest.raises(TaskError) as error:
        questions(name=name, path=path, **config)
    assert str(error.value).startswith(f"{path}:1: ")
    assert expected in str(error.value)


def test_the_names_of_the_config_are_those_of_the_registry() -> None:
    named = {name for name in TASKS if not name.startswith("custom/")}
    assert named | {"custom"} == set(get_args(TaskName))
    assert {name for name in TASKS if name not in named} == {
        f"custom/{grader}" for grader in get_args(GraderName)
    }
    with pytest.raises(ConfigError, match="'aqua', 'arithmetic', 'custom', 'gsm8k', 'hotpotqa'"):
        parse_config({}, ["tasks.name=gsm9k"], "test")


# MATH, MetaMathQA

SOLUTION = r"First $\boxed{1}$. But then $x = \boxed{\frac{\sqrt{3}}{2}}$."


def test_math(tmp_path: Path) -> None:
    record = {"problem": " Find $x$. ", "level": "Level 2", "type": "Algebra", "solution": SOLUTION}
    (found,) = ask(tmp_path, "math", record)
    assert (found.text, found.gold, found.task) == ("Find $x$.", r"\frac{\sqrt{3}}{2}", "math")
    record = {"problem": "Find $x$.", "solution": SOLUTION, "answer": "7", "subject": "Algebra"}
    assert ask(tmp_path, "math", record)[0].gold == "7"
    refuse(tmp_path, "math", {"problem": "p", "solution": "none"}, r"must hold \boxed{...}")


def test_math_in_folders_of_one_file_a_problem(tmp_path: Path) -> None:
    for split, kind in (("train", "algebra"), ("train", "geometry"), ("test", "algebra")):
        folder = tmp_path / split / kind
        folder.mkdir(parents=True)
        record = {"problem": f"{split} {kind}", "level": "Level 1", "solution": r"\boxed{2}"}
        (folder / "7.json").write_text(json.dumps(record, indent=4))
    assert {q.text for q in questions(name="math", path=str(tmp_path))} == {
        *("train algebra", "train geometry")
    }
    assert [q.text for q in questions("eval", name="math", path=str(tmp_path))] == ["test algebra"]


def test_metamathqa(tmp_path: Path) -> None:
    record = {
        "query": "Solve it.",
        "response": "The answer is: no.\nSo x = 3.\n#### 3\nThe answer is: \\frac{3}{1}",
        "type": "MATH_AnsAug",
        "original_question": "Solve this.",
    }
    (found,) = ask(tmp_path, "metamathqa", record)
    assert (found.text, found.gold) == ("Solve it.", "\\frac{3}{1}")
    refuse(tmp_path, "metamathqa", {**record, "response": "3"}, "must end in 'The answer is: X'")


def test_what_is_made_of_one_question_is_held_out_together(tmp_path: Path) -> None:
    records = [
        {"query": f"q {i} {j}", "response": "The answer is: 1", "original_question": f"o {i}"}
        for i in range(60)
        for j in range(4)
    ]
    path = put(tmp_path / "MetaMathQA-395K.json", records)
    shards = all_shards(TasksConfig(name="metamathqa", path=path, eval_fraction=0.3), 0)
    held_out = [q.text.split()[1] for q in read_split(shards, Split.EVAL, 0)]
    train = [q.text.split()[1] for q in read_split(shards, Split.TRAIN, 0)]
    assert len(held_out) + len(train) == 240
    assert 0 < len(held_out) < 240
    assert not set(held_out) & set(train)


# Multiple choice


def test_medmcqa_counts_from_0_or_from_1(tmp_path: Path) -> None:
    record = {
        "id": "e9ad821a",
        "question": "Which vitamin?",
        **{"opa": "A", "opb": "B12", "opc": "C", "opd": None},
        **{"exp": "Ans. is b", "subject_name": "Medicine", "choice_type": "single"},
    }
    (found,) = ask(tmp_path, "medmcqa", {**record, "cop": 1})
    assert found.text == "Which vitamin?\nA) A\nB) B12\nC) C\nD) "
    assert found.gold == "B"

    def golds(name: str, *cops: int, **config: Any) -> list[str | None]:
        path = put(
            tmp_path / name, [{**record, "question": f"{i}?", "cop": c} for i, c in enumerate(cops)]
        )
        return [q.gold for q in questions(name="medmcqa", path=path, **config)]

    assert golds("a.jsonl", 1, 0, 3) == ["B", "A", "D"]
    assert golds("b.jsonl", 1, 4, 3) == ["A", "D", "C"]
    assert golds("c.csv", 1, 4) == ["A", "D"]
    assert golds("train.json", 1, 0) == ["B", "A"]
    assert golds("train.json", 1, 2) == ["A", "B"]  # as the authors publish it
    assert golds("train.json", 1, 2, first_option=0) == ["B", "C"]
    with pytest.raises(TaskError, match="has both 0 and 4"):
        golds("d.jsonl", 0, 4)
    refuse(tmp_path, "medmcqa", {**record, "cop": -1}, "from 0 to 3, got -1")


def test_medmcqa_holds_out_validation_for_tests_have_no_answers(tmp_path: Path) -> None:
    record = {"question": "q", "opa": "1", "opb": "2", "opc": "3", "opd": "4", "cop": 0}
    for name, cop in (("train", 0), ("validation", 3), ("test", -1)):
        put(tmp_path / f"{name}-00000-of-00001.parquet", [{**record, "question": name, "cop": cop}])
    assert [q.gold for q in questions("eval", name="medmcqa", path=str(tmp_path))] == ["D"]


def test_mmlu(tmp_path: Path) -> None:
    record = {"question": "Which?", "subject": "law", "choices": ["a", "b", "c", "d"], "answer": 2}
    (found,) = ask(tmp_path, "mmlu", record)
    assert (found.text, found.gold) == ("Which?\nA) a\nB) b\nC) c\nD) d", "C")
    for answer in ("C", "c ", "2"):
        assert ask(tmp_path, "mmlu", {**record, "answer": answer}) == [found]
    nested = {"train": {key: record[key] for key in ("question", "choices", "answer")}}
    assert ask(tmp_path, "mmlu", nested) == [found]
    pro = {"question": "Which?", "options": list("abcdefghij"), "answer": "J", "answer_index": 9}
    assert ask(tmp_path, "mmlu", pro)[0].gold == "J"
    for answer in (4, -1, True, None, "E", ""):
        refuse(tmp_path, "mmlu", {**record, "answer": answer}, f"got {answer!r}")


def test_mmlu_as_the_authors_publish_it(tmp_path: Path) -> None:
    rows = {
        "auxiliary_train/race.csv": '"He said ""no"".\nWhy?",a,b,c,d,B\n',
        "dev/law_dev.csv": "dev?,a,b,c,d,A\n",
        "test/law_test.csv": "test?,a,b,c,d,D\n",
    }
    for name, text in rows.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
    (found,) = questions(name="mmlu", path=str(tmp_path))
    assert (found.text, found.gold) == ('He said "no".\nWhy?\nA) a\nB) b\nC) c\nD) d', "B")
    assert [q.gold for q in questions("eval", name="mmlu", path=str(tmp_path))] == ["D"]


def test_aqua(tmp_path: Path) -> None:
    options = ["A)5(\u221a3 + 1)", "B) 6", "(C) 7", "D)", "E)None"]
    record = {"question": "How far?", "options": options, "rationale": "r", "correct": "C"}
    (found,) = ask(tmp_path, "aqua", record)
    assert found.text == "How far?\nA) 5(\u221a3 + 1)\nB) 6\nC) 7\nD) \nE) None"
    assert found.gold == "C"
    refuse(tmp_path, "aqua", {**record, "correct": "F"}, "must be a letter of 5 options: 'F'")
    refuse(tmp_path, "aqua", {**record, "options": ["B) 1", "A) 2", "C) 3"]}, "'A' is expected")


TRUTH = {
    "Question": "What happens if you eat watermelon seeds?",
    "Best Answer": "They pass through you",
    "Correct Answers": "They pass through you; Nothing happens",
    "Incorrect Answers": "You grow watermelons; You die;",
}


def test_truthfulqa_from_every_publication(tmp_path: Path) -> None:
    question, best = TRUTH["Question"], TRUTH["Best Answer"]
    wrong = ["You grow watermelons", "You die"]
    (found,) = questions(name="truthfulqa", path=put(tmp_path / "TruthfulQA.csv", [TRUTH]))
    stem, options = split_options(found.text)
    assert stem == question
    assert sorted(options) == sorted([best, *wrong])
    assert options["ABC".index(found.gold or "")] == best
    targets = {"choices": [best, *wrong], "labels": [1, 0, 0]}
    for record in (
        {"question": question, "best_answer": best, "incorrect_answers": wrong},
        {"question": question, "mc1_targets": targets, "mc2_targets": targets},
        {"question": question, "mc1_targets": dict(zip([best, *wrong], [1, 0, 0], strict=True))},
    ):
        assert ask(tmp_path, "truthfulqa", record) == [found]
    record = {"question": question, "mc1_targets": {"choices": wrong, "labels": [0, 0]}}
    refuse(tmp_path, "truthfulqa", record, "must have one answer labelled 1")


# Questions about documents

HOTPOT = {
    "question": "Were Ann Lee and Bob Ray of one nationality?",
    "answer": "yes",
    "type": "comparison",
    "context": {
        "title": ["Ann Lee", "A hill", "Bob Ray"],
        "sentences": [["Ann is Irish.", " She sings."], ["Green."], ["Bob is Irish."]],
    },
    "supporting_facts": {"title": ["Ann Lee", "Bob Ray"], "sent_id": [0, 0]},
}


def test_hotpotqa(tmp_path: Path) -> None:
    (found,) = ask(tmp_path, "hotpotqa", HOTPOT)
    context = "Ann Lee: Ann is Irish. She sings.\nA hill: Green.\nBob Ray: Bob is Irish."
    assert found.text == f"{context}\n\nQuestion: {HOTPOT['question']}"
    assert found.gold == "yes"
    original = {
        **HOTPOT,
        "_id": "5a8b",
        "context": [
            ["Ann Lee", ["Ann is Irish.", " She sings."]],
            ["A hill", ["Green."]],
            ["Bob Ray", ["Bob is Irish."]],
        ],
        "supporting_facts": [["Ann Lee", 0], ["Bob Ray", 0]],
    }
    path = put(tmp_path / "hotpot_dev_distractor_v1.json", [original])
    assert questions(name="hotpotqa", path=path) == [found]
    for config in ({"path": path}, {"path": put(tmp_path / "q.parquet", [HOTPOT])}):
        (evidence,) = questions(name="hotpotqa", context="evidence", **config)
        assert "A hill" not in evidence.text
        assert "Bob Ray: Bob is Irish." in evidence.text
    unlabelled = {key: HOTPOT[key] for key in HOTPOT if key != "answer"}
    refuse(tmp_path, "hotpotqa", unlabelled, "missing field 'answer'")


def answer(**values: Any) -> dict[str, Any]:
    empty = {"unanswerable": False, "extractive_spans": [], "yes_no": None, "free_form_answer": ""}
    return {**empty, "evidence": ["We use SQuAD."], "highlighted_evidence": [], **values}


PAPER = {
    "title": "On words",
    "abstract": "We count words.",
    "full_text": [
        {"section_name": "Data", "paragraphs": ["We use SQuAD.", "It is large."]},
        {"section_name": None, "paragraphs": ["Nothing else."]},
    ],
    "qas": [
        {
            "question": "Which data?",
            "question_id": "1",
            "answers": [
                {"answer": answer(extractive_spans=["SQuAD", " 1.1"]), "annotation_id": "a"},
                {
                    "answer": answer(
                        free_form_answer="the SQuAD set", evidence=["FLOAT SELECTED: Table 1"]
                    ),
                    "annotation_id": "b",
                },
                {"answer": answer(extractive_spans=["SQuAD", "1.1"]), "annotation_id": "c"},
            ],
        },
        {
            "question": "Is it large?",
            "question_id": "2",
            "answers": [{"answer": answer(yes_no=True)}],
        },
        {
            "question": "Is it new?",
            "question_id": "3",
            "answers": [{"answer": answer(yes_no=False)}],
        },
        {
            "question": "Who paid?",
            "question_id": "4",
            "answers": [{"answer": answer(unanswerable=True, evidence=[])}],
        },
    ],
}


def of_lists(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Records as the Hub's Parquet files hold them."""
    return {key: [row.get(key) for row in rows] for key in rows[0]}


def test_qasper(tmp_path: Path) -> None:
    path = tmp_path / "qasper-train-v0.3.json"
    path.write_text(json.dumps({"1911.10742": PAPER}))
    found = questions(name="qasper", path=str(path))
    assert [(q.gold, list(q.aliases)) for q in found] == [
        *(("SQuAD, 1.1", ["the SQuAD set"]), ("Yes", []), ("No", []), ("Unanswerable", []))
    ]
    paper = "On words\nWe count words.\nData\nWe use SQuAD.\nIt is large.\nNothing else."
    assert found[0].text == f"{paper}\n\nQuestion: Which data?"
    assert len({q.question_id for q in found}) == 4
    qas = [{**qa, "answers": of_lists(qa["answers"])} for qa in PAPER["qas"]]
    hub = {
        **PAPER,
        "id": "1911.10742",
        "full_text": of_lists(PAPER["full_text"]),
        "qas": of_lists(qas),
    }
    parquet = put(tmp_path / "train.parquet", [hub])
    assert questions(name="qasper", path=parquet) == found
    papers = [{**hub, "title": f"Paper {i}"} for i in range(30)]
    many = put(tmp_path / "many.parquet", papers)
    shards = all_shards(TasksConfig(name="qasper", path=many, eval_fraction=0.5), 0)
    titles = [{q.text.partition("\n")[0] for q in read_split(shards, s, 0)} for s in Split]
    assert not titles[0] & titles[1]
    assert len(titles[0] | titles[1]) == 30
    evidence = questions(name="qasper", path=parquet, context="evidence")
    assert [split_context(q.text)[0].removeprefix("On words\n") for q in evidence] == [
        *("We use SQuAD.\nTable 1", "We use SQuAD.", "We use SQuAD.", "We count words.")
    ]
    empty = {"question": "Why?", "answers": [{"answer": answer()}]}
    refuse(tmp_path, "qasper", {**PAPER, "qas": [empty]}, "'Why?' has an empty answer")
    refuse(tmp_path, "qasper", {**PAPER, "qas": [{**empty, "answers": []}]}, "'Why?' has no answer")
    refuse(tmp_path, "qasper", {**PAPER, "qas": [{**empty, "answers": [{"answer": 3}]}]}, "form")


MEETING = {
    "topic_list": [{"topic": "t", "relevant_text_span": [["0", "1"]]}],
    "general_query_list": [{"query": "Summarize the whole meeting.", "answer": "They met."}],
    "specific_query_list": [
        {
            "query": "What about fish?",
            "answer": "Eaten.",
            "relevant_text_span": [["1", "1"], ["3", "4"]],
        }
    ],
    "meeting_transcripts": [
        {"speaker": f"S{i}", "content": f"turn {i} on {'fish' if i == 1 else 'birds'} "}
        for i in range(6)
    ],
}


def test_qmsum(tmp_path: Path) -> None:
    general, specific = ask(tmp_path, "qmsum", MEETING)
    assert general.text.startswith("S0: turn 0 on birds\nS1: turn 1 on fish\n")
    assert general.text.endswith("S5: turn 5 on birds\n\nQuestion: Summarize the whole meeting.")
    assert (general.gold, specific.gold) == ("They met.", "Eaten.")
    whole, some = ask(tmp_path, "qmsum", MEETING, context="evidence")
    assert whole == general
    assert split_context(some.text)[0].count("\n") == 2
    path = tmp_path / "ES2004a.json"
    path.write_text(json.dumps(MEETING, indent=4))
    assert questions(name="qmsum", path=str(path)) == [general, specific]
    (windowed,) = questions(name="qmsum", path=str(path), context_words=20)[1:]
    assert split_context(windowed.text)[0].split("\n")[1] == "S1: turn 1 on fish"
    assert "[...]" in windowed.text
    query = {**MEETING["specific_query_list"][0], "relevant_text_span": [["5", "6"]]}
    beyond = {**MEETING, "specific_query_list": [query]}
    refuse(tmp_path, "qmsum", beyond, "[5, 6] is no span of 6 turns", context="evidence")


# Any records


def custom(tmp_path: Path, record: dict[str, Any], grader: str, **columns: Any) -> Question:
    (found,) = ask(tmp_path, "custom", record, grader=grader, columns=columns)
    assert found.task == f"custom/{grader}"
    return found


def test_custom_columns(tmp_path: Path) -> None:
    record = {
        "prompt": "What?",
        "extra": {"truth": {"text": ["4", "four", "4"]}},
        "why": ["p", "q"],
    }
    found = custom(tmp_path, record, "short", text="prompt", gold="extra.truth.text", context="why")
    assert (found.text, found.gold, found.aliases) == ("p\nq\n\nQuestion: What?", "4", ("four",))
    record = {"q": "What?", "a": 4.0, "b": ["IV", "4"], "key": 17, "c": None}
    found = custom(
        tmp_path, record, "short", text="q", gold="a", aliases="b", id="key", context="c"
    )
    assert (found.question_id, found.gold, found.aliases) == ("17", "4", ("IV",))
    assert custom(tmp_path, {"question": "What?"}, "short", gold=None).gold is None


@pytest.mark.parametrize(
    ("grader", "given", "gold"),
    [
        ("numeric", "so\n#### 1,234", "1234"),
        ("numeric", 7, "7"),
        ("math", r"\frac{1}{2}", r"\frac{1}{2}"),
        ("math", r"thus \boxed{\frac{1}{2}}.", r"\frac{1}{2}"),
        ("choice", "B", "B"),
        ("short", "in the year 1990", "in the year 1990"),
        ("short", True, "yes"),
        ("summary", "They met. And left.", "They met. And left."),
    ],
)
def test_custom_golds(tmp_path: Path, grader: str, given: Any, gold: str) -> None:
    found = custom(tmp_path, {"question": "What?", "answer": given}, grader)
    assert found.gold == gold
    assert TASKS[found.task].grader.verdict(gold, gold) == "correct"


@pytest.mark.parametrize(
    ("options", "given", "gold"),
    [
        (["x", "y", "z"], 1, "B"),
        (["x", "y", "z"], "C", "C"),
        (["x", "y", "z"], "y", "B"),
        (["x", "y", "z"], "2", "C"),
        (["4", "3", "2"], "2", "C"),  # the option's text before the index
        ({"A": "x", "B": "y"}, "B", "B"),
        ({"label": ["1", "2", "3"], "text": ["x", "y", "z"]}, "1", "A"),
    ],
)
def test_custom_options(tmp_path: Path, options: Any, given: Any, gold: str) -> None:
    record = {"question": "Which?", "choices": options, "answer": given}
    found = custom(tmp_path, record, "choice", options="choices")
    assert found.gold == gold
    assert split_options(found.text)[1][0] in ("x", "4")


def test_custom_options_in_columns(tmp_path: Path) -> None:
    record = {"question": "Which?", "one": "x", "two": "y", "answer": "y"}
    assert custom(tmp_path, record, "choice", options=["one", "two"]).gold == "B"


@pytest.mark.parametrize(
    ("record", "columns", "expected"),
    [
        ({"q": "What?"}, {}, "missing field 'question', got ['q']"),
        ({"question": "What?"}, {}, "missing field 'answer', got ['question']"),
        ({"question": " ", "answer": "1"}, {}, "column 'question' must be text, got ' '"),
        (
            {"question": "q", "answer": {"a": 1}},
            {},
            "column 'answer' must be text or a list of texts",
        ),
        ({"question": "q", "answer": "x"}, {"gold": "answer.y"}, "field 'answer' must have fields"),
        ({"question": "q", "answer": "x", "o": ["A", "x"]}, {"options": "o"}, ""),
        (
            {"question": "q", "answer": "z", "o": ["x", "y"]},
            {"options": "o"},
            "'z' is none of the options",
        ),
        ({"question": "q", "answer": "A", "o": ["x", "A"]}, {"options": "o"}, "stands for several"),
        ({"question": "q", "answer": "5", "o": ["x", "y"]}, {"options": "o"}, "from 0 to 1, got 5"),
        (
            {"question": "q", "answer": "A", "s": "first"},
            {"split": "s"},
            "expected train, validation, test",
        ),
    ],
)
def test_custom_errors(
    tmp_path: Path, record: dict[str, Any], columns: dict[str, Any], expected: str
) -> None:
    if expected:
        config = {"grader": "choice", "columns": columns}
        refuse(tmp_path, "custom", record, expected, **config)
    else:
        assert custom(tmp_path, record, "choice", **columns).gold == "B"


def test_custom_splits_and_groups(tmp_path: Path) -> None:
    records = [
        {
            "question": f"q{i}",
            "answer": i,
            "part": ["train", "dev", "ood"][i % 3],
            "doc": f"d{i % 9}",
        }
        for i in range(90)
    ]
    path = put(tmp_path / "q.csv", records)
    config: dict[str, Any] = {"name": "custom", "path": path, "grader": "numeric"}
    shards = all_shards(TasksConfig(**config, columns={"split": "part"}), 0)  # type: ignore[arg-type]
    golds = [[int(q.gold or "") % 3 for q in read_split(shards, split, 0)] for split in Split]
    assert golds == [[0] * 30, [1] * 30, [2] * 30]
    shards = all_shards(TasksConfig(**config, columns={"group": "doc"}, eval_fraction=0.4), 0)  # type: ignore[arg-type]
    docs = [{int(q.text[1:]) % 9 for q in read_split(shards, split, 0)} for split in Split]
    assert docs[0] | docs[1] == set(range(9))
    assert not docs[0] & docs[1]
    ood = {"ood_path": path, "columns": {"split": "part"}}
    shards = all_shards(TasksConfig(**config, **ood), 0)  # type: ignore[arg-type]
    assert len(list(read_split(shards, Split.OOD, 0))) == 120  # its own 30, and all of ood_path


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("name=custom", "a custom task needs a grader"),
        ("grader=math", "grader and columns are for the task custom, got name=arithmetic"),
        ("columns={text: q}", "grader and columns are for the task custom"),
        ("columns={txt: q}", "unknown key 'tasks.columns.txt', did you mean 'tasks.columns.text'?"),
        ("ood_name=gsm8k", "ood_name=gsm8k needs an ood_path"),
        ("ood_path=x.jsonl", "the task arithmetic reads no files"),
        ("leaks=keep", "tasks.leaks='keep'"),
    ],
)
def test_bad_configs_are_named(override: str, expected: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_config({}, [f"tasks.{override}"], "test")
    assert expected in str(error.value)


def test_another_task_may_be_out_of_distribution(tmp_path: Path) -> None:
    path = put(tmp_path / "q.jsonl", [{"question": "q", "answer": "#### 1"}])
    config = TasksConfig(ood_name="gsm8k", ood_path=path, train_questions=3)
    (found,) = read_split(all_shards(config, 0), Split.OOD, 0)
    assert (found.task, found.split) == ("gsm8k", "ood")
    longer = read_split(all_shards(TasksConfig(ood_name="arithmetic"), 0), Split.OOD, 0)
    assert {q.split for q in longer} == {"ood"}


def test_files_take_turns(tmp_path: Path) -> None:
    for i in range(70):
        put(
            tmp_path / f"{i:02}.jsonl",
            [{"question": f"{i} {j}", "answer": "#### 1"} for j in range(3)],
        )
    other = put(tmp_path / "test.jsonl", [{"question": "x", "answer": "#### 1"}])
    shards = all_shards(TasksConfig(name="gsm8k", path=str(tmp_path), eval_path=other), 0)
    texts = [q.text for q in read_split(shards, Split.TRAIN, 0)]
    first = [int(text.split()[0]) for text in texts[:64]]
    assert len(set(first)) == 64
    assert max(first) > 63  # not just the files that come first by name
    assert len(set(texts)) == 210
    assert texts == [q.text for q in read_split(shards, Split.TRAIN, 0)]


# The real files

real = pytest.mark.skipif(not DATA.is_dir(), reason="the real files are not here")


def whole(name: str, path: Path, **config: Any) -> list[Question]:
    return questions(name=name, path=str(path), **config)


@real
@pytest.mark.parametrize(
    ("name", "file", "count"),
    [
        ("mmlu", "mmlu_stem/test.jsonl", 3018),
        ("aqua", "aqua/test.jsonl", 254),
        ("truthfulqa", "truthfulqa/TruthfulQA.csv", 817),
    ],
)
def test_published_choices_are_told_apart(name: str, file: str, count: int) -> None:
    found = whole(name, DATA / file)
    assert len(found) == count
    grader = TASKS[name].grader
    for question in found:
        letters = "ABCDEFGHIJ"[: len(split_options(question.text)[1])]
        verdicts = {letter: grader.verdict(letter, question.gold) for letter in letters}
        assert question.gold is not None
        assert verdicts.pop(question.gold) == "correct"
        assert set(verdicts.values()) == {"incorrect"}
        assert grader.extract(f"So \\boxed{{{question.gold}}}") == question.gold


@real
def test_published_truth_is_anywhere_among_the_options() -> None:
    golds = [question.gold for question in whole("truthfulqa", DATA / "truthfulqa/TruthfulQA.csv")]
    assert all(80 < golds.count(letter) < 240 for letter in "ABCD")


@real
def test_published_meetings() -> None:
    path = DATA / "qmsum" / "test.jsonl"
    found = whole("qmsum", path)
    assert len(found) == 281
    windowed = whole("qmsum", path, context="evidence", context_words=500)
    assert len(windowed) == 281
    lengths = [len(split_context(q.text)[0].replace("[...]", "").split()) for q in windowed]
    assert max(lengths) <= 500 < max(len(q.text.split()) for q in found)
    grader = TASKS["qmsum"].grader
    assert grader.verdict(found[0].gold, found[0].gold) == "correct"
    shards = all_shards(TasksConfig(name="qmsum", path=str(path), eval_fraction=0.3), 0)
    parts = [{split_context(q.text)[0] for q in read_split(shards, s, 0)} for s in Split]
    assert not parts[0] & parts[1]
    assert len(parts[0] | parts[1]) == 35


def test_parquet_with_other_types(tmp_path: Path) -> None:
    table = pa.table(
        {
            "question": pa.array(["Which?"], pa.large_string()),
            "choices": pa.array([["a", "b", "c", "d"]], pa.large_list(pa.string())),
            "answer": pa.array([3], pa.uint8()),
            "subject": pa.array(["law"]).dictionary_encode(),
        }
    )
    pq.write_table(table, tmp_path / "q.parquet")
    assert whole("mmlu", tmp_path / "q.parquet")[0].gold == "D"
