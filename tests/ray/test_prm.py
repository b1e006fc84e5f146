"""The process reward model's stages on real Ray: completions, step rows, training, evaluation."""

import asyncio
import io
from pathlib import Path
from typing import Any

import pytest
from pyarrow import dataset
from rich.console import Console
from safetensors import safe_open

from agentark_ray.distill.pad import prompt_of
from agentark_ray.distill.step_labels import prefix_texts, rollout_labels
from agentark_ray.distill.steps import step_texts
from agentark_ray.engine.scripted import ScriptedEngine
from agentark_ray.process_reward import ProcessReward
from agentark_ray.run_folder import RunFolder
from agentark_ray.train.dataset import load_tokenizer
from agentark_ray.train.prm import BAD, GOOD
from agentark_ray.types import Completion, Message, Sampling
from tests.ray.test_dataset import TINY, prepared, trace

pytestmark = [pytest.mark.usefixtures("ray_cluster"), pytest.mark.timeout(300)]
SCRIPTED = ("engine.type=scripted", "engine.rows_per_block=4", "engine.in_flight=8")


def reward(path: Path, traces: list[dict[str, Any]], *overrides: str) -> ProcessReward:
    prm = ("distill={type: pad, seq_len: 512}", "distill.prm.held_out=0.3", *overrides)
    folder, config = prepared(path, traces, *prm)
    return ProcessReward(folder, config, TINY, "pad-prm", Console(file=io.StringIO()))


def rows_of(folder: RunFolder, *parts: str) -> list[dict[str, Any]]:
    return dataset.dataset(folder.inner(*parts)).to_table().to_pylist()


@pytest.mark.slow
def test_steps_are_completed_once_and_graded(tmp_path: Path) -> None:
    # The scripted engine says 42 in 30 % of its answers.
    traces = [trace(i, gold="42") for i in range(30)] + [trace(30, gold=None, turns=[])]
    traces[5] |= {"question": "POISON"}
    overrides = ("distill.prm.rollouts=5", "engine.scripted_accuracy=0.3", *SCRIPTED)
    overrides = (*overrides, "engine.scripted_fault=raise", "engine.retries=0")
    prm = reward(tmp_path, traces, *overrides)
    figures = prm.label()
    assert (figures["rows"], figures["failed"]) == (31, 1)
    rows = rows_of(prm.folder, "rollouts", "pad-prm")
    assert len({row["question_id"] for row in rows}) == len(rows) == 31
    engine = ScriptedEngine(seed=17, latency_s=0, accuracy=0.3, max_model_len=4096)
    sampling = Sampling(temperature=0.7, top_p=1.0, max_tokens=512)
    for row in rows:
        texts = [solution["text"] for solution in row["solutions"]]
        prefixes = {prefix for text in texts for prefix in prefix_texts(text)}
        failed = row["question"] == "POISON"
        assert row["completions"] == (0 if failed else 5 * len(prefixes))
        assert ("RuntimeError: scripted fault" in (row["error"] or "")) == failed
        for solution in row["solutions"]:
            wanted = [
                sum("{42}" in say(engine, row, prefix, k, sampling).text for k in range(5)) / 5
                for prefix in prefix_texts(solution["text"])
                if not failed
            ]
            if failed:
                assert set(solution["labels"]) == {None}
                continue
            wanted.append(float(solution["right"]))
            assert solution["shares"] == pytest.approx(wanted)
            assert solution["labels"] == rollout_labels(wanted)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("rollouts/**/*.parquet")}
    assert prm.label() == figures  # nothing is asked again
    assert before == {p: p.stat().st_mtime_ns for p in tmp_path.rglob("rollouts/**/*.parquet")}


def say(
    engine: ScriptedEngine, row: dict[str, Any], prefix: str, k: int, sampling: Sampling
) -> Completion:
    begun: Message = {"role": "assistant", "content": prefix}
    return asyncio.run(engine(k, [*prompt_of(row).prompt, begun], sampling))


@pytest.mark.slow
def test_a_reward_model_is_trained_and_evaluated(tmp_path: Path) -> None:
    settings = "distill.prm={step_labels: divergence, held_out: 0.3, lr: 1e-3, epochs: 2}"
    sizes = ("train.batch_size=4", "train.micro_batch_size=2", "train.zero_stage=3")
    prm = reward(tmp_path, [trace(i) for i in range(60)], settings, *sizes, "train.workers=2")
    assert prm.label() == {}
    card = prm.dataset()
    assert card["train"]["questions"] + card["held_out"]["questions"] == 60
    assert card["train"]["bad"] > 20 and card["train"]["good"] > card["train"]["bad"]
    steps = rows_of(prm.folder, "datasets", "pad-prm", "steps")
    packed = rows_of(prm.folder, "datasets", "pad-prm", "packed_steps")
    check_packed(prm, steps, packed, card)

    curve = prm.train()
    assert curve[0]["weight"] > 0 and curve[-1]["loss"] < curve[0]["loss"]
    for row in curve:
        whole = row["cross_entropy"] + 0.5 * row["contrastive"] + row["language"]
        assert row["loss"] == pytest.approx(whole, rel=1e-4)
    names: set[str] = set()
    for path in (tmp_path / "run" / "reward_models" / "pad-prm").glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            names |= {name.split(".")[0] for name in file.keys()}  # noqa: SIM118 - no mapping
    assert names == {"backbone", "head", "projector"}

    figures = prm.evaluate()
    assert figures == prm.folder.read_json("eval", "pad-prm", "prm.json")
    assert figures["labels"]["steps"] == card["held_out"]["good"] + card["held_out"]["bad"]
    assert figures["labels_vs_truth"]["accuracy"] > 0.9
    assert 0 < figures["best_of_n"]["questions"] <= card["held_out"]["questions"]
    assert figures["best_of_n"]["any"]["lift"] > 0
    scored = rows_of(prm.folder, "eval", "pad-prm", "scores")
    assert len(scored) == card["held_out"]["questions"]
    for row in scored:
        lengths = [len(step_texts(solution["text"])) for solution in row["solutions"]]
        assert [len(scores) for scores in row["scores"]] == lengths


def check_packed(
    prm: ProcessReward,
    steps: list[dict[str, Any]],
    packed: list[dict[str, Any]],
    card: dict[str, Any],
) -> None:
    """Every labelled step of a question that is not held out is a target, at its last token."""
    tokenizer = load_tokenizer(prm.config, TINY)
    classes = [label for row in packed for label in row["labels"]]
    assert classes.count(GOOD) == card["train"]["good"]
    assert classes.count(BAD) == card["train"]["bad"]
    ends = {step[-1] for row in steps for s in row["solutions"] for step in step_texts(s["text"])}
    for row in packed:
        at = [i for i, label in enumerate(row["labels"]) if label in (BAD, GOOD)]
        assert {tokenizer.decode([row["input_ids"][i]]) for i in at} <= ends == {".", "}"}
