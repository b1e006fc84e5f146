"""What a strategy is given: one question with all that the debates on it left."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agentark_ray.debate.layouts import ask, chat, check
from agentark_ray.debate_rows import solves
from agentark_ray.distill.rows import Drop
from agentark_ray.distill.solutions import Said, Solution
from agentark_ray.tasks.registry import TASKS
from agentark_ray.types import DebateStatus, Message, Verdict

Trace = Mapping[str, Any]  # a row of TRACE_SCHEMA


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A question and its debates; they are in an order that depends on themselves alone."""

    question_id: str
    text: str
    task: str
    traces: Sequence[Trace]

    @property
    def held(self) -> list[Trace]:
        """The debates that ended well."""
        return [trace for trace in self.traces if trace["status"] == DebateStatus.OK]

    @property
    def debates(self) -> list[Trace]:
        """The debates among the traces, without samples of single agents; all if none is one."""
        return [trace for trace in self.traces if trace["arm"] == "debate"] or list(self.traces)

    @property
    def prompt(self) -> list[Message]:
        """What a single agent is asked."""
        return chat("", [ask(self.text, TASKS[self.task].grader.instruction)])

    def check_prompt(self, draft: str) -> list[Message]:
        """What an agent is asked that has given `draft` and is to check it."""
        return check(self.text, TASKS[self.task].grader.instruction, [[draft]], 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """What a control spent of the debates' budget."""

    budget: int  # output tokens of the debates
    spent: int  # of the samples taken
    samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What a strategy may learn from."""

    said: Sequence[Said]
    sampling: Sampling | None = None


def asked(traces: Sequence[Trace]) -> Asked:
    """The debates on one question, debates first, then samples of other arms, by id."""
    ordered = sorted(traces, key=lambda trace: (trace["arm"] != "debate", trace["debate_id"]))
    first = ordered[0]
    return Asked(
        question_id=first["question_id"],
        text=first["question"],
        task=first["task"],
        traces=ordered,
    )


def solver_turns(trace: Trace) -> Iterator[Said]:
    """The solutions of a debate, in the order in which they were given."""
    for turn in sorted(trace["turns"] or (), key=lambda turn: (turn["round"], turn["agent"])):
        if solves(turn):
            yield Said(debate_id=trace["debate_id"], question=trace["question"], turn=turn)


def nothing_right(said: Sequence[Said], solutions: Sequence[Solution]) -> Drop:
    """Why a question has no fit solution: what is wrong with its best one, or with the verdicts."""
    if solutions:
        assert solutions[0].dropped is not None
        return solutions[0].dropped
    verdicts = {one.turn["verdict"] for one in said}
    if verdicts == {None}:
        return Drop.UNGRADED
    return Drop.TIMEOUT if Verdict.TIMEOUT in verdicts else Drop.NO_RIGHT
