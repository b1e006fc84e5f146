"""The true steps of an arithmetic story, read from its text, and what they say of a solution's.

Knows the stories of arithmetic.py by their words alone, so that it is a check that depends on
neither verdicts nor labels.
"""

import re
from collections.abc import Sequence

_FIRST = re.compile(r"\bhas (\d+) ")
_EVENT = re.compile(
    r"\bIn [A-Z][a-z]+ \w+ (?:(?P<more>buys|finds|wins) (?P<a>\d+)"
    r"|(?P<less>loses|sells|gives away) (?P<b>\d+)"
    r"|makes it (?P<times>\d+) times as many"
    r"|shares them equally among (?P<parts>\d+) )"
)
_EQUATION = re.compile(r"(\d+) ([-+*/]) (\d+) = (\d+)")
_BOXED = re.compile(r"\\boxed\{\s*(-?\d+)\s*\}")

Equation = tuple[int, str, int, int]  # left, operator, right, result


def equations(question: str) -> list[Equation]:
    """The equations that a story asks for, in order; empty for another text."""
    first = _FIRST.search(question)
    if first is None:
        return []
    value, found = int(first[1]), []
    for event in _EVENT.finditer(question):
        operator, amount = _operation(event)
        result = _result(value, operator, amount)
        found.append((value, operator, amount, result))
        value = result
    return found


def _operation(event: re.Match[str]) -> tuple[str, int]:
    if event["more"]:
        return "+", int(event["a"])
    if event["less"]:
        return "-", int(event["b"])
    return ("*", int(event["times"])) if event["times"] else ("/", int(event["parts"]))


def _result(value: int, operator: str, amount: int) -> int:
    match operator:
        case "+":
            return value + amount
        case "-":
            return value - amount
        case "*":
            return value * amount
        case _:
            return value // amount


def step_truth(question: str, steps: Sequence[str]) -> list[bool | None]:
    """Whether a solution is still right after each of its steps.

    A step is right if its equation is the next one of the story, or if it boxes the answer after
    the last one; after a wrong step nothing is right. A step without equation and box says nothing:
    it is None, unless a wrong one came before.
    """
    wanted = equations(question)
    truth: list[bool | None] = []
    done, right = 0, bool(wanted)
    for step in steps:
        said = [(int(a), o, int(b), int(c)) for a, o, b, c in _EQUATION.findall(step)]
        boxed = [int(answer) for answer in _BOXED.findall(step)]
        if right:
            right = said == wanted[done : done + len(said)]
            done += len(said)
            right = right and all(
                done == len(wanted) and answer == wanted[-1][3] for answer in boxed
            )
        truth.append(right if said or boxed or not right else None)
    return truth if wanted else [None] * len(steps)
