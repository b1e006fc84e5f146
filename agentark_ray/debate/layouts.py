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
Layout = Callable[[str, str, Rounds, int, str], list[Message]]

REVISE = "Compare these solutions step by step, find any mistake, and give your updated solution."
CHECK = "Check your answer step by step, correct any mistake, and give your final solution."


def _user(content: str) -> Message:
    return {"role": "user", "content": content}


def _assistant(content: str) -> Message:
    return {"role": "assistant", "content": content}


def _system(persona: str) -> list[Message]:
    return [{"role": "system", "content": persona}] if persona else []


def ask(question: str, instruction: str) -> str:
    """The first user turn: the question, then how to answer it."""
    return f"{question}\n{instruction}"


def _others(answers_A: Sequence[str], agent: int) -> str:
    told = [f"Agent {a + 1}:\n{text}" for a, text in enumerate(answers_A) if a != agent]
    return "Solutions of other agents:\n\n" + "\n\n".join(told) + f"\n\n{REVISE}"


def paper(
    question: str, instruction: str, answers_R_A: Rounds, agent: int, persona: str = ""
) -> list[Message]:
    """Own chat history; before each revision a user turn with the other agents' last answers."""
    messages = [*_system(persona), _user(ask(question, instruction))]
    for answers_A in answers_R_A:
        messages += [_assistant(answers_A[agent]), _user(_others(answers_A, agent))]
    return messages


def shared(
    question: str, instruction: str, answers_R_A: Rounds, agent: int, persona: str = ""
) -> list[Message]:
    """One user turn: question, every round's answers in agent order, and who you are at the end."""
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
    question: str, instruction: str, answers_R_A: Rounds, agent: int, persona: str = ""
) -> list[Message]:
    """Own chat history; before each revision the agent is asked to check its own answer."""
    messages = [*_system(persona), _user(ask(question, instruction))]
    for answers_A in answers_R_A:
        messages += [_assistant(answers_A[agent]), _user(CHECK)]
    return messages


LAYOUTS: dict[str, Layout] = {"paper": paper, "shared": shared, "check": check}
