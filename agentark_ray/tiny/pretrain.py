"""Trains the tiny model from scratch: `python -m agentark_ray.tiny.pretrain --out FOLDER`.

Phase 1 teaches to solve, under a curriculum of problem lengths, with some synthetic revision.
Phase 2, in rounds, lets the model answer new train questions and teaches it to revise after
reading those answers, right and wrong ones, as a debate will show them. The learning rate never
anneals to zero, on purpose: the model stops in mid-slope, and distillation can sharpen it.
"""

import argparse
import copy
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from agentark_ray.tasks.arithmetic import STEPS, Problem
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
Curriculum = tuple[tuple[int, tuple[int, ...]], ...]  # (examples, numbers of steps) a stage
CURRICULUM = ((3_000, (1, 2)), (4_000, (1, 2, 3, 4)), (3_000, STEPS[Split.TRAIN]))
# Examples of similar length share batches only within a part, so that lessons keep their order.
PARTS = (3_000, 5_000, 7_000, 8_500, 10_000)
TOKENIZER_TEXTS = ((480, (1, 2)), (720, (1, 2, 3, 4)), (2_800, STEPS[Split.TRAIN]))
TEMPERATURE = 0.7
POOL = 5  # answers sampled a question in phase 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What training costs. Shares are of examples; the rest of them are solutions."""

    solve_revise_share: float = 0.1  # phase 1; CURRICULUM holds its size
    debate_rounds: int = 2  # phase 2: each answers new questions with the model as it is then
    debate_questions: int = 600  # a round
    debate_uses: int = 4  # conversations made of each question's answers
    debate_synthetic: int = 1_200  # revisions with synthetic peers, a round
    debate_solve_share: float = 0.12
    debate_check_share: float = 0.06
    batch_tokens: int = 2_048
    muon_rate: float = 0.02
    adamw_rate: float = 2e-3
    debate_rate: float = 0.6  # of both rates, in phase 2
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
        pad_token_id=tokenizer.get_vocab()[PAD],
        eos_token_id=tokenizer.get_vocab()[END],
        bos_token_id=None,
    )
    return Qwen3ForCausalLM(config)


def solver_corpus(curriculum: Curriculum, revise_share: float, seed: int) -> Iterator[Conversation]:
    """Phase 1: solutions along the curriculum; a share of them as synthetic revisions."""
    rng = random.Random(f"solve {seed}")
    layouts = sorted((*READ_PEERS, *CHECK_SELF))
    for number, (count, lengths) in enumerate(curriculum):
        for problem in problems(count, lengths, seed * 100 + number):
            is_revise = rng.random() < revise_share
            yield revise(problem, [], layouts, rng) if is_revise else solve(problem)


def debate_corpus(
    model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, budget: Budget, seed: int
) -> list[Conversation]:
    """A round of phase 2: revisions and checks of the model's own answers, and some solutions."""
    rng = random.Random(f"debate {seed}")
    torch.manual_seed(seed)
    asked = problems(budget.debate_questions, STEPS[Split.TRAIN], seed)
    prompts = [prompt_text(solve(p).messages[:1]) for p in asked]
    speaker = copy.deepcopy(model).bfloat16()
    print(f"debate: sampling {len(prompts) * POOL:,} answers", flush=True)
    told = sample(speaker, tokenizer, prompts * POOL, TEMPERATURE)
    pools = [told[i :: len(asked)] for i in range(len(asked))]
    made = [
        debate_conversation(problem, pool, budget, rng)
        for problem, pool in zip(asked, pools, strict=True)
        for _ in range(budget.debate_uses)
    ]
    plain = problems(budget.debate_synthetic, STEPS[Split.TRAIN], seed + 50)
    made += [revise(problem, [], READ_PEERS, rng) for problem in plain]
    rng.shuffle(made)
    return made


def debate_conversation(
    problem: Problem, pool: list[str], budget: Budget, rng: random.Random
) -> Conversation:
    """A solution, a check or a revision, by the budget's shares."""
    kind = rng.random()
    if kind < budget.debate_solve_share:
        return solve(problem)
    if kind < budget.debate_solve_share + budget.debate_check_share:
        return revise(problem, pool, CHECK_SELF, rng)
    return revise(problem, pool, READ_PEERS, rng)


class Trainer:
    """Muon for the matrices, AdamW for the rest; warmup, then one rate a phase."""

    def __init__(self, model: Qwen3ForCausalLM, budget: Budget) -> None:
        self.model, self.budget = model, budget
        inner = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
        outer = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
        self.optimizers = {
            budget.muon_rate: torch.optim.Muon(inner, momentum=0.95, weight_decay=0.0),
            budget.adamw_rate: torch.optim.AdamW(outer, betas=(0.9, 0.95), weight_decay=0.0),
        }
        self.steps = self.tokens = 0
        self.started = time.monotonic()

    def step(self, ids_B_T: torch.Tensor, targets_B_T: torch.Tensor, scale: float) -> float:
        """One update, the rates multiplied by `scale`; the mean loss (nats) over the targets."""
        self.steps += 1
        with torch.autocast("cpu", torch.bfloat16):
            logits_B_T_V = self.model(ids_B_T, use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(
            logits_B_T_V.float()[:, :-1].flatten(0, 1), targets_B_T[:, 1:].flatten()
        )
        self.model.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        warmup = min(1.0, self.steps / self.budget.warmup_steps)
        for rate, optimizer in self.optimizers.items():
            optimizer.param_groups[0]["lr"] = rate * scale * warmup
            optimizer.step()
        self.tokens += ids_B_T.numel()
        return loss.item()

    def phase(self, name: str, examples: list[Example], scale: float, seed: int) -> None:
        """Trains once over the examples, in order up to a shuffle within windows."""
        self.model.train()
        total = self.tokens + sum(len(e.ids) for e in examples)
        for ids, targets in bucketed(examples, self.budget.batch_tokens, seed):
            loss = self.step(ids, targets, scale)
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
    model.bfloat16().save_pretrained(out)
    tokenizer.save_pretrained(out)
    model.float()


def pretrain(out: Path, budget: Budget, seed: int) -> None:
    """Both phases; saves after every round of the second."""
    texts = (prompt_text(c.messages) for c in solver_corpus(TOKENIZER_TEXTS, 0.5, seed))
    tokenizer = train_tokenizer(texts, CONTEXT)
    model = new_model(tokenizer, seed)
    trainer = Trainer(model, budget)
    lessons = [
        encode(tokenizer, c) for c in solver_corpus(CURRICULUM, budget.solve_revise_share, seed)
    ]
    for start, stop in zip((0, *PARTS), PARTS, strict=False):
        trainer.phase("solve", lessons[start:stop], 1.0, seed)
    for round_ in range(budget.debate_rounds):
        corpus_seed = seed * 1_000 + 100 + round_
        debates = [
            encode(tokenizer, c) for c in debate_corpus(model, tokenizer, budget, corpus_seed)
        ]
        trainer.phase(f"debate {round_ + 1}", debates, budget.debate_rate, corpus_seed)
        save(model, tokenizer, out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the model")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=Budget().debate_rounds, help="of phase 2")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    pretrain(args.out, Budget(debate_rounds=args.rounds), args.seed)


if __name__ == "__main__":
    main()
