"""Training rows: what every strategy produces from traces, and why something gave none."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from agentark_ray.types import Message


class Drop(StrEnum):
    """Why a question, a right solution or a row is not learned from."""

    # of a question
    FAILED = "failed"  # no debate on it ended with status ok
    WRONG = "wrong_consensus"
    NO_ANSWER = "no_answer"  # nobody gave an answer that can be read
    UNGRADED = "ungraded"  # there is no verdict
    TIMEOUT = "grading_timeout"  # the grader gave up: nothing is known
    NO_RIGHT = "no_right_solution"
    DUPLICATE_QUESTION = "duplicate_question"
    # of a right solution; of a question, if it says so of its best one
    TRUNCATED = "truncated"  # cut at the token limit
    EMPTY = "empty"
    TOO_FEW_WORDS = "too_few_words"
    TOO_MANY_WORDS = "too_many_words"
    REPETITIVE = "repetitive"
    OTHER_SCRIPT = "other_script"  # not in the question's script
    FALSE_EQUATION = "false_equation"  # right by luck, says an equation that does not hold
    REFERS = "refers_to_others"  # speaks of solutions that the student does not see
    DUPLICATE = "duplicate"  # the same words as a better solution of the question
    NEAR_DUPLICATE = "near_duplicate"
    NOT_CHOSEN = "not_chosen"  # the question has enough others
    # of a row
    TOO_LONG = "too_long"  # longer than the training sequence


class RowKind(StrEnum):
    """What a row teaches."""

    SOLVE = "solve"  # question -> solution
    CORRECT = "correct"  # question, wrong draft, "check it" -> critique and right solution
    CONFIRM = "confirm"  # question, right draft, "check it" -> no mistake, the same solution


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRow:
    """A prompt and the answer to be learned for it."""

    question_id: str
    messages: Sequence[Message]  # the prompt, as a single agent is asked
    target: str
    kind: RowKind = RowKind.SOLVE
