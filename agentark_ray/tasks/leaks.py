"""Training questions that are evaluation questions, word for word or nearly.

Two questions are the same word for word if they agree but for case, Unicode form, blanks, sentence
punctuation and the order of options. They are nearly the same if their numbers and signs of
arithmetic are the same, in the same order (word problems of one template with other numbers are
different questions), and their 3-word shingles have a Jaccard similarity of

- NEAR or more, or
- RENAMED or more, where the gold answer and at least MANY_NUMBERS numbers are the same: such as a
  word problem with other names.

A question about a document is the same only if the document is (nearly) the same too: their
similarity, estimated by the SKETCH smallest hashes of shingles (Broder 1997), is NEAR or more.

Only the evaluation side is indexed; training questions stream past it. Candidates come from MinHash
bands and are then compared exactly: nothing is reported that is not so. Of pairs at
RENAMED one in 80 is missed, of pairs at NEAR fewer than one in a million.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple
from zlib import crc32

from agentark_ray.similar import band_keys, jaccard, numbers, shingles, words
from agentark_ray.tasks.text import split_context, split_options

NEAR = 0.8
RENAMED = 0.6
MANY_NUMBERS = 3
SKETCH = 256

_PUNCTUATION = frozenset('.,;:?"“”')
_SIGNS = frozenset("+*/=<>^×÷≤≥≠±−")  # noqa: RUF001 - the signs of arithmetic
_APOSTROPHES = str.maketrans("‘’", "''")  # noqa: RUF001


class Asked(NamedTuple):
    """What is known of a question."""

    question_id: str
    text: str
    gold: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """A training question that is an evaluation question."""

    train: Asked
    evaluation: Asked
    similarity: float  # RENAMED..1; 1 for word for word


@dataclass(frozen=True, slots=True)
class Print:
    """What is compared of a question: two that agree in all but their tokens may be one."""

    context: str
    tokens: list[str]  # of the question without its context
    numbers: tuple[str, ...]
    signs: tuple[str, ...]  # of arithmetic
    gold: str | None

    @property
    def signature(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        return self.numbers, self.signs

    @property
    def least(self) -> float:
        """The similarity that makes another question nearly this one, at the best."""
        return RENAMED if len(self.numbers) >= MANY_NUMBERS else NEAR

    def same(self, other: "Print", likeness: float) -> bool:
        """Whether two questions with this Jaccard similarity are nearly one."""
        least = self.least if self.gold is not None and self.gold == other.gold else NEAR
        return self.signature == other.signature and likeness >= least


class EvalIndex:
    """The evaluation questions, to be asked which of them a training question is."""

    def __init__(self, questions: Iterable[Asked]) -> None:
        self._questions = list(questions)
        self._prints = [print_of(question) for question in self._questions]
        self._shingles = [shingles(found.tokens) for found in self._prints]
        self._signatures = {found.signature for found in self._prints}
        self._vocabulary = frozenset[str]().union(*self._shingles)
        self._places: dict[str | int, list[int]] = defaultdict(list)
        self._sketches: dict[int, list[int]] = {}
        keys = _keys(self._prints, self._shingles)
        for place, (found, bands) in enumerate(zip(self._prints, keys, strict=True)):
            for key in (" ".join(found.tokens), *bands):
                self._places[key].append(place)

    def leaks(self, questions: Sequence[Asked]) -> list[Leak]:
        """The closest evaluation question of every training question that is one."""
        prints = [print_of(question) for question in questions]
        # Other numbers, another question: most end here, before anything is hashed.
        known = [i for i, found in enumerate(prints) if found.signature in self._signatures]
        sets = {i: shingles(prints[i].tokens) for i in known}
        near = [i for i in known if self._may_be_near(prints[i], sets[i])]
        keys = _keys([prints[i] for i in near], [sets[i] for i in near])
        found = (
            self._closest(questions[i], prints[i], sets[i], bands)
            for i, bands in zip(near, keys, strict=True)
        )
        return [leak for leak in found if leak is not None]

    def _may_be_near(self, found: Print, own: frozenset[str]) -> bool:
        """Not ruled out: |A and B| >= s |A or B| needs a share s of A known to evaluation."""
        return len(own & self._vocabulary) >= found.least * len(own)

    def _closest(
        self, question: Asked, found: Print, own: frozenset[str], bands: Sequence[int]
    ) -> Leak | None:
        candidates = {
            place for key in (" ".join(found.tokens), *bands) for place in self._places.get(key, ())
        }
        likeness = {place: self._likeness(found, own, place) for place in sorted(candidates)}
        place = max(likeness, key=likeness.__getitem__, default=None)
        if place is None or not likeness[place]:
            return None
        return Leak(train=question, evaluation=self._questions[place], similarity=likeness[place])

    def _likeness(self, found: Print, own: frozenset[str], place: int) -> float:
        """The similarity to an evaluation question, 0 if it is another one."""
        other = self._prints[place]
        likeness = jaccard(own, self._shingles[place])
        if found.tokens == other.tokens:
            likeness = 1.0
        elif not found.same(other, likeness):
            return 0.0
        if found.context == other.context:
            return likeness
        documents = _documents_alike(_sketch(found.context), self._sketch(place))
        return min(likeness, documents) if documents >= NEAR else 0.0

    def _sketch(self, place: int) -> list[int]:
        """Of a document that a training question may be about: few are asked for, so kept."""
        if place not in self._sketches:
            self._sketches[place] = _sketch(self._prints[place].context)
        return self._sketches[place]


@lru_cache(8)  # the same document comes with several questions, each with several candidates
def _sketch(document: str) -> list[int]:
    """The smallest hashes of a text's shingles, in order."""
    return sorted({crc32(item.encode()) for item in shingles(words(document))})[:SKETCH]


def _documents_alike(a: list[int], b: list[int]) -> float:
    """The Jaccard similarity, estimated: standard error 0.025 at NEAR, none for short texts."""
    smallest = sorted({*a, *b})[:SKETCH]
    both = {*a} & {*b}
    return sum(item in both for item in smallest) / len(smallest) if smallest else 1.0


def print_of(question: Asked) -> Print:
    """What is compared of a question."""
    context, asked = split_context(question.text)
    stem, options = split_options(asked)
    text = "\n".join([stem, *sorted(options)]).translate(_APOSTROPHES)
    tokens = [token for token in words(text) if token not in _PUNCTUATION]
    signs = () if _SIGNS.isdisjoint(text) and "-" not in text else _signs(tokens)
    return Print(context, tokens, numbers(tokens), signs, question.gold)


def _signs(tokens: Sequence[str]) -> tuple[str, ...]:
    """Signs of arithmetic, in order; a hyphen is one before a number or a single letter."""
    pairs = zip(tokens, [*tokens[1:], ""], strict=True)
    return tuple(
        token
        for token, after in pairs
        if token in _SIGNS or (token == "-" and (after[:1].isdigit() or len(after) == 1))
    )


def _keys(prints: Sequence[Print], sets: Sequence[frozenset[str]]) -> Iterable[list[int]]:
    return band_keys(sets, RENAMED, [found.signature for found in prints])
