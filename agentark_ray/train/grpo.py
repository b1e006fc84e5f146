"""GRPO: sample groups of solutions, reward them, make the better ones likelier.

A round samples `distill.grpo.prompts` questions with one version of the weights; its optimizer
steps (`updates`) take a share of the questions each. Which questions a round has depends on the
seed and its number alone, so a resumed training goes on as it would have.

Sources: GRPO (2402.03300), PURE (2504.15275) for step rewards; formulas are in rewards.py,
advantages.py and policy.py.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.distributed

from agentark_ray.strategy import GrpoConfig, PadConfig
from agentark_ray.train.dataset import load_tokenizer
from agentark_ray.train.group_scores import Grading, Group, Scorer, grade_by_task, score_groups
from agentark_ray.train.grpo_figures import Figures
from agentark_ray.train.objective import Batch, Sums, TrainJob
from agentark_ray.train.policy import Tokens, policy_loss, target_logprobs
from agentark_ray.train.reference import Reference, evaluating, no_grad_logprobs
from agentark_ray.train.rollout_batches import collate, micro_batches, nothing
from agentark_ray.train.rollouts import Sampler
from agentark_ray.train.rounds import Asked, Rounds
from agentark_ray.train.sft import load_model, save_model_config, target_logits

Connect = Callable[[TrainJob], Sampler]
LoadScorer = Callable[[torch.device], Scorer]


class Grpo:
    """The policy loss of samples; `distill.grpo.steps` rounds of `updates` steps."""

    def __init__(
        self,
        job: TrainJob,
        *,
        connect: Connect,
        grade: Grading = grade_by_task,
        load_scorer: LoadScorer | None = None,
    ) -> None:
        self._job = job
        self._settings = grpo_settings(job.config.distill)
        self._grade = grade
        self._load_scorer = load_scorer
        self._tokenizer = load_tokenizer(job.config, job.model)
        self._sampler = connect(job)
        self._rounds = Rounds(job, self._settings, self._sampler, self._tokenizer)
        self._ahead: Asked | None = None  # the next round, asked for before this one was learned
        self._batches: list[list[dict[str, torch.Tensor]]] = []  # of each update of this round
        self._figures = Figures()

    @property
    def steps(self) -> int:
        """Optimizer steps of all rounds."""
        return self._settings.steps * self._settings.updates

    def build(self) -> torch.nn.Module:
        """The causal language model."""
        return load_model(self._job)

    def start(self, engine: Any, step: int) -> None:
        """Load what judges, and give the sampler this engine's weights."""
        self._reference = Reference(self._job, engine) if self._settings.kl else None
        self._scorer = self._load_scorer(engine.device) if self._load_scorer else None
        self._sync(engine, step)

    def batches(self, engine: Any, step: int) -> Sequence[Batch]:
        """This worker's share of an update, without groups of equal reward, which teach nothing.

        They still count in the weight, so that a step is no larger the less there is to learn.
        """
        update = step % self._settings.updates
        self._figures.begin_step()
        if update == 0 or not self._batches:
            self._sample(engine, step)
        self._began = time.perf_counter()
        return self._batches[update]

    def weight(self, batch: Batch) -> float:
        """Output tokens."""
        return int(batch["weight"])

    def loss(self, engine: Any, batch: Batch) -> tuple[torch.Tensor, Sums]:
        """Summed policy loss of a batch."""
        settings, targets_N = self._settings, batch["input_ids"][0, batch["targets"]]
        logprobs_N, entropy_N = target_logprobs(
            target_logits(engine, batch), targets_N, settings.temperature
        )
        tokens = Tokens(
            advantages=batch["advantages"],
            sampler=batch["sampler"],
            old=batch["old"] if "old" in batch else logprobs_N.detach(),
            reference=self._reference and self._reference.logprobs(batch, settings.temperature),
        )
        found = policy_loss(
            logprobs_N, tokens, clip=settings.clip, kl=settings.kl, cap=settings.importance_cap
        )
        self._figures.add_batch(found, entropy_N)
        return found.loss, {}

    def end_step(self, engine: Any, step: int) -> Mapping[str, float]:
        """Hand the new weights on after a round; the figures of this step."""
        self._figures.took("train", time.perf_counter() - self._began)
        done = step + 1
        if done % self._settings.updates == 0 and done < self.steps:
            with self._figures.timed("sync"):
                self._sync(engine, done)
        return self._figures.over_workers(engine)

    def save_config(self, folder: str) -> None:
        """Model configuration, generation settings, tokenizer with its chat template."""
        save_model_config(self._job, folder)

    def _sync(self, engine: Any, version: int) -> None:
        self._sampler.sync(engine, version)
        self._version = version

    def _ask(self, engine: Any, round_: int) -> Asked:
        workers = torch.distributed.get_world_size()
        return self._rounds.ask(round_, engine.global_rank, workers, self._version)

    def _sample(self, engine: Any, step: int) -> None:
        """Wait for a round's samples, judge them, and make its batches."""
        round_ = step // self._settings.updates
        with self._figures.timed("rollout"):
            asked = self._ahead or self._ask(engine, round_)
            groups = self._rounds.wait(asked)
        more = self._settings.asynchronous and round_ + 1 < self._settings.steps
        self._ahead = self._ask(engine, round_ + 1) if more else None
        with self._figures.timed("reward"):
            judged = self._judge(asked, groups)
        self._figures.begin_round(
            judged, too_long=asked.too_long, version=asked.version, lag=step - asked.version
        )
        updates = self._settings.updates
        self._batches = [self._collate(engine, judged[i::updates]) for i in range(updates)]
        if updates > 1:
            self._remember(engine)

    def _judge(self, asked: Asked, groups: Sequence[Any]) -> list[Group]:
        return score_groups(
            asked.rows,
            asked.prompts,
            asked.prompt_ids,
            groups,
            settings=self._settings,
            grade=self._grade,
            scorer=self._scorer,
            tokenizer=self._tokenizer,
        )

    def _collate(self, engine: Any, groups: Sequence[Group]) -> list[dict[str, torch.Tensor]]:
        """The batches of an update; every worker has equally many."""
        train = self._job.config.train
        samples = [sample for group in groups if not group.equal for sample in group.samples]
        plans = micro_batches(samples, train.micro_batch_size * self._job.config.distill.seq_len)
        most = torch.tensor(max(1, len(plans)), device=engine.device)
        torch.distributed.all_reduce(most, op=torch.distributed.ReduceOp.MAX)
        found = [collate(plan, engine.device) for plan in plans]
        found += [nothing(engine.device) for _ in range(int(most) - len(plans))]
        equal = [sample for group in groups if group.equal for sample in group.samples]
        unlearned = sum(len(sample.rollout.token_ids) for sample in equal)
        for number, batch in enumerate(found):
            batch["weight"] = torch.tensor(len(batch["targets"]) + (0 if number else unlearned))
        return found

    def _remember(self, engine: Any) -> None:
        """Log-probabilities at the start of a round that has several updates."""
        with evaluating(engine):
            for batch in (batch for update in self._batches for batch in update):
                batch["old"] = no_grad_logprobs(engine, batch, self._settings.temperature)


def grpo_settings(strategy: Any) -> GrpoConfig:
    """The section `distill.grpo`.

    Raises:
        ValueError: the strategy is another one.
    """
    if not isinstance(strategy, PadConfig):
        raise ValueError(f"distill.type={strategy.type}: only pad has reinforcement learning")
    return strategy.grpo
