"""Order changed where it says nothing: independent sentences, options.

Whether sentences are independent is decided by their words, on the safe side: each must describe a
state (Tom has 3 dogs), refer to nothing outside of itself, and not be what is asked.
"""

import itertools
import random
import re
from collections.abc import Iterator

from agentark_ray.evaluate.perturb.parts import Parts, asks, sentences
from agentark_ray.tasks.text import LETTERS

_STATE = re.compile(
    r"\b(?:has|have|is|are|costs?|weighs?|contains?|holds?|owns?|needs?|charges?|earns?|lives?"
    r"|sells? for|can)\b",
    re.IGNORECASE,
)
# Words that refer to other sentences, or to an order in time.
_REFERS = frozenset(
    [
        "he", "she", "it", "they", "them", "him", "his", "her", "hers", "its", "their", "theirs",
        "himself", "herself", "itself", "themselves", "we", "us", "our", "i", "my", "me", "you",
        "your", "this", "that", "these", "those", "such", "then", "next", "after", "afterwards",
        "before", "later", "earlier", "finally", "first", "last", "second", "third", "initially",
        "originally", "previously", "already", "now", "still", "yet", "again", "until", "till",
        "since", "once", "when", "while", "during", "meanwhile", "if", "unless", "because", "so",
        "thus", "therefore", "hence", "however", "but", "although", "instead", "otherwise", "also",
        "too", "either", "neither", "both", "all", "each", "every", "rest", "remaining",
        "remainder", "left", "other", "others", "another", "same", "different", "former", "latter",
        "respectively", "more", "less", "fewer", "most", "least", "additional", "extra", "further",
        "one", "ones", "none", "there", "here", "together", "total", "altogether", "combined",
        "day", "today", "tomorrow", "yesterday", "morning", "afternoon", "evening", "night", "week",
        "month", "year", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday",
        "sunday", "suppose", "assume", "let", "given", "whom", "whose", "older", "younger",
        "taller", "shorter", "bigger", "smaller", "longer", "heavier", "lighter", "faster",
        "slower", "cheaper", "larger", "higher", "lower", "greater",
    ]
)  # fmt: skip
# What makes some of these harmless: a comparison that is complete, each with what it is of.
_COMPLETE = re.compile(
    r"\b(?:more|less|fewer|\w+er)(?: \w+)? than\b|\beach(?=\.\Z)"
    r"|\b(?:each|every) (?!of\b|one\b|other\b|has\b|have\b|is\b|are\b|costs?\b|weighs?\b"
    r"|contains?\b|holds?\b|needs?\b|charges?\b|earns?\b|day\b|week\b|month\b|year\b)(?=\w)",
    re.IGNORECASE,
)
_DEFINITE = re.compile(r"\bthe (\w+)(?: (\w+))?", re.IGNORECASE)
# Something happens: order counts. Stems; `gives`, `giving` and `given` begin with one.
_HAPPENS = re.compile(
    r"\b(?:giv|gave|buy|bought|sell(?! for| s for)|sold|los|find|found|win|won|eat|ate"
    r"|us(?:e|ed|es|ing)\b|spen|add|remov|tak|took|get|got|receiv|bring|brought|put|break|broke|leav"
    r"|left|lend|lent|borrow|pay|paid|start|begin|began|stop|finish|become|became|decid|return"
    r"|increas|decreas|grow|grew|pick|collect|drop|throw|threw|mov|go\b|goes|went|had|was|were|will"
    r"|did|does)",
    re.IGNORECASE,
)
_ELLIPSIS = re.compile(r"(?<![\d$€£.,])\d[\d,.]*(?:\s*[.!;,]|\s*\Z)")  # Tom finds 3: of what?
# Which of the sentences before is meant depends on their order: Tom has 3. Bob has 4. He buys 2.
_POINTS_BACK = re.compile(
    r"\b(?:he|she|it|him|her|hers|his|its|himself|herself|itself|this|such|former|latter|previous"
    r"|respectively|first|second|third|last)\b|\b(?:more|others?|another|rest)(?=\s*[.,;!?])",
    re.IGNORECASE,
)
_ABOUT_OTHERS = re.compile(
    r"\b(?:all|none|both|neither|either|any|some|more than one|two|three) of (?:the|th[eo]se|them)"
    r"|\b(?:above|below|preceding|following|options?|choices?|answers?)\b"
    r"|\b(?:both|neither|either|only)?\s*\(?[A-J]\)?\s*(?:and|or|nor|&|,)\s*\(?[A-J]\)?(?!\w)"
    r"|\Aboth\b|\Aneither\b|\Acannot be\b|\Anone\b|\Aall\b",
    re.IGNORECASE,
)
_LETTER = re.compile(r"\b(?:options?|choices?|answers?|statements?) \(?[A-J]\b")


