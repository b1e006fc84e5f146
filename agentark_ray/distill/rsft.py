"""RSFT: reasoning-enhanced supervised fine-tuning (AgentArk, 2602.03955, section 3).

One row a question: the debate's consensus answer, if it is right, with the best reasoning that led
to it. Best is the right answer the model itself finds most likely (mean log-probability), the
shorter one where equal. The prompt is the one a single agent gets.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from agentark_ray.debate.layouts import ask, chat
from agentark_ray.distill.rows import Drop, TrainingRow
from agentark_ray.tasks.registry import TASKS
from agentark_ray.types import SOLVERS, DebateStatus, FinishReason, Verdict


def rsft_row(trace: Mapping[str, Any]) -> TrainingRow | Drop:
    """The training row of a trace (a row of TRACE_SCHEMA), or why there is none."""
    if trace["status"] != DebateStatus.OK:
        return Drop.FAILED
    if trace["final_answer"] is None:
        return Drop.NO_ANSWER
    if trace["verdict"] != Verdict.CORRECT:
        return Drop.WRONG
    best = _best(trace["turns"])
    if best is None:
        return Drop.TRUNCATED
    return TrainingRow(
        question_id=trace["question_id"],
        messages=chat("", [ask(trace["question"], TASKS[trace["task"]].grader.instruction)]),
        target=best["text"].strip(),
    )


def _best(turns: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    right = [
        turn
        for turn in turns
        if turn["verdict"] == Verdict.CORRECT
        and turn["finish_reason"] == FinishReason.STOP
        and turn["role"] in SOLVERS
    ]
    if not right:
        return None
    return max(right, key=lambda turn: (turn["mean_logprob"], -turn["output_tokens"]))
