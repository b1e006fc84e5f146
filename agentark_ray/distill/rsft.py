"""RSFT: reasoning-enhanced supervised fine-tuning (AgentArk, 2602.03955, section 3).

One row a question: the debate's consensus answer, if it is right, with the best reasoning that led
to it. Best is the right answer the model itself finds most likely (mean log-probability), the
shorter one where equal. The prompt is the one a single agent gets.
"""

from collections.abc import Sequence

from agentark_ray.distill.asked import Asked, Material, Trace, solver_turns
from agentark_ray.distill.rows import Drop, TrainingRow
from agentark_ray.distill.solutions import Likeness, Solution
from agentark_ray.strategy import RsftConfig
from agentark_ray.types import DebateStatus, Verdict


def material(question: Asked) -> Material | Drop:
    """What was said in debates whose consensus is right; else what the first one lacks."""
    reasons = [consensus_fault(trace) for trace in question.traces]
    right = [trace for trace, reason in zip(question.traces, reasons, strict=True) if not reason]
    if not right:
        return reasons[0] or Drop.FAILED
    return Material(said=[one for trace in right for one in solver_turns(trace)])


def consensus_fault(trace: Trace) -> Drop | None:
    """Why a debate's final answer is not known to be right, or None."""
    if trace["status"] != DebateStatus.OK:
        return Drop.FAILED
    if trace["final_answer"] is None:
        return Drop.NO_ANSWER
    if trace["verdict"] == Verdict.CORRECT:
        return None
    return {None: Drop.UNGRADED, Verdict.TIMEOUT: Drop.TIMEOUT}.get(trace["verdict"], Drop.WRONG)


def rows(
    question: Asked, fit: Sequence[Solution], config: RsftConfig, alike: Likeness
) -> list[TrainingRow]:
    """The best solution."""
    del config, alike
    return [
        TrainingRow(
            question_id=question.question_id, messages=question.prompt, target=solution.text
        )
        for solution in fit[:1]
    ]
