"""An evaluation with changed questions, another set and a wrong peer, on a real cluster."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pyarrow import dataset
from rich.console import Console

from agentark_ray.evaluation import SUMMARY, answer
from agentark_ray.pipeline import Run, questions
from agentark_ray.run_folder import RunFolder
from tests.ray.helpers import config_for

pytestmark = [pytest.mark.usefixtures("ray_cluster"), pytest.mark.timeout(600)]
ARMS = ("single", "self_consistency", "debate")


def rows_of(folder: RunFolder) -> list[dict[str, Any]]:
    return dataset.dataset(folder.inner("eval/transcripts/base")).to_table().to_pylist()


def test_all_arms_answer_changed_questions(tmp_path: Path, gsm8k_file: Any) -> None:
    config = config_for(
        tmp_path,
        gsm8k_file(60),
        "tasks.eval_fraction=0.4",
        "evaluate.arms=[single, self_consistency, debate, student]",
        "evaluate.self_consistency_samples=3",
        "evaluate.latency_queries=1",
        "evaluate.peer_questions=6",
        "evaluate.robustness.questions=9",
        "evaluate.robustness.kinds={repeat: [1], typos: [0.5], renamed: [1], options: [1]}",
        "evaluate.ood.longer={task: arithmetic, questions: 5}",
    )
    run = Run(config, Console(stderr=True))
    run.check()
    run.folder.open(config, run.model)
    run.folder.finish_stage("questions", questions(run))
    run.folder.finish_stage("generate", {"rows": 0, "failed": 0})  # nobody was trained
    asked = run.finished("questions")
    assert asked["ood-longer"] == 5 and asked["eval"] > 9
    answer(run)

    rows = rows_of(run.folder)
    counts = Counter((row["arm"], row["kind"]) for row in rows)
    for arm in ARMS:
        for kind, number in {
            "main": asked["eval"],
            "latency": 1,
            "changed:repeat:1": 9,
            "changed:typos:0.5": 9,
            "changed:renamed:1": 9,
            "ood:longer": 5,
        }.items():
            assert counts.pop((arm, kind)) == number, (arm, kind)
    assert counts == {("single_check", "main"): asked["eval"], ("single_peer", "main"): 6}
    clean = {row["question_id"]: row["question"] for row in rows if row["kind"] == "main"}
    for row in rows:
        if row["kind"].startswith("changed"):
            same = row["question"] == clean[row["question_id"]]
            assert (same, row["gold"]) == (row["kind"] == "changed:repeat:1", "42")
        if row["kind"] == "changed:renamed:1":
            assert "Tom" not in row["question"]
            assert row["question"] in row["turns"][0]["messages"][0]["content"]

    summary = run.folder.read_json(*SUMMARY)
    assert list(summary["robustness"]) == sorted(ARMS)
    for arm in ARMS:
        found = summary["robustness"][arm]
        assert list(found) == ["repeat", "typos", "renamed", "options"]
        again = found["repeat"]["1"]  # the scripted engine says the same to the same prompt
        assert (again["flipped"], again["fixed"], again["not_applicable"]) == (0, 0, 0)
        assert again["right_clean"] + again["wrong_clean"] == 9
        assert found["options"]["1"]["not_applicable"] == 9
        assert summary["ood"]["longer"][arm]["n"] == 5
        assert summary["arms"][arm]["n"] == asked["eval"]
    turns = summary["arms"]["single"]["second_turn"]
    assert turns["peer"]["right_before"] + turns["peer"]["wrong_before"] == 6
    assert turns["check"]["right_before"] + turns["check"]["wrong_before"] == asked["eval"]
    steps = summary["arms"]["debate"]["steps"]
    assert steps["solutions"] == 3 * asked["eval"] and steps["steps"] == 2

    before = dataset.dataset(run.folder.inner("eval/transcripts/base")).files
    answer(run)
    assert dataset.dataset(run.folder.inner("eval/transcripts/base")).files == before
