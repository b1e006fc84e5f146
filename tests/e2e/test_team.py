"""A debate between two models, each in its own vLLM engine of one actor."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from pyarrow import dataset
from safetensors.torch import load_file, save_file

from agentark_ray.tiny.path import tiny_model_path

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.e2e


def ruined_copy(folder: Path) -> str:
    """The tiny model with a noisy first layer: it answers, and wrongly."""
    shutil.copytree(tiny_model_path(), folder)
    weights = load_file(folder / "model.safetensors")
    name = "model.layers.0.mlp.down_proj.weight"
    noise = torch.randn(weights[name].shape, generator=torch.Generator().manual_seed(0))
    weights[name] = (weights[name] + noise).to(torch.bfloat16)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return str(folder)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_models_debate(tmp_path: Path) -> None:
    other = ruined_copy(tmp_path / "other")
    command = [sys.executable, "-m", "agentark_ray.cli", "traces", "generate"]
    values = [
        "jobs/configs/demo.yaml",
        f"output={tmp_path}/run",
        "tasks.train_questions=40",
        "tasks.eval_questions=5",
        "debate.agents=4",
        "debate.stop=fixed",
        f"debate.team={json.dumps([{}, {'model': other, 'temperature': 0.5}])}",
    ]
    done = subprocess.run(
        [*command, *values], cwd=ROOT, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stderr[-4000:]
    rows = dataset.dataset(tmp_path / "run" / "traces").to_table().to_pylist()
    assert len(rows) == 40
    tiny = str(tiny_model_path())
    right = [0, 0, 0, 0]
    for row in rows:
        assert row["models"] == [tiny, other, tiny, other]
        for turn in row["turns"]:
            right[turn["agent"]] += turn["round"] == 0 and turn["verdict"] == "correct"
    assert min(right[0], right[2]) >= 15
    assert max(right[1], right[3]) <= 4
    templates = json.loads((tmp_path / "run" / "manifest.json").read_text())["stages"]["generate"]
    assert set(templates["chat_templates"]) == {tiny, other}
