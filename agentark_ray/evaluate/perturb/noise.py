"""Noise as of a person in a hurry: typing errors, and stray punctuation marks."""

import random
import re

from agentark_ray.evaluate.perturb.number_words import is_number_word
from agentark_ray.evaluate.perturb.parts import free, in_term, protected, replaced, share_of

_WORD = re.compile(r"(?<![\w'\\$.@#-])[A-Za-z]{4,}(?![\w@-]|\.\w|'\w{2,})")
_GAP = re.compile(r"(?<=\S)(?=[ \t\n])")
MARKS = ".,;:?!"
BESIDE_NUMBERS = ";?"  # the others could make it another number: 5. 3, 5!
# Keys that touch on a QWERTY keyboard.
NEIGHBOURS = {
    "q": "wa", "w": "qes", "e": "wrd", "r": "etf", "t": "ryg", "y": "tuh", "u": "yij", "i": "uok",
    "o": "ipl", "p": "ol", "a": "qsz", "s": "awdx", "d": "sefc", "f": "drgv", "g": "fthb",
    "h": "gyjn", "j": "hukm", "k": "jil", "l": "kop", "z": "asx", "x": "zsdc", "c": "xdfv",
    "v": "cfgb", "b": "vghn", "n": "bhjm", "m": "njk",
}  # fmt: skip


def typos(stem: str, strength: float, rng: random.Random) -> str | None:
    """Typing errors in a share of the words of four letters and more.

    A neighbouring key, two letters swapped, one left out or one doubled; never the first letter,
    never in numbers or number words, and no error makes another word of the question.
    """
    spans = protected(stem)
    words = [
        found
        for found in _WORD.finditer(stem)
        if free(*found.span(), spans)
        and not in_term(stem, *found.span())
        and not found[0].isupper()
        and not is_number_word(found[0])
    ]
    if not words:
        return None
    taken = {word.lower() for word in re.findall(r"[A-Za-z]+", stem)}
    chosen = rng.sample(words, share_of(strength, len(words)))
    return replaced(stem, [(*found.span(), _mistyped(found[0], taken, rng)) for found in chosen])


def _mistyped(word: str, taken: set[str], rng: random.Random) -> str:
    ways = [_neighbour, _swap, _drop, _double]
    while True:
        place = rng.randrange(1, len(word))
        found = rng.choice(ways)(word, place, rng)
        if found.lower() not in taken and not is_number_word(found):
            return found


def _neighbour(word: str, place: int, rng: random.Random) -> str:
    key = rng.choice(NEIGHBOURS[word[place].lower()])
    return word[:place] + (key.upper() if word[place].isupper() else key) + word[place + 1 :]


def _swap(word: str, place: int, rng: random.Random) -> str:
    place = min(place, len(word) - 2)
    return word[:place] + word[place + 1] + word[place] + word[place + 2 :]


def _drop(word: str, place: int, rng: random.Random) -> str:
    return word[:place] + word[place + 1 :]


def _double(word: str, place: int, rng: random.Random) -> str:
    return word[: place + 1] + word[place:]


def punctuation(stem: str, strength: float, rng: random.Random) -> str | None:
    """Punctuation marks after a share of the words (AEDA, 2108.13230; ArithmAttack, 2501.08203).

    A mark stands by itself, with a blank before it; none is put into formulas or code.
    """
    spans = protected(stem)
    gaps = [
        found.start()
        for found in _GAP.finditer(stem)
        if free(found.start(), found.start(), spans)
        and not in_term(stem, found.start(), found.start())
    ]
    if not gaps:
        return None
    chosen = rng.sample(gaps, share_of(strength, len(gaps)))
    return replaced(stem, [(at, at, f" {_mark(stem, at, rng)}") for at in chosen])


def _mark(stem: str, at: int, rng: random.Random) -> str:
    before, after = stem[:at].split()[-1:], stem[at:].split()[:1]
    beside = any(char.isdigit() for word in (*before, *after) for char in word)
    return rng.choice(BESIDE_NUMBERS if beside else MARKS)
