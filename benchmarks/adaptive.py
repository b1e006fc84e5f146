"""Output tokens and accuracy of every stopping rule against always holding all rounds.

Debates with `stop=fixed` are held once on the tiny model, then held again for each rule by
`run_debate` with a `Generate` that repeats what was said. A rule only looks at answers so far, so
where it stops and what it answers is exactly what it would have done: no sampling noise lies
between the rules, and their accuracies are paired.
"""

import argparse
import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from agentark_ray.debate.run import run_debate
from agentark_ray.debate.stop import STOPS
from agentark_ray.engine.vllm import VllmEngine
from agentark_ray.grading.numeric import NUMERIC
from agentark_ray.tiny.path import tiny_model_path
from agentark_ray.types import Completion, Debate, Message, Sampling, Verdict
from benchmarks.common import (
    debate_protocol,
    engine_settings,
    eval_questions,
    finish,
    gather_at_most,
    say,
)

CONTEXT = 4096
QUORUMS = (0.4, 0.6, 0.8)  # of 5 agents: 2, 3 and 4


class Replay:
    """A Generate that repeats the completions of a held debate, round by round."""

    def __init__(self, debate: Debate) -> None:
        self._said: dict[int, Iterator[Completion]] = {
            agent: iter([turn.completion for turn in debate.turns if turn.agent == agent])
            for agent in {turn.agent for turn in debate.turns}
        }

    async def __call__(
        self, agent: int, messages: Sequence[Message], sampling: Sampling
    ) -> Completion:
        """The agent's next completion; StopIteration means more rounds than were held."""
        del messages, sampling
        return next(self._said[agent])


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a rule would have cost and answered, one entry a debate."""

    output_tokens: Sequence[int]
    rounds: Sequence[int]
    right: Sequence[bool]


async def replay(debates: Sequence[Debate], **debate: Any) -> Outcome:
    """Hold every debate again with other settings of the section `debate`.

    Raises:
        RuntimeError: a debate failed.
    """
    protocol = debate_protocol(**debate)
    again = [await run_debate(d.question, protocol, Replay(d), NUMERIC) for d in debates]
    check(again)
    return Outcome(
        output_tokens=[sum(turn.completion.output_tokens for turn in d.turns) for d in again],
        rounds=[len(d.votes) for d in again],
        right=[d.final_verdict == Verdict.CORRECT for d in again],
    )


def check(debates: Sequence[Debate]) -> None:
    """Raises RuntimeError if one failed: figures over failed debates mean nothing."""
    for debate in debates:
        if debate.error_type:
            raise RuntimeError(f"{debate.error_type}: {debate.error_message}")


def against(rule: Outcome, fixed: Outcome) -> dict[str, Any]:
    """A rule's figures beside those of holding all rounds, on the same debates."""
    n = len(fixed.right)
    pairs = list(zip(rule.right, fixed.right, strict=True))
    return {
        "token_ratio": round(sum(fixed.output_tokens) / sum(rule.output_tokens), 3),
        "accuracy": round(sum(rule.right) / n, 4),
        "points_lost": round(100 * (sum(fixed.right) - sum(rule.right)) / n, 2),
        "only_rule_right": sum(a and not b for a, b in pairs),
        "only_fixed_right": sum(b and not a for a, b in pairs),
        "output_tokens_per_question": round(sum(rule.output_tokens) / n, 1),
        "mean_rounds": round(sum(rule.rounds) / n, 3),
        "stopped_after_first": round(rule.rounds.count(1) / n, 4),
    }


def rules() -> dict[str, dict[str, Any]]:
    """Every stopping rule, as settings of the section `debate`; `quorum` at several shares."""
    plain = {name: {"stop": name} for name in STOPS if name != "quorum"}
    return plain | {f"quorum_{q}": {"stop": "quorum", "quorum": q} for q in QUORUMS}


async def hold(args: argparse.Namespace) -> list[Debate]:
    """The debates, all rounds, on the tiny model."""
    protocol = debate_protocol(
        agents=args.agents,
        rounds=args.rounds,
        layout=args.layout,
        stop="fixed",
        temperature=args.temperature,
        max_tokens=128,
    )
    settings = {"seed": args.seed, "max_model_len": CONTEXT, "timeout_s": 600.0}
    engine = VllmEngine(**engine_settings(str(tiny_model_path()), **settings))
    say("adaptive: starting vLLM on the tiny model")
    await engine.start()
    try:
        questions = eval_questions(args.questions)
        jobs = [partial(run_debate, question, protocol, engine, NUMERIC) for question in questions]
        say(f"adaptive: {len(jobs)} debates, {args.agents} agents, {args.rounds} rounds")
        debates = await gather_at_most(64, jobs)
    finally:
        engine.stop()
    check(debates)
    return debates


async def measure(args: argparse.Namespace) -> None:
    """Hold once, replay every rule under both votes, print."""
    debates = await hold(args)
    team = {"agents": args.agents, "rounds": args.rounds}
    found: dict[str, Any] = {}
    for vote in ("vote", "vote_all_rounds"):
        fixed = await replay(debates, stop="fixed", aggregate=vote, **team)
        for name, rule in rules().items():
            outcome = await replay(debates, aggregate=vote, **rule, **team)
            found[f"{name}_{vote}"] = figures = against(outcome, fixed)
            say(f"adaptive: {name}, {vote}: {figures}")
    ratios = {
        f"tokens_{name}": figures["token_ratio"]
        for name, figures in found.items()
        if not name.startswith("fixed")
    }
    names = ("questions", "agents", "rounds", "layout", "temperature", "seed")
    settings = {name: getattr(args, name) for name in names}
    finish("debate_adaptive", ratios, {"settings": settings, "rules": found})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this benchmark."""
    parser.add_argument("--questions", type=int, default=1000)
    parser.add_argument("--agents", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--layout", choices=("paper", "shared"), default="paper")
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--seed", type=int, default=0)


QUICK = {"questions": 60}


def run(args: argparse.Namespace) -> None:
    """Entry point."""
    asyncio.run(measure(args))
