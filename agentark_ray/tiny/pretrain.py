"""Trains the tiny model from scratch: `python -m agentark_ray.tiny.pretrain --out FOLDER`.

Phase 1 teaches to solve, under a curriculum of problem lengths, with some synthetic revision.
Phase 2 lets the model answer new train questions and teaches it to revise after reading those
answers, right and wrong ones, as a debate will show them. The learning rate is constant on purpose:
the model stops in mid-slope, right about half the time, and distillation can sharpen it.
"""

import argparse
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from agentark_ray.tasks.arithmetic import STEPS
from agentark_ray.tiny.batches import Example, bucketed, encode
from agentark_ray.tiny.corpus import (
    CHECK_SELF,
    READ_PEERS,
    Conversation,
    problems,
    revise,
    solve,
)
from agentark_ray.tiny.sampler import sample
from agentark_ray.tiny.tokenizer import END, PAD, prompt_text, train_tokenizer
from agentark_ray.types import Split

CONTEXT = 4096
CURRICULUM = ((0.12, (1, 2)), (0.3, (1, 2, 3, 4)), (1.0, STEPS[Split.TRAIN]))
TEMPERATURE = 0.7
POOL = 5  # answers sampled a question in phase 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What training costs. Shares are of examples; the rest of them are solutions."""

    solve_questions: int = 40_000  # phase 1
    solve_revise_share: float = 0.1
    debate_questions: int = 4_000  # phase 2
    debate_solve_share: float = 0.3
    debate_check_share: float = 0.1
    batch_tokens: int = 4_096
    learning_rate: float = 2e-3
    warmup_steps: int = 60


def new_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> Qwen3ForCausalLM:
    """A Qwen3 of 1.9M parameters with random weights, in float32."""
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=64,
        tie_word_embeddings=True,
        max_position_embeddings=CONTEXT,
        pad_token_id=tokenizer.convert_tokens_to_ids(PAD),
        eos_token_id=tokenizer.convert_tokens_to_ids(END),
        bos_token_id=None,
    )
    return Qwen3ForCausalLM(config)


def solver_corpus(budget: Budget, seed: int) -> Iterator[Conversation]:
    """Phase 1: solutions along the curriculum; a share of them as synthetic revisions."""
    rng = random.Random(f"solve {seed}")
    done = 0.0
    for number, (until, lengths) in enumerate(CURRICULUM):
        count = round(budget.solve_questions * (until - done))
        done = until
        for problem in problems(count, lengths, seed * 100 + number):
            is_revise = rng.random() < budget.solve_revise_share
            layouts = (*READ_PEERS, *CHECK_SELF)
            yield revise(problem, [], layouts, rng) if is_revise else solve(problem)


def debate_corpus(
    model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, budget: Budget, seed: int
) -> Iterator[Conversation]:
    """Phase 2: revisions and checks of the model's own answers to new questions; some solutions."""
    rng = random.Random(f"debate {seed}")
    asked = problems(budget.debate_questions, STEPS[Split.TRAIN], seed * 100 + 50)
    prompts = [prompt_text(solve(p).messages[:1]) for p in asked]
    told = sample(model, tokenizer, prompts * POOL, TEMPERATURE)
    for i, problem in enumerate(asked):
        pool = told[i :: len(asked)]
        kind = rng.random()
        if kind < budget.debate_solve_share:
            yield solve(problem)
        elif kind < budget.debate_solve_share + budget.debate_check_share:
            yield revise(problem, pool, CHECK_SELF, rng)
        else:
            yield revise(problem, pool, READ_PEERS, rng)


class Trainer:
    """AdamW with warmup and then a constant learning rate; bfloat16 products."""

    def __init__(self, model: Qwen3ForCausalLM, budget: Budget) -> None:
        self.model, self.budget = model, budget
        self.optimizer = torch.optim.AdamW(
            model.parameters(), lr=budget.learning_rate, betas=(0.9, 0.95), weight_decay=0.05
        )
        self.steps = self.tokens = 0
        self.started = time.monotonic()

    def step(self, ids_B_T: torch.Tensor, targets_B_T: torch.Tensor) -> float:
        """One update; the mean loss (nats) over the target tokens."""
        self.steps += 1
        rate = self.budget.learning_rate * min(1.0, self.steps / self.budget.warmup_steps)
        self.optimizer.param_groups[0]["lr"] = rate
        with torch.autocast("cpu", torch.bfloat16):
            logits_B_T_V = self.model(ids_B_T, use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(
            logits_B_T_V.float()[:, :-1].flatten(0, 1), targets_B_T[:, 1:].flatten()
        )
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.tokens += ids_B_T.numel()
        return loss.item()

    def phase(self, name: str, examples: list[Example], seed: int) -> None:
        """Trains once over the examples, in order up to a shuffle within windows."""
        self.model.train()
        total = self.tokens + sum(len(e.ids) for e in examples)
        for ids, targets in bucketed(examples, self.budget.batch_tokens, seed):
            loss = self.step(ids, targets)
            if self.steps % 50 == 0:
                self._report(name, loss, total)

    def _report(self, name: str, loss: float, total: int) -> None:
        seconds = time.monotonic() - self.started
        speed = self.tokens / seconds
        left = max(0, total - self.tokens) / speed
        print(
            f"{name}: step {self.steps}  loss {loss:.4f}  tokens {self.tokens:,}"
            f"  {speed:,.0f} tokens/s  {seconds:.0f} s  phase ends in {left:.0f} s",
            flush=True,
        )


def save(model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """Writes the model in bfloat16 and the tokenizer, in Hugging Face format."""
    model.generation_config.update(do_sample=True, temperature=TEMPERATURE)
    model.to(torch.bfloat16).save_pretrained(out)
    tokenizer.save_pretrained(out)
    model.float()


def pretrain(out: Path, budget: Budget, seed: int) -> None:
    """Both phases, then `save`."""
    texts = (
        prompt_text(c.messages)
        for c in solver_corpus(Budget(solve_questions=4_000, solve_revise_share=0.5), seed)
    )
    tokenizer = train_tokenizer(texts, CONTEXT)
    model = new_model(tokenizer, seed)
    trainer = Trainer(model, budget)
    trainer.phase("solve", [encode(tokenizer, c) for c in solver_corpus(budget, seed)], seed)
    debates = debate_corpus(model, tokenizer, budget, seed)
    trainer.phase("debate", [encode(tokenizer, c) for c in debates], seed)
    save(model, tokenizer, out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the model")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    pretrain(args.out, Budget(), args.seed)


if __name__ == "__main__":
    main()
