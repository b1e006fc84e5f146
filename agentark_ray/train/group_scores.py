"""From the samples of a question to the advantage of every token: grade, score steps, compare."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from agentark_ray.distill.step_tokens import step_ends, token_starts
from agentark_ray.distill.steps import step_texts
from agentark_ray.strategy import GrpoConfig
from agentark_ray.tasks.registry import TASKS
from agentark_ray.train.advantages import group_advantages
from agentark_ray.train.rewards import (
    Reward,
    answered,
    credited,
    guarded,
    overlong,
    verifiable,
)
from agentark_ray.types import Message, Rollout

Row = Mapping[str, Any]  # of QUESTION_SCHEMA


@dataclass(frozen=True, slots=True, kw_only=True)
class Grade:
    """What a final answer is worth."""

    value: float  # 1 for a right answer
    answered: bool  # the solution ended by itself, with an answer that could be read


Grading = Callable[[Row, Rollout], Grade]


class Scorer(Protocol):
    """A process reward model (prm.py)."""

    def score(
        self, prompts: Sequence[Sequence[Message]], texts: Sequence[str]
    ) -> list[list[float]]:
        """p(good) at the end of every step of every text."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """A sample as it is learned from; output tokens have an advantage each."""

    prompt_ids: Sequence[int]
    rollout: Rollout
    advantages: Sequence[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The samples of one question, in all that is to be told of them."""

    samples: Sequence[Learned]
    rewards: Sequence[Reward]
    grades: Sequence[Grade]
    equal: bool  # all earned the same: nothing is learned


def grade_by_task(row: Row, rollout: Rollout) -> Grade:
    """The verdict of the task's grader, which keeps its own deadline.

    A sample that was cut is wrong, even if what it has said so far holds the right answer.
    """
    grader = TASKS[row["task"]].grader
    answer = grader.extract(rollout.text)
    verdict = grader.verdict(answer, row["gold"], row["aliases"] or ())
    ended = answered(verdict, rollout.finish_reason)
    return Grade(value=verifiable(verdict) if ended else 0.0, answered=ended)


def score_groups(
    rows: Sequence[Row],
    prompts: Sequence[Sequence[Message]],
    prompt_ids: Sequence[Sequence[int]],
    groups: Sequence[Sequence[Rollout]],
    *,
    settings: GrpoConfig,
    grade: Grading,
    scorer: Scorer | None,
    tokenizer: Any,
) -> list[Group]:
    """Everything about the samples of every question; the first four have one entry a question."""
    tokens = [[_spoken(tokenizer, rollout) for rollout in group] for group in groups]
    good = _process(scorer, prompts, tokens)
    return [
        _group(row, ids, group, spoken, steps, settings, grade)
        for row, ids, group, spoken, steps in zip(
            rows, prompt_ids, groups, tokens, good, strict=True
        )
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Spoken:
    """The text of a sample's tokens, and how many tokens it takes to the end of each step."""

    text: str
    ends: Sequence[int]


def _spoken(tokenizer: Any, rollout: Rollout) -> _Spoken:
    """The token that ended the sample belongs to its last step."""
    ids = list(rollout.token_ids)
    while ids and ids[-1] in tokenizer.all_special_ids:
        ids.pop()
    text, starts = token_starts(tokenizer, ids)
    ends = [end + 1 for end in step_ends(text, starts)]
    return _Spoken(text=text, ends=[*ends[:-1], len(rollout.token_ids)] if ends else [])


def _process(
    scorer: Scorer | None, prompts: Sequence[Any], tokens: Sequence[Sequence[_Spoken]]
) -> list[list[list[float]]]:
    """p(good) of every step of every sample of every question; no steps without a scorer."""
    if scorer is None:
        return [[[] for _ in spoken] for spoken in tokens]
    asked = [prompt for prompt, group in zip(prompts, tokens, strict=True) for _ in group]
    flat = iter(scorer.score(asked, [spoken.text for group in tokens for spoken in group]))
    return [[next(flat) for _ in group] for group in tokens]


def _group(
    row: Row,
    prompt_ids: Sequence[int],
    rollouts: Sequence[Rollout],
    spoken: Sequence[_Spoken],
    good: Sequence[Sequence[float]],
    settings: GrpoConfig,
    grade: Grading,
) -> Group:
    grades = [grade(row, rollout) for rollout in rollouts]
    rewards = [
        _reward(*sample, settings) for sample in zip(rollouts, spoken, good, grades, strict=True)
    ]
    found = group_advantages(
        rewards,
        [said.ends for said in spoken],
        [len(rollout.token_ids) for rollout in rollouts],
        form=settings.advantage,
        max_tokens=settings.max_tokens,
    )
    samples = [
        Learned(prompt_ids=prompt_ids, rollout=rollout, advantages=values)
        for rollout, values in zip(rollouts, found.tokens_G_T, strict=True)
    ]
    return Group(samples=samples, rewards=rewards, grades=grades, equal=found.equal)


def _reward(
    rollout: Rollout,
    spoken: _Spoken,
    good_S: Sequence[float],
    grade: Grade,
    settings: GrpoConfig,
) -> Reward:
    texts = step_texts(spoken.text) if good_S else []
    steps = credited(guarded(good_S, texts, grade.answered), settings.soft_min)
    length = overlong(len(rollout.token_ids), settings.max_tokens, settings.overlong_share)
    return Reward(
        verifiable=settings.verifiable_weight * grade.value,
        overlong=settings.overlong_penalty * length,
        steps_S=[settings.process_weight * step for step in steps],
    )
