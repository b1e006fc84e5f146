"""`perturb`: a question changed in one way, at one strength, decided by a seed.

What keeps its meaning keeps its gold answer: typos, punctuation, number_words, irrelevant, renamed,
reordered and options (the letter moves with the right option). injection and peer ask for or claim
something wrong; the right answer stays the right one. Questions about a document are changed in the
question, never in the document.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from agentark_ray.evaluate.perturb import noise, order, planted
from agentark_ray.evaluate.perturb.names import renamed
from agentark_ray.evaluate.perturb.number_words import number_words
from agentark_ray.evaluate.perturb.parts import Parts, take_apart
from agentark_ray.robustness_config import Kind, check_strength
from agentark_ray.tasks.registry import TASKS
from agentark_ray.tasks.wrong import wrong_answer
from agentark_ray.types import Question

# A changed stem, or None where the change cannot be made.
Change = Callable[[str, float, random.Random], str | None]
_STEMS: dict[Kind, Change] = {
    Kind.TYPOS: noise.typos,
    Kind.PUNCTUATION: noise.punctuation,
    Kind.NUMBER_WORDS: number_words,
    Kind.IRRELEVANT: planted.irrelevant,
    Kind.REORDERED: lambda stem, strength, rng: order.reordered(stem, rng),
}
_FREE_TEXT = ("short", "summary")  # graders of answers that are words of the question or document


def perturb(question: Question, kind: Kind, strength: float, seed: int) -> Question | None:
    """The question changed; the same for the same arguments. Its id stays.

    Returns:
        None where the kind does not apply: there is nothing to change, it might change the answer,
        or no wrong answer is known to plant.

    Raises:
        ValueError: the kind cannot be had with this strength.
    """
    check_strength(kind, strength)
    key = f"{seed}\0{kind}\0{strength:g}\0{question.question_id}"
    rng, parts = random.Random(key), take_apart(question.text)
    match kind:
        case Kind.REPEAT:
            return question
        case Kind.OPTIONS:
            return _shuffled(question, parts, rng)
        case Kind.RENAMED:
            return _renamed(question, parts, rng)
        case Kind.INJECTION:
            stem = planted.injection(parts.stem, _wrong(question, key), rng)
        case Kind.PEER:
            return _with_peers(question, _wrong(question, key), strength)
        case _:
            stem = _STEMS[kind](parts.stem, strength, rng)
    if stem is None or stem == parts.stem:
        return None
    return replace(question, text=replace(parts, stem=stem).text())


def _wrong(question: Question, key: str) -> str | None:
    return wrong_answer(question, TASKS[question.task].grader.name, key)


def _with_peers(question: Question, wrong: str | None, strength: float) -> Question | None:
    """What peers say comes last, below the options: it names one of them."""
    if wrong is None:
        return None
    return replace(question, text=planted.peer(question.text, wrong, strength))


def _renamed(question: Question, parts: Parts, rng: random.Random) -> Question | None:
    if TASKS[question.task].grader.name in _FREE_TEXT:
        return None
    found = renamed(parts, " ".join(_right(question)), rng)
    return None if found is None else replace(question, text=found.text())


def _shuffled(question: Question, parts: Parts, rng: random.Random) -> Question | None:
    if question.gold is None or TASKS[question.task].grader.name != "choice":
        return None
    found = order.shuffled(parts, question.gold, rng)
    if found is None:
        return None
    changed, moved = found
    if any(alias not in moved for alias in question.aliases):
        return None
    return replace(
        question,
        text=changed.text(),
        gold=moved[question.gold],
        aliases=tuple(moved[alias] for alias in question.aliases),
    )


def _right(question: Question) -> Sequence[str]:
    return (*([] if question.gold is None else [question.gold]), *question.aliases)
