"""The stages of pad: labels of steps, a process reward model, and GRPO with its rewards."""

import functools
from collections.abc import Mapping
from statistics import fmean
from typing import Any

from agentark_ray.config import ConfigError
from agentark_ray.console import watch
from agentark_ray.process_reward import ProcessReward
from agentark_ray.session import remote
from agentark_ray.strategy import GrpoConfig, PadConfig
from agentark_ray.student import (
    Stage,
    Student,
    forget_answers,
    lineage,
    steps_of,
    training_figures,
)
from agentark_ray.students import Record
from agentark_ray.train.grpo_training import grpo_config, train_grpo
from agentark_ray.train.launch import start_progress
from agentark_ray.train.objective import loss_curve
from agentark_ray.train.prm import load_scorer
from agentark_ray.workspace import Figures


def reward_model(student: Student) -> ProcessReward:
    """The process reward model of a student, and its stages."""
    return ProcessReward(
        student.folder, student.config, student.start, f"{student.name}-prm", student.console
    )


def rollouts(student: Student, record: Record) -> Figures:
    """Labels of the steps in the debates' solutions, by completions where asked for."""
    record["traces"] = remote(lineage, student.folder)
    return reward_model(student).label()


def steps(student: Student, record: Record) -> Figures:
    """Labelled solutions -> packed rows of the reward model.

    Raises:
        ConfigError: there is nothing to learn.
    """
    del record
    card = reward_model(student).dataset()
    if not card["train"]["good"] or not card["train"]["bad"]:
        raise ConfigError(
            f"{student.folder.path(student.out)}: a reward model needs good and bad steps; the"
            f" debates have {card['train']['good']:,} good and {card['train']['bad']:,} bad ones"
        )
    return card


def prm(student: Student, record: Record) -> Figures:
    """Train the process reward model, and evaluate it on questions held out from the debates."""
    del record
    model = reward_model(student)
    curve = model.train()
    return {**training_figures(curve), **_prm_figures(model.evaluate())}


def _prm_figures(found: Mapping[str, Any]) -> Figures:
    """The main ones of evaluation; all are in eval/NAME-prm."""
    return {
        f"{judged}_{name}": found[judged][name]
        for judged in ("labels", "truth")
        for name in ("auc", "accuracy")
        if found[judged].get(name) is not None
    }


def train_pad(student: Student, record: Record) -> Figures:
    """GRPO on the training questions, with rewards of the grader and of the reward model."""
    record.setdefault("traces", remote(lineage, student.folder))
    load = None
    if grpo_of(student).process_weight:
        judge = reward_model(student).out
        load = functools.partial(load_scorer, student.folder, student.config, judge)
    progress = start_progress()
    with watch(student.console, "GRPO", lambda: steps_of(progress, student.on_gpu)):
        train_grpo(
            student.folder,
            student.config,
            student.start,
            progress,
            name=student.name,
            out=student.out,
            load_scorer=load,
        )
    forget_answers(student)
    curve = student.folder.read_json(*loss_curve(student.name))
    few = max(1, len(curve) // 10)
    ends = {"first": curve[:few], "last": curve[-few:]}
    return {
        "steps": len(curve),
        **{f"{end}_reward": round(fmean(row["reward"] for row in ends[end]), 4) for end in ends},
    }


def grpo_of(student: Student) -> GrpoConfig:
    """The section `distill.grpo`."""
    assert isinstance(student.config.distill, PadConfig)
    return student.config.distill.grpo


def pad(student: Student) -> dict[str, Stage]:
    """The stages; without those of a reward model if nothing asks it.

    Raises:
        ConfigError: settings do not agree.
    """
    grpo_config(student.config)
    learn: dict[str, Stage] = {"train": train_pad}
    if not grpo_of(student).process_weight:
        return learn
    return {"rollouts": rollouts, "steps": steps, "prm": prm, **learn}
