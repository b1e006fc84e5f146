"""Likeness of texts without a model: words, shingles, Jaccard, and MinHash bands for many texts.

Few texts are compared exactly (`jaccard`, `jaccard_matrix`); among many, `band_keys` finds the
pairs worth comparing (Broder 1997; banding as in Leskovec et al., Mining of Massive Datasets, 3.4).
"""

import hashlib
import re
import unicodedata
from collections.abc import Collection, Hashable, Iterator, Sequence, Set
from typing import Any

import numpy as np

PERMUTATIONS = 128
RECALL = 0.95  # of pairs exactly at the threshold; of pairs above it more
SHINGLE = 3  # words

_UNSPACED = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"  # scripts that put no blanks between words
_WORD = re.compile(rf"[{_UNSPACED}]|\d+(?:[.,]\d+)*|(?:(?![{_UNSPACED}])[^\W\d])+|[^\w\s]")
_NUMERAL_WORDS = """
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
    sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety
    hundred thousand million billion half third quarter once twice thrice double triple dozen
    first second fourth fifth sixth seventh eighth ninth tenth
"""
_ASCII_WORD = re.compile(r"\d+(?:[.,]\d+)*|[a-z_]+|[^\w\s]")  # the same, at twice the speed
_NUMERALS = frozenset(_NUMERAL_WORDS.split())


def words(text: str) -> list[str]:
    """Words, numbers and single signs, in order, without regard to case and Unicode form."""
    if text.isascii():
        return _ASCII_WORD.findall(text.lower())
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def numbers(tokens: Sequence[str]) -> tuple[str, ...]:
    """The numbers among `words`, in order: digits without thousands separators, and numerals.

    Two word problems that differ in them are different problems, however alike they read.
    """
    return tuple(
        token.replace(",", "") for token in tokens if token[0].isdigit() or token in _NUMERALS
    )


def shingles(tokens: Sequence[str], size: int = SHINGLE) -> frozenset[str]:
    """Every run of `size` tokens; all tokens together if they are fewer, nothing if none."""
    if len(tokens) <= size:
        return frozenset([" ".join(tokens)] if tokens else [])
    return frozenset(" ".join(tokens[i : i + size]) for i in range(len(tokens) - size + 1))


def jaccard(a: Set[Hashable], b: Set[Hashable]) -> float:
    """Shared over all elements, 0..1; two empty sets are equal."""
    both = len(a & b)
    either = len(a) + len(b) - both
    return both / either if either else 1.0


def jaccard_matrix(sets_N: Sequence[Collection[Hashable]]) -> np.ndarray:
    """`jaccard` of every pair, as an array of shape (N, N)."""
    places: dict[Hashable, int] = {}
    rows_N = [[places.setdefault(item, len(places)) for item in items] for items in sets_N]
    member_N_V = np.zeros((len(sets_N), len(places)), dtype=np.float32)
    for row, columns in enumerate(rows_N):
        member_N_V[row, columns] = 1
    both_N_N = member_N_V @ member_N_V.T
    size_N = member_N_V.sum(axis=1)
    either_N_N = size_N[:, None] + size_N[None, :] - both_N_N
    return np.where(either_N_N > 0, both_N_N / np.maximum(either_N_N, 1), 1.0)


def band_rows(threshold: float) -> int:
    """Rows of a band, as many as keep RECALL at the threshold: long bands meet by chance less."""
    fits = (
        r
        for r in range(PERMUTATIONS, 1, -1)
        if 1 - (1 - threshold**r) ** (PERMUTATIONS // r) >= RECALL
    )
    return next(fits, 1)


def band_keys(
    sets_N: Sequence[Set[str]], threshold: float, salts_N: Sequence[Any]
) -> Iterator[list[int]]:
    """For every set the 64-bit keys of its bands: sets that are alike share one, with RECALL.

    Sets with different salts never share one (but for one in 2^64); empty sets have no keys.
    """
    from datasketch import MinHash  # imports scipy, which takes a moment

    rows = band_rows(threshold)
    encoded = ([item.encode() for item in items] for items in sets_N)
    hashes = MinHash.generator(encoded, num_perm=PERMUTATIONS)
    for items, salt, minhash in zip(sets_N, salts_N, hashes, strict=True):
        values = minhash.hashvalues if items else minhash.hashvalues[:0]
        yield [
            _key(repr((start, salt)).encode() + values[start : start + rows].tobytes())
            for start in range(0, len(values) - rows + 1, rows)
        ]


def _key(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big", signed=True)
