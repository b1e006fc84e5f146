"""What tests of GRPO share: a run folder with questions, a planted reward, a training."""

from pathlib import Path
from typing import Any

from agentark_ray.config import Config, parse_config
from agentark_ray.run_folder import RunFolder
from agentark_ray.tiny.path import tiny_model_path
from agentark_ray.traces.requests import write_questions
from agentark_ray.train.group_scores import Grade, Grading, Row
from agentark_ray.train.grpo_training import train_grpo
from agentark_ray.train.launch import start_progress
from agentark_ray.train.objective import loss_curve
from agentark_ray.types import Rollout

TINY = str(tiny_model_path())


def prepared(path: Path, *overrides: str) -> tuple[RunFolder, Config]:
    """A run folder with arithmetic questions, and a config whose strategy is pad."""
    values = [
        f"output={path}",
        "tasks.train_questions=200",
        "tasks.eval_questions=10",
        "engine.max_model_len=512",
        "distill.type=pad",
        "distill.seq_len=512",
        "distill.grpo.steps=3",
        "distill.grpo.prompts=4",
        "distill.grpo.max_tokens=96",
        "distill.grpo.lr=5e-4",
    ]
    config = parse_config({}, [*values, *overrides], "test")
    folder = RunFolder(config.output)
    folder.open(config, "tiny")
    write_questions(folder, config)
    return folder, config


def count_nines(row: Row, rollout: Rollout) -> Grade:
    """A planted reward: a tenth for every 9 that is said, whatever was asked; 1 at most."""
    return Grade(value=min(10, rollout.text.count("9")) / 10, answered=True)


def train(
    folder: RunFolder, config: Config, grade: Grading | None = count_nines
) -> list[dict[str, float]]:
    """Train the tiny model; the figures of every step."""
    how: dict[str, Any] = {"grade": grade} if grade else {}
    train_grpo(folder, config, TINY, start_progress(), name="grpo", out="students/grpo", **how)
    return folder.read_json(*loss_curve("grpo"))
