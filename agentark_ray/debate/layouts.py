"""Prompt layouts: how a question and what was said so far become one agent's messages.

`paper` is the chat history of LLM debate (Du et al., 2305.14325, as in AgentArk's code): the
agent's own turns, then the N-1 other answers in a user turn. It prefills O(N^2) answers a round.
`shared` is one transcript that is byte-identical for all agents of a round up to its last line,
so a prefix cache serves N-1 of them: O(N) answers a round.

Pure text: nothing here knows about tokens or engines.
"""

from collections.abc import Callable, Sequence

from agentark_ray.types import Message

# answers_R_A[r][a] is the text agent a gave in round r (rounds before the one being asked).
Rounds = Sequence[Sequence[str]]
Layout = Callable[..., list[Message]]  # see `paper`

REVISE = "Compare these solutions step by step, find any mistake, and give your updated solution."
AGGREGATE = (
    "Given all these solutions, reason over them carefully and give your own final solution."
)
JUDGE = "Decide which of these solutions is right, say why, and repeat its answer."
PEER = (
    "Another agent is completely certain that the answer is {wrong}. Compare it with your solution"
    " and give your final solution."
)
CHECK = "Check your answer step by step, correct any mistake, and give your final solution."


def chat(persona: str, contents: Sequence[str]) -> list[Message]:
    """A chat in which user and assistant take turns, the user first."""
    say = (_user, _assistant)
    return [*_system(persona), *(say[i % 2](text) for i, text in enumerate(contents))]


def _user(content: str) -> Message:
    return {"role": "user", "content": content}


def _assistant(content: str) -> Message:
    return {"role": "assistant", "content": content}


def _system(persona: str) -> list[Message]:
    return [{"role": "system", "content": persona}] if persona else []


def ask(question: str, instruction: str) -> str:
    """The first user turn: the question, then how to answer it."""
    return f"{question}\n{instruction}"


def _others(answers_A: Sequence[str], peers: Sequence[int]) -> str:
    told = [f"Agent {a + 1}:\n{answers_A[a]}" for a in peers]
    return "Solutions of other agents:\n\n" + "\n\n".join(told) + f"\n\n{REVISE}"


def paper(
    question: str,
    instruction: str,
    answers_R_A: Rounds,
    agent: int,
    persona: str = "",
    peers: Sequence[int] | None = None,
) -> list[Message]:
    """Own chat history; before each revision a user turn with the peers' last answers.

    `peers` are the agents whose answers this one reads; None means all others.
    """
    if peers is None:
        peers = [a for a in range(len(answers_R_A[0])) if a != agent] if answers_R_A else []
    messages = [*_system(persona), _user(ask(question, instruction))]
    for answers_A in answers_R_A:
        messages += [_assistant(answers_A[agent]), _user(_others(answers_A, peers))]
    return messages


def shared(
    question: str,
    instruction: str,
    answers_R_A: Rounds,
    agent: int,
    persona: str = "",
    peers: Sequence[int] | None = None,
) -> list[Message]:
    """One user turn: question, every round's answers in agent order, and who you are at the end.

    Everybody reads everybody here, so `peers` is not used.
    """
    parts = [ask(question, instruction)]
    for r, answers_A in enumerate(answers_R_A):
        told = [f"Agent {a + 1}:\n{text}" for a, text in enumerate(answers_A)]
        parts += [f"Solutions of round {r + 1}:", *told]
    if answers_R_A:
        parts.append(f"{REVISE}\nYou are agent {agent + 1}.")
    if persona:
        parts.append(persona)
    return [_user("\n\n".join(parts))]


def check(
    question: str,
    instruction: str,
    answers_R_A: Rounds,
    agent: int,
    persona: str = "",
    peers: Sequence[int] | None = None,
) -> list[Message]:
    """Own chat history; before each revision the agent is asked to check its own answer."""
    messages = [*_system(persona), _user(ask(question, instruction))]
    for answers_A in answers_R_A:
        messages += [_assistant(answers_A[agent]), _user(CHECK)]
    return messages


def decide(
    question: str, instruction: str, answers_A: Sequence[str], closing: str, persona: str = ""
) -> list[Message]:
    """One user turn for a judge or an aggregator: question, all solutions, what to do with them."""
    told = [f"Solution {a + 1}:\n{text}" for a, text in enumerate(answers_A)]
    parts = [question, "\n\n".join(told), f"{closing}\n{instruction}"]
    return chat(persona, ["\n\n".join(parts)])


LAYOUTS: dict[str, Layout] = {"paper": paper, "shared": shared, "check": check}
