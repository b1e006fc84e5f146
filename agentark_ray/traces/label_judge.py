"""Labels by a judge model, for answers that no grader decides. Pure.

The judge reads question, reference answer (if there is one) and solution, and says true or false,
once or several times. Its verdict on a vote or a final answer is that on the turns which gave it.
"""

import re
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from agentark_ray.debate.layouts import chat
from agentark_ray.debate_rows import role
from agentark_ray.engine.base import EngineDead, PromptTooLong
from agentark_ray.types import (
    SOLVERS,
    DebateStatus,
    Message,
    ModelRef,
    Role,
    Sampling,
    Verdict,
)

TRUE, FALSE = "true", "false"
VOTES_TEMPERATURE = 0.7  # several votes at temperature 0 would be one
TOP_P = 1.0
LEAST_CHARS = 200  # of a text that is cut
SPARE = 1.1  # cut a little more than was too much: tokens are not evenly long
ATTEMPTS = 16  # at cutting

PROMPT = """Question:
{question}

Solution:
{solution}

Is the final answer of this solution right? Check it step by step in your mind, then say true or \
false, nothing else."""
PROMPT_WITH_REFERENCE = """Question:
{question}

Reference answer:
{reference}

Solution:
{solution}

Does the final answer of this solution mean the same as the reference answer? Say true or false, \
nothing else."""
_FIELD = re.compile(r"\{(question|reference|solution)\}")

Row = Mapping[str, Any]


class Scope(StrEnum):
    """Which turns are judged."""

    UNGRADED = "ungraded"  # those for which the grader has nothing to compare with
    ALL = "all"  # all, so that judge and grader can be compared


