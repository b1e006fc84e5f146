"""The objective of GRPO with a sampler in this process: batches, loss, gradient, versions."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from agentark_ray.config import Config, ConfigError, parse_config
from agentark_ray.run_folder import RunFolder
from agentark_ray.tiny.path import tiny_model_path
from agentark_ray.traces.requests import write_questions
from agentark_ray.train.group_scores import Grade, Row
from agentark_ray.train.grpo import Grpo
from agentark_ray.train.grpo_training import grpo_config
from agentark_ray.train.objective import TrainJob
from agentark_ray.train.reference import no_grad_logprobs
from agentark_ray.train.rounds import WrongVersion, round_places
from agentark_ray.types import Rollout
from tests.unit.samples import rollout

TINY = str(tiny_model_path())


class Script:
    """A sampler that says what it is told to; it remembers what it was asked."""

    def __init__(self, job: TrainJob, group: int, lies: int = 0) -> None:
        self.group, self.lies = group, lies
        self.asked: list[tuple[int, int]] = []  # (prompts, version)
        self.synced: list[int] = []

    def request(self, prompts: Sequence[Sequence[int]], version: int) -> Any:
        self.asked.append((len(prompts), version))
        return [self._sample(prompt, version + self.lies) for prompt in prompts]

    def _sample(self, prompt: Sequence[int], version: int) -> list[Rollout]:
        """Samples of 3, 4, ... tokens; the more the more nines."""
        return [
            rollout([5 + (prompt[-2] + i) % 3] * (3 + i), "9" * i, version)
            for i in range(self.group)
        ]

    def result(self, request: Any) -> Any:
        return request

    def sync(self, engine: Any, version: int) -> None:
        self.synced.append(version)


def by_nines(row: Row, sample: Rollout) -> Grade:
    return Grade(value=float(sample.text.count("9")), answered=True)


def config_of(path: Path, *overrides: str) -> Config:
    values = [
        *(f"output={path}/run", "tasks.train_questions=20", "tasks.eval_questions=2"),
        *("distill.type=pad", "distill.grpo.prompts=4", "distill.grpo.group=3"),
        *("distill.grpo.steps=3", "distill.grpo.max_tokens=40", "train.dtype=fp32"),
    ]
    return parse_config({}, [*values, *overrides], "test")


def objective_of(config: Config, lies: int = 0, grade: Any = by_nines) -> tuple[Grpo, Script, Any]:
    """An objective, its sampler, and what stands for a DeepSpeed engine."""
    folder = RunFolder(config.output)
    write_questions(folder, config)
    job = TrainJob(
        folder=folder,
        config=config,
        model=TINY,
        objective=functools.partial(Grpo, connect=lambda job: Script(job, 3)),
        name="grpo",
        data="questions/train.parquet",
        out="students/grpo",
        on_gpu=False,
        progress=None,
    )
    sampler = Script(job, config.distill.grpo.group, lies)  # type: ignore[union-attr]
    objective = Grpo(job, connect=lambda job: sampler, grade=grade)
    model: Any = objective.build()
    model.eval()
    return objective, sampler, Engine(model)


class Engine:
    """The part of a DeepSpeed engine that an objective uses."""

    device, global_rank = torch.device("cpu"), 0

    def __init__(self, model: Any) -> None:
        self.module = model
        self.training = True

    def __call__(self, **inputs: Any) -> Any:
        return self.module(**inputs)

    def train(self, mode: bool = True) -> None:
        self.training = mode

    def eval(self) -> None:
        self.train(False)


def test_every_question_comes_once_an_epoch() -> None:
    rounds = [round_places(number, 4, 6, seed=3) for number in range(3)]
    places = [place for found in rounds for place in found]
    assert sorted(places[:6]) == sorted(places[6:]) == list(range(6))
    assert places[:6] != places[6:]
    assert rounds == [round_places(number, 4, 6, seed=3) for number in range(3)]
    assert rounds != [round_places(number, 4, 6, seed=4) for number in range(3)]


def test_a_round_asks_learns_and_hands_on(one_worker: None, tmp_path: Path) -> None:
    objective, sampler, engine = objective_of(config_of(tmp_path))
    objective.start(engine, 0)
    for step in range(objective.steps):
        batches = objective.batches(engine, step)
        assert sum(map(objective.weight, batches)) == 4 * (3 + 4 + 5)
        loss, _ = objective.loss(engine, batches[0])
        figures = objective.end_step(engine, step)
        assert figures["version"] == step and figures["version_lag"] == 0
        # Rewards 0, 1, 2 of every question; against the others -1.5, 0, 1.5.
        assert (figures["reward"], figures["reward_std"]) == pytest.approx((1.0, (2 / 3) ** 0.5))
        assert figures["output_tokens"] == 4.0
        assert figures["equal_groups"] == figures["cut_share"] == 0.0
        assert figures["kl"] == pytest.approx(0.0, abs=1e-6)
        assert loss.requires_grad
    assert sampler.asked == [(4, 0), (4, 1), (4, 2)]
    assert sampler.synced == [0, 1, 2]


def test_asked_ahead_the_samples_are_one_round_old(one_worker: None, tmp_path: Path) -> None:
    config = config_of(tmp_path, "distill.grpo.asynchronous=true")
    objective, sampler, engine = objective_of(config)
    objective.start(engine, 0)
    lags = []
    for step in range(objective.steps):
        objective.batches(engine, step)
        lags.append(objective.end_step(engine, step)["version_lag"])
    assert sampler.asked == [(4, 0), (4, 0), (4, 1)]
    assert lags == [0, 1, 1]


def test_updates_share_the_questions_of_a_round(one_worker: None, tmp_path: Path) -> None:
    config = config_of(tmp_path, "distill.grpo.updates=2", "distill.grpo.steps=2")
    objective, sampler, engine = objective_of(config)
    objective.start(engine, 0)
    seen = []
    for step in range(4):
        (batch,) = objective.batches(engine, step)
        assert objective.weight(batch) == 2 * (3 + 4 + 5)
        assert len(batch["old"]) == len(batch["targets"])
        seen.append(batch["input_ids"].tolist())
        objective.end_step(engine, step)
    assert seen[0] != seen[1]
    assert sampler.asked == [(4, 0), (4, 2)]
    assert sampler.synced == [0, 2]


def test_a_training_that_resumes_asks_what_it_would_have_asked(
    one_worker: None, tmp_path: Path
) -> None:
    whole, _, engine = objective_of(config_of(tmp_path))
    whole.start(engine, 0)
    batches = [whole.batches(engine, step)[0]["input_ids"].tolist() for step in range(3)]
    resumed, sampler, _ = objective_of(config_of(tmp_path))
    resumed.start(engine, 2)
    assert resumed.batches(engine, 2)[0]["input_ids"].tolist() == batches[2]
    assert sampler.asked == [(4, 2)]


def test_samples_of_other_weights_are_refused(one_worker: None, tmp_path: Path) -> None:
    objective, _, engine = objective_of(config_of(tmp_path), lies=1)
    objective.start(engine, 0)
    with pytest.raises(WrongVersion, match=r"version 0 were asked for samples, got some of \[1\]"):
        objective.batches(engine, 0)


def test_groups_of_equal_reward_count_and_teach_nothing(one_worker: None, tmp_path: Path) -> None:
    same = lambda row, sample: Grade(value=1.0, answered=True)  # noqa: E731
    objective, _, engine = objective_of(config_of(tmp_path), grade=same)
    objective.start(engine, 0)
    (batch,) = objective.batches(engine, 0)
    assert len(batch["targets"]) == 0
    assert objective.weight(batch) == 4 * (3 + 4 + 5)
    loss, _ = objective.loss(engine, batch)
    assert loss.item() == 0.0
    assert objective.end_step(engine, 0)["equal_groups"] == 1.0


def test_prompts_without_room_for_an_answer_are_left_out(one_worker: None, tmp_path: Path) -> None:
    objective, sampler, engine = objective_of(config_of(tmp_path, "engine.max_model_len=64"))
    objective.start(engine, 0)
    (batch,) = objective.batches(engine, 0)
    assert sampler.asked == [(0, 0)]
    assert objective.end_step(engine, 0)["too_long"] == 4
    assert len(batch["targets"]) == 0


def test_the_gradient_is_that_of_the_loss(one_worker: None, tmp_path: Path) -> None:
    """Central differences along the gradient, and a step against it lowers the loss."""
    objective, _, engine = objective_of(config_of(tmp_path, "distill.grpo.kl=0"))
    objective.start(engine, 0)
    (batch,) = objective.batches(engine, 0)
    batch = {**batch, "old": no_grad_logprobs(engine, batch, 1.0)}
    model = engine.module.double()
    objective.loss(engine, batch)[0].backward()
    pairs = [(p, p.grad.clone()) for p in model.parameters() if p.grad is not None]
    square = sum((grad**2).sum().item() for _, grad in pairs)
    assert square > 0

    def loss_at(distance: float) -> float:
        with torch.no_grad():
            for parameter, grad in pairs:
                parameter += distance * grad
            found = objective.loss(engine, batch)[0].item()
            for parameter, grad in pairs:
                parameter -= distance * grad
        return found

    step = 1e-5 / square**0.5
    slope = (loss_at(step) - loss_at(-step)) / (2 * step)
    assert slope == pytest.approx(square, rel=1e-2)
    assert loss_at(-100 * step) < loss_at(0.0)


def test_settings_that_do_not_agree_are_refused(tmp_path: Path) -> None:
    assert grpo_config(config_of(tmp_path, "distill.grpo.lr=0.5")).train.lr == 0.5
    with pytest.raises(ConfigError, match=r"max_tokens=64: engine.max_model_len=64"):
        grpo_config(config_of(tmp_path, "engine.max_model_len=64", "distill.grpo.max_tokens=64"))
    overrides = ["train.workers=3", "train.batch_size=3", "train.micro_batch_size=1"]
    with pytest.raises(ConfigError, match=r"prompts=4 must be a multiple of updates x"):
        grpo_config(config_of(tmp_path, *overrides))
    with pytest.raises(ConfigError, match="prompts=4 must be a multiple of updates=3"):
        config_of(tmp_path, "distill.grpo.updates=3")
    with pytest.raises(ValueError, match="only pad has reinforcement learning"):
        grpo_config(parse_config({}, [], "test"))