def reordered(stem: str, rng: random.Random) -> str | None:
    """Neighbouring independent sentences in another order, none later pointing back at one."""
    spans = sentences(stem)
    texts = [stem[start:end] for start, end in spans]
    pointing = [place for place, text in enumerate(texts) if _POINTS_BACK.search(text)]
    last = max(pointing, default=0)
    runs = [run for run in _runs(texts) if len(run) > 1 and last < run.stop]
    if not runs:
        return None
    new = list(texts)
    for run in runs:
        order = list(run)
        while order == list(run):
            rng.shuffle(order)
        for place, old in zip(run, order, strict=True):
            new[place] = texts[old]
    gaps = [stem[end:start] for (_, end), (start, _) in itertools.pairwise(spans)]
    body = "".join(text + gap for text, gap in zip(new, [*gaps, ""], strict=True))
    return stem[: spans[0][0]] + body + stem[spans[-1][1] :]


def _runs(texts: list[str]) -> Iterator[range]:
    """Places of neighbouring independent sentences; the question and all after it are none."""
    start = 0
    last = next((i for i, text in enumerate(texts) if asks(text)), len(texts) - 1)
    for place in range(last + 1):
        if place == last or not independent(texts[place]):
            yield range(start, place)
            start = place + 1
        elif any(_meet(texts[place], texts[other]) for other in range(start, place)):
            yield range(start, place)
            start = place


def _meet(a: str, b: str) -> bool:
    """Whether one sentence speaks of "the" thing that the other one names."""
    return any(
        word[:4].lower() in other.lower()  # the dogs, a dog
        for one, other in ((a, b), (b, a))
        for found in _DEFINITE.findall(one)
        for word in found
        if word
    )


def independent(sentence: str) -> bool:
    """Whether a sentence describes a state and refers to nothing outside of itself."""
    words = set(re.findall(r"[a-z]+", _COMPLETE.sub("", sentence).lower()))
    return (
        sentence.endswith(".")
        and sentence[:1].isupper()
        and bool(_STATE.search(sentence))
        and not words & _REFERS
        and not _HAPPENS.search(sentence)
        and not _ELLIPSIS.search(sentence)
    )


def shuffled(parts: Parts, gold: str, rng: random.Random) -> tuple[Parts, dict[str, str]] | None:
    """The options in another order, in which the right one has another letter.

    Returns:
        The parts, and every letter's new one. None where there are no options, the right one is
        not among them, or an option speaks of others (all of the above).
    """
    options = parts.options
    letters = LETTERS[: len(options)]
    if len(gold) != 1 or gold not in letters or _LETTER.search(parts.stem):
        return None
    if any(not option or _ABOUT_OTHERS.search(option) for option in options):
        return None
    order = list(range(len(options)))
    right = letters.index(gold)
    while order[right] == right:
        rng.shuffle(order)
    new = tuple(options[old] for old in order)
    moved = {letters[old]: letters[place] for place, old in enumerate(order)}
    return Parts(context=parts.context, stem=parts.stem, options=new), moved