class TooLong(StrEnum):
    """What to do with a prompt that does not fit into the judge's context."""

    FAIL = "fail"  # the turn has no verdict, and the error says why
    WINDOW = "window"  # its longest text is read without its middle, marked as such


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """Who judges, and how."""

    model: ModelRef
    votes: int = 1  # answers of the judge a solution; most of them are its verdict
    scope: str = Scope.UNGRADED
    too_long: str = TooLong.FAIL
    reference: bool = True  # show the gold answer, where there is one
    max_tokens: int = 16  # output tokens of an answer at most

    @property
    def sampling(self) -> Sampling:
        """Greedy for one vote."""
        temperature = VOTES_TEMPERATURE if self.votes > 1 else 0.0
        return Sampling(
            temperature=temperature,
            top_p=TOP_P,
            max_tokens=self.max_tokens,
            choices=(TRUE, FALSE),
        )

    def texts(self, row: Row, solution: str) -> dict[str, str]:
        """What the prompt is made of."""
        texts = {"question": row["question"], "solution": solution}
        if self.reference and row["gold"] is not None:
            texts["reference"] = row["gold"]
        return texts


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What a judge says about one solution."""

    verdict: str | None  # a Verdict; None with an error
    share: float | None = None  # of the votes that say so
    cut: bool = False  # a text was read without its middle
    error: str | None = None
    failed: bool = False  # with an error that may not come again, unlike a prompt too long


def messages(texts: Mapping[str, str]) -> list[Message]:
    """The prompt."""
    template = PROMPT_WITH_REFERENCE if "reference" in texts else PROMPT
    return chat("", [_FIELD.sub(lambda field: texts[field[1]], template)])


def solutions(row: Row) -> list[int]:
    """Places of the turns that are solutions: also an aggregator's, and a judge's who gives one."""
    roles = [role(turn) for turn in row["turns"] or ()]
    closing = {Role.AGGREGATOR} if Role.AFFIRMATIVE in roles else {Role.AGGREGATOR, Role.JUDGE}
    return [place for place, who in enumerate(roles) if who in SOLVERS or who in closing]


def turns_to_judge(row: Row, label: Row, scope: str) -> list[int]:
    """Places of the turns to judge."""
    places = solutions(row)
    if scope == Scope.ALL:
        return places
    return [place for place in places if label["turns"][place]["graded"] is None]


def said(text: str) -> bool | None:
    """What a judge answered; None for anything but true or false."""
    return {TRUE: True, FALSE: False}.get(text.strip().strip(".\"'").lower())


def decide(texts: Sequence[str], cut: bool) -> Judgement:
    """The verdict of most votes; without most, or without any that can be read, unparsable."""
    counts = Counter(said(text) for text in texts)
    right, wrong = counts[True], counts[False]
    verdict, behind = Verdict.UNPARSABLE, counts[None]
    if right != wrong:
        verdict = Verdict.CORRECT if right > wrong else Verdict.INCORRECT
        behind = max(right, wrong)
    return Judgement(verdict=verdict, share=behind / len(texts), cut=cut)


async def judge_text(
    judge: Judge, row: Row, solution: str, ask: Callable[[list[Message]], Awaitable[Sequence[str]]]
) -> Judgement:
    """The judgement on one solution; `ask` returns the judge's votes. Failures are data.

    Raises:
        EngineDead: the engine is gone.
    """
    whole, removed = judge.texts(row, solution), {}
    too_long = PromptTooLong()
    for _ in range(ATTEMPTS):
        read = {name: without_middle(whole[name], removed.get(name, 0)) for name in whole}
        try:
            return decide(await ask(messages(read)), cut=any(removed.values()))
        except EngineDead:
            raise
        except PromptTooLong as error:
            too_long = error
            if judge.too_long == TooLong.FAIL or not shorter(whole, removed, error):
                break
        except Exception as error:
            return Judgement(verdict=None, error=words(error), failed=True)
    return Judgement(verdict=None, error=words(too_long))


def words(error: BaseException) -> str:
    """An error as it is kept in labels."""
    return f"{type(error).__name__}: {error}"


def shorter(texts: Mapping[str, str], removed: dict[str, int], error: PromptTooLong) -> bool:
    """Say in `removed` how much more of which text to leave out; False if that cannot help.

    Without figures in the error, half of the longest text.
    """
    left = {name: len(text) - removed.get(name, 0) for name, text in texts.items()}
    longest = max(left, key=lambda name: left[name])
    if error.needed is None or error.limit is None:
        more = left[longest] // 2
    else:
        chars_a_token = sum(left.values()) / error.needed
        more = int((error.needed - error.limit) * chars_a_token * SPARE) + 1
    more = min(more, left[longest] - LEAST_CHARS)
    removed[longest] = removed.get(longest, 0) + max(more, 0)
    return more > 0


def without_middle(text: str, removed: int) -> str:
    """The text without `removed` characters in its middle, which a mark stands for."""
    if removed <= 0:
        return text
    head = (len(text) - removed) // 2
    mark = f"\n[... {removed:,} characters left out ...]\n"
    return text[:head] + mark + text[head + removed :]


def judged_label(row: Row, label: Row, judgements: Mapping[int, Judgement], source: str) -> Row:
    """`label` with the judge's verdicts on turns, and those on votes and final answer that follow.

    An answer's verdict is that of most turns that gave it: for a vote in its round, for the final
    answer in the latest round in which somebody gave it.
    """
    if not judgements:
        return label
    turns = list(label["turns"])
    for place, by in judgements.items():
        said_ = {"verdict": by.verdict, "share": by.share, "cut": by.cut, "error": by.error}
        turns[place] = {**turns[place], **said_}
    spoken = [
        (row["turns"][place]["round"], turns[place]["answer"], turns[place]["verdict"])
        for place in solutions(row)
    ]
    errors = [by.error for by in judgements.values() if by.failed]
    final = label["final_answer"]
    rounds = [round_ for round_, answer, _ in spoken if answer == final]
    decided = rounds and row["status"] == DebateStatus.OK
    return {
        **label,
        "source": source,
        "turns": turns,
        "votes": [
            {**vote, "verdict": _of(spoken, vote["round"], vote["answer"])}
            for vote in label["votes"]
        ],
        "verdict": _of(spoken, max(rounds), final) if decided else None,
        "error": errors[0] if errors else label["error"],
    }


def _of(
    spoken: Sequence[tuple[int, str | None, str | None]], round_: int, answer: str | None
) -> str | None:
    verdicts = Counter(verdict for at, given, verdict in spoken if (at, given) == (round_, answer))
    return verdicts.most_common(1)[0][0] if verdicts else None
