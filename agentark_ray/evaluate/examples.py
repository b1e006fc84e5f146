"""Three debates worth reading: one corrected, one the student has learnt, one gone wrong.

Choosing needs verdicts and votes only, so that texts are read for the chosen questions alone.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyarrow import dataset

from agentark_ray.debate_rows import light_rows
from agentark_ray.evaluate.transcripts import ROW, VOTES, full_rows
from agentark_ray.types import DebateStatus, Verdict

Row = Mapping[str, Any]  # a row of the trace schema, or its columns ROW and votes


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A question whose debate is shown, and why."""

    question_id: str
    title: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What choosing knows of one question."""

    ok: bool
    right: bool  # the debate's final answer
    first_right: bool  # the leading answer of its first round
    first_agreement: float  # share of agents, 0..1
    last_agreement: float
    single: bool | None  # right; None if the arm did not answer
    student: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """A kind of example: title, explanation, and how to know it."""

    title: str
    why: str
    fits: Callable[[_Seen], bool]


# For each of the three places: what is wanted, best first.
PLACES: tuple[tuple[_Wanted, ...], ...] = (
    (
        _Wanted(
            title="The debate corrects a wrong vote",
            why="The leading answer of round 1 was wrong; reading each other put it right.",
            fits=lambda seen: seen.right and not seen.first_right,
        ),
        _Wanted(
            title="The debate wins over the agents that were wrong",
            why="The leading answer was right from the start and more agents came to agree.",
            fits=lambda seen: seen.right and seen.last_agreement > seen.first_agreement,
        ),
    ),
    (
        _Wanted(
            title="The student is right where a single answer is wrong",
            why="The untrained model alone is wrong here; the student needs one answer, no debate.",
            fits=lambda seen: seen.student is True and seen.single is False and seen.right,
        ),
        _Wanted(
            title="All agents agree at once",
            why="Every agent gave the right answer in round 1: a debate adds nothing here.",
            fits=lambda seen: seen.right and seen.first_right and seen.first_agreement == 1,
        ),
    ),
    (
        _Wanted(
            title="The debate talks itself out of the right answer",
            why="The leading answer of round 1 was right; the debate ends on a wrong one.",
            fits=lambda seen: seen.ok and not seen.right and seen.first_right,
        ),
        _Wanted(
            title="The debate ends on a wrong answer",
            why="The agents disagreed and the vote went to a wrong answer.",
            fits=lambda seen: seen.ok and not seen.right and seen.first_agreement < 1,
        ),
        _Wanted(
            title="All agents agree on a wrong answer",
            why="Agreement is no proof: every agent gave the same wrong answer in round 1.",
            fits=lambda seen: seen.ok and not seen.right,
        ),
        _Wanted(
            title="The debate failed",
            why="An error ended it; it counts as a wrong answer.",
            fits=lambda seen: not seen.ok,
        ),
    ),
)


def choose_examples(rows: Iterable[Row]) -> list[Example]:
    """At most one example a place, on different questions; ties go to the least question id.

    Choosing again among only the chosen questions' rows gives the same examples.
    """
    seen = _seen(rows)
    chosen: dict[str, Example] = {}
    for place in PLACES:
        for wanted in place:
            fits = [q for q in seen if q not in chosen and wanted.fits(seen[q])]
            if fits:
                least = min(fits)
                chosen[least] = Example(question_id=least, title=wanted.title, why=wanted.why)
                break
    return list(chosen.values())


def read_examples(transcripts: Sequence[dataset.Dataset]) -> list[dict[str, Any]]:
    """All main rows, texts included, of the questions that `choose_examples` takes."""
    chosen = choose_examples(light_rows(transcripts, (*ROW, *VOTES)))
    return full_rows(transcripts, [example.question_id for example in chosen])


def _seen(rows: Iterable[Row]) -> dict[str, _Seen]:
    """By question id, for every question that was debated."""
    right: dict[str, dict[str, bool]] = {"single": {}, "student": {}}
    debates: dict[str, tuple[bool, bool, list[tuple[float, bool]]]] = {}
    for row in rows:
        if row["kind"] != "main" or row["replica"]:
            continue
        question_id, correct = row["question_id"], row["verdict"] == Verdict.CORRECT
        if row["arm"] in right:
            right[row["arm"]][question_id] = correct
        elif row["arm"] == "debate":
            debates[question_id] = (row["status"] == DebateStatus.OK, correct, _votes(row))
    return {
        question_id: _Seen(
            ok=ok,
            right=ok and correct,
            first_right=bool(votes) and votes[0][1],
            first_agreement=votes[0][0] if votes else 0.0,
            last_agreement=votes[-1][0] if votes else 0.0,
            single=right["single"].get(question_id),
            student=right["student"].get(question_id),
        )
        for question_id, (ok, correct, votes) in debates.items()
    }


def _votes(row: Row) -> list[tuple[float, bool]]:
    """(agreement, right) by round."""
    ordered = sorted(row["votes"] or (), key=lambda vote: vote["round"])
    return [
        (vote["count"] / vote["agents"], vote["verdict"] == Verdict.CORRECT) for vote in ordered
    ]
