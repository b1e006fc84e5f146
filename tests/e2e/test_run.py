"""The main job with the real command line, vLLM, DeepSpeed and Ray, and stopped in every stage."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pyarrow import dataset
from safetensors.torch import load_file
from transformers import AutoTokenizer

from agentark_ray.config import Config
from agentark_ray.debate.layouts import LAYOUTS
from agentark_ray.debate.protocol import arm_protocol
from agentark_ray.engine.vllm import WARM_UP, render
from agentark_ray.evaluate_config import ARMS, GREEDY
from agentark_ray.models import template_hash
from agentark_ray.run_folder import RunFolder
from agentark_ray.students import run_config
from agentark_ray.tasks.registry import TASKS
from agentark_ray.tiny.path import tiny_model_path
from agentark_ray.types import Message

ROOT = Path(__file__).parents[2]
STAGES = ("questions", "generate", "distill", "evaluate", "report")
pytestmark = pytest.mark.e2e


def command(*args: str) -> list[str]:
    return [sys.executable, "-m", "agentark_ray.cli", "run", *args]


def run(*args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command(*args),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=1500,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done


def rows(folder: Path, *columns: str) -> list[dict[str, Any]]:
    source = dataset.dataset(folder, format="parquet")
    return source.to_table(columns=list(columns) or None).to_pylist()


# Every process of a job loads it, and writes down the prompts that vLLM says it has answered.
LISTENER = """
import json, os
from agentark_ray.engine.vllm import VllmEngine

final = VllmEngine.final

async def heard(self, *args, **params):
    output = await final(self, *args, **params)
    with open(os.path.join(os.environ["HEARD"], str(os.getpid())), "a") as file:
        file.write(json.dumps(list(output.prompt_token_ids)) + "\\n")
    return output

