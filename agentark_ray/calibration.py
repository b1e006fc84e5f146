"""The confidence from which on a hybrid gives the student's answer, from a run's evaluation."""

from pyarrow import dataset

from agentark_ray.debate_rows import light_rows, turn_leaves
from agentark_ray.evaluate.hybrid import NEVER, Case, Hybrid, calibrate
from agentark_ray.run_folder import RunFolder
from agentark_ray.section import ConfigError
from agentark_ray.students import TRANSCRIPTS, arm_of
from agentark_ray.traces.generate import trace_dataset
from agentark_ray.types import FinishReason, Verdict

COLUMNS = (
    *("question_id", "arm", "kind", "replica", "verdict", "output_tokens"),
    *turn_leaves("mean_logprob", "answer", "finish_reason"),
)


def calibrated(folder: RunFolder, student: str, target_ratio: float) -> Hybrid:
    """The hybrid of a student and the debate, for an accuracy of `target_ratio` x the debate's.

    Raises:
        ConfigError: the run has not been evaluated with both, or the target cannot be reached.
    """
    arm = arm_of(folder, student)
    advice = f"run `agentark evaluate {folder.uri}`, or give hybrid.threshold"
    parts = [f"{TRANSCRIPTS}/base", f"{TRANSCRIPTS}/{arm}"]
    if missing := [part for part in parts if not folder.exists(*part.split("/"))]:
        raise ConfigError(f"{folder.uri}: no answers in {missing}; {advice}")
    try:
        return calibrate(cases([trace_dataset(folder, part) for part in parts], arm), target_ratio)
    except ValueError as error:
        raise ConfigError(f"hybrid of {folder.uri}, student {student!r}: {error}") from None


def cases(stored: list[dataset.Dataset], arm: str) -> list[Case]:
    """Questions that the debate and `arm` answered, in the order of their ids (hashes)."""
    debate: dict[str, tuple[bool, int]] = {}
    student: dict[str, tuple[bool, int, float]] = {}
    for row in light_rows(stored, COLUMNS):
        if row["kind"] != "main" or row["replica"]:
            continue
        right, tokens = row["verdict"] == Verdict.CORRECT, row["output_tokens"]
        if row["arm"] == "debate":
            debate[row["question_id"]] = right, tokens
        elif row["arm"] == arm:
            (turn,) = row["turns"] or [None]
            readable = turn and turn["answer"] and turn["finish_reason"] != FinishReason.LENGTH
            confidence = turn["mean_logprob"] if turn and readable else NEVER
            student[row["question_id"]] = right, tokens, confidence
    return [
        Case(
            confidence=student[question][2],
            student_right=student[question][0],
            debate_right=debate[question][0],
            student_tokens=student[question][1],
            debate_tokens=debate[question][1],
        )
        for question in sorted(debate.keys() & student.keys())
    ]
