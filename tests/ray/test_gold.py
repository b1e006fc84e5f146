"""Perplexity of gold reasoning in tasks of a real cluster."""

import shutil
from pathlib import Path

import pytest

from agentark_ray.config import parse_config
from agentark_ray.gold_scores import gold_perplexity
from agentark_ray.run_folder import RunFolder
from agentark_ray.tiny.path import tiny_model_path
from agentark_ray.traces.requests import write_questions

pytestmark = [pytest.mark.usefixtures("ray_cluster"), pytest.mark.timeout(300)]


def test_a_student_reads_what_the_base_model_reads(tmp_path: Path) -> None:
    sizes = {"train_questions": 3, "eval_questions": 12}
    config = parse_config({"output": str(tmp_path), "tasks": sizes}, [], "test")
    folder = RunFolder(str(tmp_path))
    write_questions(folder, config)
    shutil.copytree(tiny_model_path(), tmp_path / "students" / "rsft")
    models = {"single": str(tiny_model_path()), "student": folder.path("students", "rsft")}
    found = gold_perplexity(folder, config, models)
    assert found["single"] == found["student"]
    assert found["single"]["solutions"] == 12 and found["single"]["left_out"] == 0
    assert 1 < found["single"]["perplexity"] < 2


def test_nothing_is_read_where_there_are_no_solutions(tmp_path: Path) -> None:
    sets = tmp_path / "q.jsonl"
    sets.write_text("\n".join(f'{{"question": "Q{i}?", "answer": "#### {i}"}}' for i in range(40)))
    tasks = {"name": "gsm8k", "path": str(sets), "eval_fraction": 0.5}
    config = parse_config({"output": str(tmp_path / "run"), "tasks": tasks}, [], "test")
    folder = RunFolder(config.output)
    write_questions(folder, config)
    assert gold_perplexity(folder, config, {"single": "no/model"}) == {}
