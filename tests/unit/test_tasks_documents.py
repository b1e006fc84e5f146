"""Families that ask about documents, in the formats in which they are published."""

import json
from pathlib import Path
from typing import Any

from agentark_ray.config import TasksConfig
from agentark_ray.tasks.registry import TASKS, all_shards, read_split
from agentark_ray.tasks.text import split_context
from agentark_ray.types import Split
from tests.unit.real_files import DATA, needs_data
from tests.unit.task_files import ask, put, questions, refuse

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


@needs_data
def test_published_meetings() -> None:
    path = str(DATA / "qmsum" / "test.jsonl")
    found = questions(name="qmsum", path=path)
    assert len(found) == 281
    windowed = questions(name="qmsum", path=path, context="evidence", context_words=500)
    assert len(windowed) == 281
    lengths = [len(split_context(q.text)[0].replace("[...]", "").split()) for q in windowed]
    assert max(lengths) <= 500 < max(len(q.text.split()) for q in found)
    grader = TASKS["qmsum"].grader
    assert grader.verdict(found[0].gold, found[0].gold) == "correct"
    shards = all_shards(TasksConfig(name="qmsum", path=path, eval_fraction=0.3), 0)
    parts = [{split_context(q.text)[0] for q in read_split(shards, s, 0)} for s in Split]
    assert not parts[0] & parts[1]
    assert len(parts[0] | parts[1]) == 35
