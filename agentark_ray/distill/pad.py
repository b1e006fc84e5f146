"""PAD: what the process reward model learns from, the solutions of a question with step labels.

Every text that a solver gave is one solution, right or wrong, however often it was said. A step's
label says whether the solution is still right at its end; None is unknown. The labels of kind
`rollout` need completions (traces/rollouts.py) and are all None here.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from agentark_ray.debate_rows import Row
from agentark_ray.distill.asked import Asked, solver_turns
from agentark_ray.distill.rows import Drop
from agentark_ray.distill.solutions import Said
from agentark_ray.distill.step_labels import divergence, outcome, shared_steps
from agentark_ray.distill.steps import step_texts
from agentark_ray.strategy import PrmConfig
from agentark_ray.tasks.base import content_id, is_held_out
from agentark_ray.types import FinishReason, Verdict

Labels = list[bool | None]
_RIGHT = {Verdict.CORRECT: True, Verdict.INCORRECT: False, Verdict.UNPARSABLE: False}

_SOLUTION = pa.struct(
    [
        ("text", pa.string()),
        ("answer", pa.string()),
        ("right", pa.bool_()),
        ("whole", pa.bool_()),  # not cut at the token limit, and not empty
        ("first", pa.int32()),  # first answers with these words: independent samples
        ("labels", pa.list_(pa.bool_())),  # one a step
        ("shares", pa.list_(pa.float32())),  # of right completions after each step; of rollouts
    ]
)
SOLUTIONS_SCHEMA = pa.schema(
    [
        ("question_id", pa.string()),
        ("question", pa.string()),
        ("gold", pa.string()),
        ("aliases", pa.list_(pa.string())),
        ("task", pa.string()),
        ("held_out", pa.bool_()),  # for the reward model's evaluation
        ("dropped", pa.string()),  # a Drop; null if there is a solution
        ("solutions", pa.list_(_SOLUTION)),
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSolution:
    """A row of SOLUTIONS_SCHEMA's `solutions`."""

    text: str
    answer: str | None
    right: bool
    whole: bool
    first: int
    labels: Labels
    shares: Sequence[float | None] = ()


def solutions_row(question: Asked, prm: PrmConfig, duplicate: bool) -> dict[str, Any]:
    """A row of SOLUTIONS_SCHEMA of all debates on a question (rows of TRACE_SCHEMA).

    `duplicate` says that another question stands for this one.
    """
    trace = question.traces[0]
    held_out = is_held_out(content_id("prm", question.question_id), prm.held_out)
    found = [] if duplicate else step_solutions(question, prm, None if held_out else prm.solutions)
    dropped = Drop.DUPLICATE_QUESTION if duplicate else None if found else _nothing(question)
    return {
        "question_id": question.question_id,
        "question": question.text,
        "gold": trace["gold"],
        "aliases": trace.get("aliases") or [],
        "task": question.task,
        "held_out": held_out,
        "dropped": dropped,
        "solutions": [_plain(solution) for solution in found],
    }


def _nothing(question: Asked) -> Drop:
    return Drop.UNGRADED if question.held else Drop.FAILED


def _plain(solution: StepSolution) -> dict[str, Any]:
    return {name: getattr(solution, name) for name in StepSolution.__slots__}


def step_solutions(question: Asked, prm: PrmConfig, limit: int | None) -> list[StepSolution]:
    """The different solutions, wrong and right ones in turn, the most frequent first."""
    said: dict[str, list[Said]] = {}
    for trace in question.held:
        for one in solver_turns(trace):
            if one.turn["verdict"] in _RIGHT:
                said.setdefault(one.text, []).append(one)
    right = [text for text, ones in said.items() if ones[0].right and _whole(ones[0])]
    chosen = _in_turn(said)[:limit]
    return [_solution(said[text], right, prm) for text in chosen]


def _in_turn(said: dict[str, list[Said]]) -> list[str]:
    """Texts, the rank-th wrong one before the rank-th right one."""
    ranks: Counter[bool] = Counter()
    ranked = []
    for text in sorted(said, key=lambda text: (-len(said[text]), text)):
        is_right = said[text][0].right
        ranked.append((ranks[is_right], is_right, text))
        ranks[is_right] += 1
    return [text for _, _, text in sorted(ranked)]


def _solution(said: Sequence[Said], right: Sequence[str], prm: PrmConfig) -> StepSolution:
    one = said[0]
    found = StepSolution(
        text=one.text,
        answer=one.turn["answer"],
        right=one.right,
        whole=_whole(one),
        first=sum(other.turn["round"] == 0 for other in said),
        labels=[None] * len(step_texts(one.text)),
    )
    if not found.whole or prm.step_labels == "rollout":
        return found
    if prm.step_labels == "outcome":
        return replace(found, labels=list(outcome(found.text, found.right)))
    return replace(found, labels=diverging(found.text, found.right, right))


def diverging(text: str, is_right: bool, right: Sequence[str]) -> Labels:
    """Labels by where a wrong solution leaves that right one with which it goes farthest.

    Without a right one only the last step is known to be bad.
    """
    if is_right:
        return [*outcome(text, True)]
    steps = step_texts(text)
    if not right:
        return [None] * (len(steps) - 1) + [False] * bool(steps)
    farthest = max(right, key=lambda other: shared_steps(steps, step_texts(other)))
    return [*divergence(text, farthest)]


def _whole(one: Said) -> bool:
    return bool(one.text) and one.turn["finish_reason"] != FinishReason.LENGTH


def prompt_of(row: Row) -> Asked:
    """The question of a row of SOLUTIONS_SCHEMA, for its prompt."""
    return Asked(question_id=row["question_id"], text=row["question"], task=row["task"], traces=())
