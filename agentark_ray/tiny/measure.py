"""Measures a tiny model on held-out questions: `python -m agentark_ray.tiny.measure`.

One sample, greedy, a vote, and one round of revision after reading peers in both layouts, all at
the temperature debates use. Prints progress to stderr and one JSON object as the last line.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from transformers import AutoTokenizer, Qwen3ForCausalLM

from agentark_ray.debate.layouts import LAYOUTS, Layout
from agentark_ray.grading.numeric import INSTRUCTION, NUMERIC, extract_answer
from agentark_ray.tasks.arithmetic import questions
from agentark_ray.tiny.path import tiny_model_path
from agentark_ray.tiny.sampler import sample
from agentark_ray.tiny.tokenizer import prompt_text
from agentark_ray.types import Question, Split, Verdict

AGENTS = 5
TEMPERATURE = 0.7
Sampler = Callable[[Sequence[str], float], list[str]]  # (prompts, temperature) -> answers


def is_right(question: Question, text: str) -> bool:
    return NUMERIC.verdict(extract_answer(text), question.gold) == Verdict.CORRECT


def share(flags: Sequence[bool]) -> float:
    """The mean of flags; 0.0 if there are none."""
    return round(sum(flags) / len(flags), 4) if flags else 0.0


def vote_accuracy(asked: Sequence[Question], texts_Q_A: Sequence[Sequence[str]]) -> float:
    """How often the most frequent answer is right; ties go to the first agent."""
    won = []
    for question, texts in zip(asked, texts_Q_A, strict=True):
        leader = Counter(extract_answer(text) for text in texts).most_common(1)[0][0]
        won.append(NUMERIC.verdict(leader, question.gold) == Verdict.CORRECT)
    return share(won)


def fixed_and_broken(
    asked: Sequence[Question], before_Q_A: Sequence[Sequence[str]], after_Q_A: list[list[str]]
) -> dict[str, float]:
    """P(right after | wrong before) and P(wrong after | right before)."""
    fixed, broken = [], []
    for question, before_A, after_A in zip(asked, before_Q_A, after_Q_A, strict=True):
        for before, after in zip(before_A, after_A, strict=True):
            now_right = is_right(question, after)
            if is_right(question, before):
                broken.append(not now_right)
            else:
                fixed.append(now_right)
    return {"fixed": share(fixed), "broken": share(broken)}


def _rows(flat: list[str]) -> list[list[str]]:
    return [flat[i : i + AGENTS] for i in range(0, len(flat), AGENTS)]


def solve_all(sampler: Sampler, asked: Sequence[Question], temperature: float) -> list[str]:
    """One answer a question."""
    first = LAYOUTS["paper"]
    return sampler([prompt_text(first(q.text, INSTRUCTION, [], 0, "")) for q in asked], temperature)


def revise_all(
    sampler: Sampler, asked: Sequence[Question], before_Q_A: Sequence[Sequence[str]], layout: Layout
) -> list[list[str]]:
    """Every agent's answer after reading all agents' first answers."""
    prompts = [
        prompt_text(layout(question.text, INSTRUCTION, [answers], agent, ""))
        for question, answers in zip(asked, before_Q_A, strict=True)
        for agent in range(AGENTS)
    ]
    return _rows(sampler(prompts, TEMPERATURE))


def measure(sampler: Sampler, count: int) -> dict[str, object]:
    """All figures on the first `count` eval questions (and as many harder ones)."""
    asked = list(questions(Split.EVAL, 0, count))
    before = _rows(solve_all(sampler, [q for q in asked for _ in range(AGENTS)], TEMPERATURE))
    figures: dict[str, object] = {
        "questions": count,
        "sampled": share([is_right(q, t) for q, ts in zip(asked, before, strict=True) for t in ts]),
        "greedy": _accuracy(asked, solve_all(sampler, asked, 0.0)),
        "vote": vote_accuracy(asked, before),
    }
    print(f"tiny: {figures}", file=sys.stderr, flush=True)
    for name, layout in LAYOUTS.items():
        after = revise_all(sampler, asked, before, layout)
        revised = fixed_and_broken(asked, before, after)
        figures[name] = {**revised, "vote": vote_accuracy(asked, after)}
        print(f"tiny: {name} {figures[name]}", file=sys.stderr, flush=True)
    harder = list(questions(Split.OOD, 0, count))
    figures["ood_sampled"] = _accuracy(harder, solve_all(sampler, harder, TEMPERATURE))
    return figures


def _accuracy(asked: Sequence[Question], texts: Sequence[str]) -> float:
    return share([is_right(q, text) for q, text in zip(asked, texts, strict=True)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=tiny_model_path())
    parser.add_argument("--questions", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    model = Qwen3ForCausalLM.from_pretrained(args.model, dtype=torch.bfloat16)
    figures = measure(lambda prompts, t: sample(model, tokenizer, prompts, t), args.questions)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