VllmEngine.final = heard
"""


def listen(folder: Path) -> dict[str, str]:
    """The environment of a job whose prompts are to be written down in a folder."""
    (folder / "heard").mkdir(parents=True)
    (folder / "sitecustomize.py").write_text(LISTENER)
    return {"PYTHONPATH": f"{folder}:{ROOT}", "HEARD": str(folder / "heard")}


def heard(folder: Path) -> Counter[tuple[int, ...]]:
    """The prompts that were written down, as token ids."""
    lines = (line for file in (folder / "heard").iterdir() for line in file.open())
    return Counter(tuple(json.loads(line)) for line in lines)


def rebuilt(config: Config, row: Mapping[str, Any]) -> Iterator[list[Message]]:
    """The prompts of a debate in rounds from its question, the config and what was said before."""
    protocol: Any = arm_protocol(config, row["arm"])
    said = {(turn["round"], turn["agent"]): turn["text"] for turn in row["turns"]}
    for turn in row["turns"]:
        before = [[said[r, a] for a in range(protocol.agents)] for r in range(turn["round"])]
        yield LAYOUTS[protocol.layout](
            row["question"],
            TASKS[row["task"]].grader.instruction,
            before,
            turn["agent"],
            protocol.speakers[turn["agent"]].persona,
        )


def assert_prompts_are_known(folder: Path, prompts: Counter[tuple[int, ...]]) -> None:
    """Rows and manifest are enough to rebuild what engines got, message by message and id by id."""
    config = run_config(RunFolder(str(folder)))
    manifest = json.loads((folder / "manifest.json").read_text())
    model = manifest["model"]
    assert manifest["stages"]["generate"]["chat_templates"] == {model: template_hash(model)}
    tokenizer = AutoTokenizer.from_pretrained(model)

    def ids(messages: Sequence[Message]) -> tuple[int, ...]:
        return tuple(render(tokenizer, messages, config.engine.chat_template_kwargs))

    known: Counter[tuple[int, ...]] = Counter()
    for row in rows(folder / "traces"):
        for turn, messages in zip(row["turns"], rebuilt(config, row), strict=True):
            assert turn["messages"] == messages
            assert len(ids(messages)) == turn["prompt_tokens"]
            known[ids(messages)] += 1
    transcripts = set(folder.glob("eval/transcripts/*"))
    for place in transcripts - set(folder.glob("eval/transcripts/*_checkpoint")):
        for row in rows(place, "turns"):
            known.update(ids(turn["messages"]) for turn in row["turns"])
    warmed_up = prompts.pop(ids(WARM_UP))
    assert warmed_up >= 3  # of generation, of base and of student
    assert prompts - known == known - prompts == Counter()


@pytest.mark.timeout(1800)
def test_the_main_job_on_real_engines(tmp_path: Path) -> None:
    args = [
        "jobs/configs/demo.yaml",
        f"output={tmp_path}/run",
        "tasks.train_questions=96",
        "tasks.eval_questions=40",
        "evaluate.latency_queries=4",
        "evaluate.peer_questions=3",
        "evaluate.robustness.questions=3",
        "train.epochs=1",
        "train.batch_size=4",
        "debate.team=[{}, {persona: 'You check every step.'}]",
        "--json",
    ]
    summary = json.loads(run(*args, **listen(tmp_path / "listener")).stdout)
    folder = tmp_path / "run"
    assert tuple(json.loads((folder / "manifest.json").read_text())["stages"]) == STAGES

    traces = rows(folder / "traces", "debate_id", "status", "turns", "votes")
    assert len({t["debate_id"] for t in traces}) == len(traces) == 96
    assert {t["status"] for t in traces} == {"ok"}
    assert all(len(t["turns"]) == 5 * len(t["votes"]) for t in traces)
    assert any(turn["cached_tokens"] for t in traces for turn in t["turns"])
    assert_prompts_are_known(folder, heard(tmp_path / "listener"))

    assert tuple(summary["arms"]) == ARMS
    for name, arm in summary["arms"].items():
        timed = 0 if name.endswith(GREEDY) else 4
        assert (arm["n"], arm["failed"], arm["latency_ms"]["n"]) == (40, 0, timed)
        assert arm["ci_low"] <= arm["accuracy"] <= arm["ci_high"]
        assert not timed or arm["latency_ms"]["p50"] > 0
    for arm, name in {"single": "base", "student": "student"}.items():
        answers = rows(folder / "eval" / "transcripts" / name, "arm", "kind", "turns")
        timed = [a["turns"][0] for a in answers if (a["arm"], a["kind"]) == (arm, "latency")]
        assert len(timed) == 4  # each was asked before, and is not cached
        assert not any(turn["cached_tokens"] for turn in timed)
    assert summary["decision"] in ("adopt", "hybridize", "continue")
    assert set(summary["robustness"]) == set(summary["arms"])
    for changed in summary["robustness"].values():
        (typos,) = changed["typos"].values()
        assert typos["right_clean"] + typos["wrong_clean"] + typos["not_applicable"] == 3
    assert summary == json.loads((folder / "eval" / "summary.json").read_text())

    base = load_file(tiny_model_path() / "model.safetensors")
    student = load_file(folder / "students" / "rsft" / "model.safetensors")
    assert {k: v.shape for k, v in student.items()} == {k: v.shape for k, v in base.items()}
    assert any((student[name] != base[name]).any() for name in base)
    curve = json.loads((folder / "checkpoints" / "rsft" / "loss.json").read_text())
    assert [row["step"] for row in curve] == list(range(1, len(curve) + 1))
    assert all(row["loss"] > 0 and row["grad_norm"] > 0 for row in curve)

    page = (folder / "report.html").read_text()
    assert summary["decision"] in page.lower()
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=[\"']?https?:", page)

    again = run(*args)
    assert json.loads(again.stdout) == summary
    assert f"done before: {', '.join(STAGES)}" in again.stderr


def stop_when(
    process: subprocess.Popen[str], ready: Callable[[], bool], how: signal.Signals
) -> None:
    """A signal to the command once `ready`; it must end by itself, cleanly."""
    deadline = time.monotonic() + 300
    while not ready():
        assert process.poll() is None, process.communicate()[1][-3000:]
        assert time.monotonic() < deadline, "the stage was not reached in 300 s"
        time.sleep(0.1)
    process.send_signal(how)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors[-3000:]
    assert "Run the same command again to continue" in errors


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "SIGTERM"])
def test_a_stop_in_every_stage_loses_nothing(
    tmp_path: Path, gsm8k_file: Callable[[int], Path], how: signal.Signals
) -> None:
    """By Ctrl-C, or as the job API stops a job."""
    folder = tmp_path / "run"
    args = [
        "jobs/configs/gsm8k.yaml",
        f"output={folder}",
        f"tasks.path={gsm8k_file(120)}",
        "engine.type=scripted",
        "engine.scripted_latency_s=0.3",
        "engine.in_flight=8",
        "engine.rows_per_block=4",
        "evaluate.latency_queries=2",
        "train.batch_size=4",
        "train.epochs=8",
        "train.checkpoint_every=2",
        "distill.seq_len=256",
    ]

    def files(name: str) -> list[Path]:
        return list(folder.glob(name))

    def manifest_has(stage: str) -> bool:
        path = folder / "manifest.json"
        return path.exists() and stage in json.loads(path.read_text())["stages"]

    reached: dict[str, Callable[[], bool]] = {
        "generate": lambda: len(files("traces/*.parquet")) >= 4,
        "rsft/dataset": lambda: manifest_has("generate"),
        "distill": lambda: len(files("checkpoints/rsft/checkpoint_*")) >= 1,
        "evaluate": lambda: len(files("eval/transcripts/base/*.parquet")) >= 4,
    }
    kept: dict[str, set[str]] = {}
    places = {"generate": "traces", "evaluate": "eval/transcripts/base"}
    for stage, ready in reached.items():
        process = subprocess.Popen(
            command(*args),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "COLUMNS": "200"},
        )
        stop_when(process, ready, how)
        if stage in places:
            kept[stage] = {r["debate_id"] for r in rows(folder / places[stage], "debate_id")}
            assert len(kept[stage]) >= 16
    run(*args)

    for stage, place in places.items():
        ids = [r["debate_id"] for r in rows(folder / place, "debate_id")]
        assert len(ids) == len(set(ids))
        assert kept[stage] < set(ids)
    train = pq.read_table(folder / "questions" / "train.parquet").num_rows
    assert len(rows(folder / "traces", "debate_id")) == train
    curve = json.loads((folder / "checkpoints" / "rsft" / "loss.json").read_text())
    assert [row["step"] for row in curve] == list(range(1, len(curve) + 1))
    stages = json.loads((folder / "manifest.json").read_text())["stages"]
    assert tuple(stages) == STAGES
    assert len(curve) == stages["distill"]["steps"]
    attempts = json.loads((folder / "attempts.json").read_text())
    own = json.loads((folder / "students" / "rsft.json").read_text())["stages"]
    for stage, figures in {**stages, "rsft/train": own["train"]}.items():
        if stage in ("generate", "rsft/train", "evaluate"):
            first, last = (one["seconds"] for one in attempts[stage])
            assert 0 < first + last == pytest.approx(figures["seconds"], abs=0.2)
