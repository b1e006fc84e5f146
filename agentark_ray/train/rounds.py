"""Rounds of sampling: which questions a round has, asking for them, and what came back."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agentark_ray.debate.layouts import ask, chat
from agentark_ray.distill.tokens import encode_prompt
from agentark_ray.strategy import GrpoConfig
from agentark_ray.tasks.registry import TASKS
from agentark_ray.train.dataset import PackedRows, epoch_order
from agentark_ray.train.group_scores import Row
from agentark_ray.train.objective import TrainJob
from agentark_ray.train.rollouts import Sampler
from agentark_ray.types import Message, Rollout


class WrongVersion(RuntimeError):
    """A sample came from other weights than those that were asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A worker's questions of a round; the sequences have one entry a question."""

    rows: Sequence[Row]
    prompts: Sequence[Sequence[Message]]
    prompt_ids: Sequence[Sequence[int]]
    too_long: int  # questions that were left out, because no answer would fit
    version: int  # of the weights that are to answer
    request: Any


class Rounds:
    """Asks a sampler for one worker's share of every round."""

    def __init__(
        self, job: TrainJob, settings: GrpoConfig, sampler: Sampler, tokenizer: Any
    ) -> None:
        self._config = job.config
        self._settings = settings
        self._sampler = sampler
        self._tokenizer = tokenizer
        self._questions = PackedRows(job.folder.filesystem, job.folder.inner(job.data))

    def ask(self, round_: int, rank: int, workers: int, version: int) -> Asked:
        """Begin to sample this worker's share of a round."""
        places = round_places(
            round_, self._settings.prompts, len(self._questions), self._config.seed
        )
        rows: list[Row] = [self._questions[place] for place in places[rank::workers]]
        prompts = [_prompt(row) for row in rows]
        template_kwargs = self._config.engine.chat_template_kwargs
        ids = [encode_prompt(self._tokenizer, prompt, template_kwargs) for prompt in prompts]
        fit = [i for i, prompt in enumerate(ids) if len(prompt) <= self._room]
        prompt_ids = [ids[i] for i in fit]
        return Asked(
            rows=[rows[i] for i in fit],
            prompts=[prompts[i] for i in fit],
            prompt_ids=prompt_ids,
            too_long=len(ids) - len(fit),
            version=version,
            request=self._sampler.request(prompt_ids, version),
        )

    def wait(self, asked: Asked) -> list[list[Rollout]]:
        """The samples, a group for each question.

        Raises:
            WrongVersion: one is not from the weights that were asked.
        """
        groups = self._sampler.result(asked.request)
        found = {rollout.version for group in groups for rollout in group}
        if found - {asked.version}:
            raise WrongVersion(
                f"weights of version {asked.version} were asked for samples, got some of"
                f" {sorted(found)}"
            )
        return groups

    @property
    def _room(self) -> int:
        """Tokens that a prompt may have."""
        return self._config.engine.max_model_len - self._settings.max_tokens


def round_places(round_: int, prompts: int, questions: int, seed: int) -> list[int]:
    """Places of a round's questions; every question comes once an epoch, in a new order each."""
    found = []
    for number in range(round_ * prompts, (round_ + 1) * prompts):
        epoch, place = divmod(number, questions)
        found.append(epoch_order(questions, seed, epoch)[place])
    return found


def _prompt(row: Row) -> list[Message]:
    """What a single agent, and so the student, is asked."""
    return chat("", [ask(row["question"], TASKS[row["task"]].grader.instruction)])
