"""Samples of GRPO on their way to a step: batches, grades, rewards of tokens, figures; by hand."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from agentark_ray.distill.steps import split_steps
from agentark_ray.strategy import GrpoConfig
from agentark_ray.tasks.arithmetic import problem
from agentark_ray.tiny.path import tiny_model_path
from agentark_ray.train.group_scores import (
    Grade,
    Group,
    Learned,
    Row,
    grade_by_task,
    score_groups,
)
from agentark_ray.train.grpo_figures import group_sums, means
from agentark_ray.train.rewards import Reward
from agentark_ray.train.rollout_batches import collate, micro_batches
from agentark_ray.types import FinishReason
from tests.unit.samples import rollout

TINY = str(tiny_model_path())
CPU = torch.device("cpu")


def test_micro_batches_hold_what_fits() -> None:
    samples = [
        Learned(prompt_ids=[1] * 2, rollout=rollout([5] * n), advantages=[]) for n in range(5)
    ]
    plans = micro_batches(samples, 9)  # lengths 2, 3, 4 | 5 | 6
    assert [[len(s.rollout.token_ids) for s in plan] for plan in plans] == [[0, 1, 2], [3], [4]]
    assert [len(plan) for plan in micro_batches(samples, 1)] == [1] * 5


def test_samples_are_put_together_in_one_row() -> None:
    samples = [
        Learned(
            prompt_ids=[1, 2], rollout=rollout([3, 4], logprobs=[-0.1, -0.2]), advantages=[1, 2]
        ),
        Learned(prompt_ids=[5], rollout=rollout([6], logprobs=[-0.3]), advantages=[-3]),
    ]
    batch = collate(samples, CPU)
    assert batch["input_ids"].tolist() == [[1, 2, 3, 4, 5, 6]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 3, 0, 1]]
    assert batch["targets"].tolist() == [2, 3, 5]
    assert batch["advantages"].tolist() == [1, 2, -3]
    assert batch["sampler"].tolist() == pytest.approx([-0.1, -0.2, -0.3])


def solution(number: int) -> tuple[Row, str]:
    found = problem("train", number)
    row = {
        **{"question": found.text, "gold": str(found.answer), "aliases": []},
        "task": "arithmetic",
    }
    return row, found.solution()


def test_the_task_s_grader_grades() -> None:
    row, text = solution(0)
    right = rollout([5], text)
    assert grade_by_task(row, right) == Grade(value=1.0, answered=True)
    assert grade_by_task({**row, "gold": "1000"}, right) == Grade(value=0.0, answered=True)
    assert grade_by_task(row, rollout([5], "Who knows?")) == Grade(value=0.0, answered=False)
    cut = rollout([5], text, finish_reason=FinishReason.LENGTH)
    assert grade_by_task(row, cut) == Grade(value=0.0, answered=False)


class Halves:
    """A scorer that holds the first step for good and every other one for bad."""

    def score(self, prompts: Sequence[Any], texts: Sequence[str]) -> list[list[float]]:
        assert len(prompts) == len(texts)
        return [[1.0, *[0.25] * (len(split_steps(text)) - 1)] for text in texts]


def test_step_rewards_reach_the_tokens_of_their_steps() -> None:
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(TINY)
    row, _ = solution(0)
    texts = ["In May: 3 + 4 = 7.\nIn June: 7 + 1 = 8.", "In May: 3 + 4 = 7."]
    ids = [
        [*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id]
        for text in texts
    ]
    group = [rollout(found, text) for found, text in zip(ids, texts, strict=True)]
    settings = GrpoConfig(soft_min=1e-3, max_tokens=1000, advantage="step")
    (found,) = score_groups(
        [row],
        [[]],
        [[1, 2]],
        [group],
        settings=settings,
        grade=lambda row, sample: Grade(value=0.0, answered=True),
        scorer=Halves(),
        tokenizer=tokenizer,
    )
    # Cold soft minimum: the first earns -0.5 by its second step, the other 1 by its only one.
    assert [reward.process for reward in found.rewards] == pytest.approx([-0.5, 1.0])
    first = found.samples[0].advantages
    line = len(tokenizer.encode("In May: 3 + 4 = 7.", add_special_tokens=False))
    # Step 0: -0.5 - 2 x 1, step 1: -0.5 - 1; the token that ends the text is of its last step.
    assert list(first[:line]) == pytest.approx([-2.5] * line)
    assert list(first[line + 1 :]) == pytest.approx([-1.5] * (len(ids[0]) - line - 1))
    assert list(found.samples[1].advantages) == pytest.approx([1.25] * len(ids[1]))


def test_figures_by_hand() -> None:
    rewards = [
        Reward(verifiable=1.0, overlong=0.0, steps_S=[0.5]),
        Reward(verifiable=0.0, overlong=-0.5, steps_S=[]),
    ]
    samples = [
        Learned(prompt_ids=[1], rollout=rollout([5] * 2), advantages=[]),
        Learned(
            prompt_ids=[1],
            rollout=rollout([5] * 6, finish_reason=FinishReason.LENGTH),
            advantages=[],
        ),
    ]
    grades = [Grade(value=1.0, answered=True), Grade(value=0.0, answered=False)]
    group = Group(samples=samples, rewards=rewards, grades=grades, equal=False)
    token_sums = {
        "learned": 8,
        "entropy": 4.0,
        "clipped": 2,
        "kl": 0.8,
        "mismatch": 0.4,
        "truncated": 1,
    }
    found = means({**group_sums([group]), "too_long": 0, **token_sums})
    assert found == pytest.approx(
        {
            **{"reward": 0.5, "reward_std": 1.0, "accuracy": 0.5, "process_reward": 0.25},
            **{"output_tokens": 4.0, "cut_share": 0.5, "unanswered_share": 0.5},
            **{"equal_groups": 0.0, "too_long": 0, "entropy": 0.5, "clip_fraction": 0.25},
            **{"kl": 0.1, "mismatch": 0.05, "truncated_share": 0.125},
        }
    )
