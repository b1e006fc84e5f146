"""Students of one run folder on a real cluster: samples, chains, what is done once, evaluation."""

from pathlib import Path
from typing import Any

import pytest
from pyarrow import dataset
from rich.console import Console
from safetensors.torch import load_file

from agentark_ray import student, student_sft
from agentark_ray.config import Config
from agentark_ray.distillation import make
from agentark_ray.evaluation import SUMMARY, answer
from agentark_ray.pipeline import Run, generate, questions
from agentark_ray.reporting import write_report
from agentark_ray.run_folder import RunFolder
from agentark_ray.student import Student
from agentark_ray.students import run_config
from agentark_ray.traces.samples import samples_wanted
from agentark_ray.types import DebateStatus
from tests.ray.helpers import config_for
from tests.unit.debates import debate, said

pytestmark = [pytest.mark.usefixtures("ray_cluster"), pytest.mark.timeout(400)]
CONSOLE = Console(stderr=True)
QUESTIONS = 40


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """A run with the traces of 30 debates and no student yet."""
    path = tmp_path_factory.mktemp("students")
    lines = [
        f'{{"question": "Tom has {i} of {i + 42} apples. Missing?", "answer": "#### 42"}}'
        for i in range(QUESTIONS)
    ]
    (path / "questions.jsonl").write_text("\n".join(lines))
    config = config_for(
        path,
        path / "questions.jsonl",
        "tasks.eval_fraction=0.25",
        "distill.seq_len=256",
        "train.batch_size=2",
        "train.micro_batch_size=2",
        "train.lr=1e-3",
        "evaluate.latency_queries=1",
    )
    run = Run(config, CONSOLE)
    run.folder.open(config, run.model)
    for stage in (questions, generate):
        run.folder.finish_stage(stage.__name__, stage(run))
    return config


def weights(folder: RunFolder, name: str) -> dict[str, Any]:
    return load_file(Path(folder.path("students", name, "model.safetensors")))


@pytest.mark.slow
def test_students_of_all_kinds_share_the_traces(
    finished: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder(finished.output)
    own = Student(finished, CONSOLE, "rsft")
    record = make(own)
    assert list(record["stages"]) == ["dataset", "train"]
    traces = dataset.dataset(folder.inner("traces")).count_rows()
    assert record["traces"]["debates"] == traces == folder.stage("generate")["rows"]  # type: ignore[index]

    rft = make(Student(run_config(folder, (), "rft"), CONSOLE, "rft"))
    samples = dataset.dataset(folder.inner("samples")).to_table().to_pylist()
    assert rft["stages"]["samples"]["rows"] == len(samples) > 0
    assert {(s["arm"], s["status"], len(s["turns"])) for s in samples} == {("single", "ok", 1)}
    card = folder.read_json("datasets", "rft", "data_card.json")
    assert card["traces"] == traces  # samples are no debates
    spent, budget = card["sampling"]["spent"], card["sampling"]["budget"]
    assert 0.9 * budget < spent <= budget
    first = 3 * traces
    assert first < card["sampling"]["samples"] <= first + len(samples)

    chain = Student(run_config(folder, ["train.lr=1e-4"], "da"), CONSOLE, "rsft-da", "rsft")
    child = make(chain)
    assert child["parent"] == "rsft"
    base, parent, grown = (weights(folder, name) for name in ("rft", "rsft", "rsft-da"))
    moved = [abs(grown[k] - parent[k]).mean() for k in parent]
    assert 0 < max(moved) < max(abs(grown[k] - base[k]).mean() for k in base)

    def again(*args: Any, **more: Any) -> None:
        raise AssertionError("a finished stage is done again")

    monkeypatch.setattr(student, "train_model", again)
    monkeypatch.setattr(student_sft, "build_dataset", again)
    assert make(own) == record
    assert make(chain) == child

    space = Run(finished, CONSOLE)
    figures = answer(space)
    assert list(figures["students"]) == ["rsft", "rft", "rsft-da"]
    summary = folder.read_json(*SUMMARY)
    students = ["student", "student_greedy", "rft", "rft_greedy", "rsft-da", "rsft-da_greedy"]
    names = ["single", "single_greedy", "self_consistency", "debate", *students]
    assert (list(summary["arms"]), summary["student"]) == (names, "student")
    assert {arm["n"] for arm in summary["arms"].values()} == {QUESTIONS - traces}
    corrected = {name for name in names if summary["arms"][name]["self_correction"]}
    assert corrected >= {"single", "student", "rft", "rsft-da"}
    assert "## Evaluation" in Path(folder.path("students", "rft", "README.md")).read_text()

    before = dataset.dataset(folder.inner("eval/transcripts/rft")).files
    answer(space, "rft")
    assert dataset.dataset(folder.inner("eval/transcripts/rft")).files == before
    assert folder.read_json(*SUMMARY)["student"] == "rft"
    write_report(folder)
    page = Path(folder.path("report.html")).read_text()
    assert page.count("the gates are its") == 1 and "rsft-da" in page


def test_samples_wanted_by_hand() -> None:
    agents = [said("a b c d"), said("a b"), said("a b c")]  # 9 tokens, 3 each
    whole = debate(agents, [said("a b c d e"), said("a"), said("b")])  # and 7 more
    assert samples_wanted(whole) == 3  # 7 / 3 rounded up
    assert samples_wanted(debate(agents)) == 0
    assert samples_wanted({**whole, "status": DebateStatus.FAILED}) == 0
    judged = debate([said("a b"), said("a b", role="negative")], [said("a b c", role="judge")])
    assert samples_wanted(judged) == 3  # (7 - 2) / 2: who answers second has read the first
