"""Training conversations of the tiny model: solve, revise after reading peers, check yourself.

Prompts come from `debate.layouts`, so they are byte-identical to what debates send. Every target is
a right solution; wrong solutions appear only in prompts. Pure text, deterministic from a seed.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from agentark_ray.debate.layouts import LAYOUTS, ask
from agentark_ray.grading.numeric import INSTRUCTION
from agentark_ray.tasks.arithmetic import Problem, draw
from agentark_ray.types import Message, Split

AGENTS = (2, 3, 3, 4, 4, 5, 5, 5, 6, 7)  # drawn from uniformly
READ_PEERS, CHECK_SELF = ("paper", "shared"), ("check",)  # layouts
TWO_ROUNDS = 0.2  # share of revisions that read two earlier rounds
RIGHT_PEERS = (0.3, 0.5, 0.7, 0.9)  # how right a question's peers are; drawn from uniformly


@dataclass(frozen=True, slots=True)
class Conversation:
    """Messages that end with an assistant turn; the marked assistant turns are targets."""

    messages: tuple[Message, ...]
    targets: tuple[bool, ...]  # one a message


def conversation(prompt: Sequence[Message], gold: str) -> Conversation:
    """The prompt answered with the right solution; earlier turns are targets if they are it."""
    messages = (*prompt, Message(role="assistant", content=gold))
    is_target = tuple(m["role"] == "assistant" and m["content"] == gold for m in messages)
    return Conversation(messages, is_target)


def solve(problem: Problem) -> Conversation:
    """The question and its solution."""
    prompt = [Message(role="user", content=ask(problem.text, INSTRUCTION))]
    return conversation(prompt, problem.solution())


def slipped(problem: Problem, rng: random.Random) -> str:
    """A wrong but consistent solution: a slip in one result, or one number misread."""
    where = rng.randrange(len(problem.steps))
    if rng.random() < 0.5:
        return problem.solution({where: rng.choice((-10, -2, -1, 1, 2, 10))})
    misread = replace(problem.steps[where], amount=rng.randint(2, 9))
    steps = (*problem.steps[:where], misread, *problem.steps[where + 1 :])
    return replace(problem, steps=steps).solution()


def synthetic_peers(problem: Problem, agents: int, rng: random.Random) -> list[str]:
    """One round of answers: some right, the others with a slip of their own."""
    right = rng.choice(RIGHT_PEERS)
    return [
        problem.solution() if rng.random() < right else slipped(problem, rng) for _ in range(agents)
    ]


def revise(
    problem: Problem, pool: Sequence[str], layouts: Sequence[str], rng: random.Random
) -> Conversation:
    """One agent's revision, in one of `layouts`, after answers drawn from `pool`.

    `pool` holds sampled solutions of this problem; if it is empty the answers are synthetic.
    """
    agents = rng.choice(AGENTS)
    rounds = 2 if rng.random() < TWO_ROUNDS else 1
    answers_R_A = [
        rng.choices(pool, k=agents) if pool else synthetic_peers(problem, agents, rng)
        for _ in range(rounds)
    ]
    layout = LAYOUTS[rng.choice(layouts)]
    prompt = layout(problem.text, INSTRUCTION, answers_R_A, rng.randrange(agents), "")
    return conversation(prompt, problem.solution())


def problems(count: int, lengths: Sequence[int], seed: int) -> list[Problem]:
    """Random train problems whose number of steps is drawn from `lengths`."""
    rng = random.Random(seed)
    return [draw(Split.TRAIN, rng.choice(lengths), rng) for _ in range(count)]
