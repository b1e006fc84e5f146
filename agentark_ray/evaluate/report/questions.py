"""Which questions a report lists, and in which order: what to look at first comes first.

One pass over verdicts. Memory does not grow with the number of questions beyond `most`: of more
than that, those with the least hashes are kept, which is a random sample and the same for all arms.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from pyarrow import dataset

from agentark_ray.debate_rows import Row, light_rows
from agentark_ray.evaluate.tally import CHECK, PEER
from agentark_ray.robustness_config import cell_of, ood_of
from agentark_ray.types import DebateStatus, Verdict

HELD_OUT = "held out"
NAMES = ("question_id", "arm", "kind", "replica", "status", "verdict")
FAILED, PARTLY, UNGRADED, ABSENT = "f", "p", "n", "-"
CODES: Mapping[str | None, str] = {
    Verdict.CORRECT: "c",
    Verdict.INCORRECT: "w",
    Verdict.UNPARSABLE: "u",
    Verdict.TIMEOUT: "t",
    None: UNGRADED,
}
RIGHT = CODES[Verdict.CORRECT]
_NO_ANSWER = {FAILED, *(CODES[verdict] for verdict in (Verdict.UNPARSABLE, Verdict.TIMEOUT))}
SECOND = {CHECK: "check", PEER: "peer"}
Fits = Callable[[str, str, str], bool]  # of the letters of two columns and of all


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One run, as its transcripts."""

    name: str
    transcripts: Sequence[dataset.Dataset]
    arms: Sequence[str]  # to show, in this order
    student: str  # the arm that the gates were asked of


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One arm of one run."""

    source: int
    arm: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Questions of one kind, by what two columns make of them."""

    title: str
    questions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """The questions of a report, what to look at first before others."""

    columns: tuple[Column, ...]
    lead: tuple[int, int] | None  # the columns whose difference decides the order
    keys: tuple[str, ...]
    sets: tuple[str, ...]  # of each: held out, or a set of another distribution
    codes: tuple[str, ...]  # of each: a letter for every column
    group: tuple[int, ...]  # of each
    groups: tuple[Group, ...]
    total: int  # with those that were not kept


@dataclass(slots=True, kw_only=True)
class _Seen:
    set: str
    codes: dict[int, str] = field(default_factory=dict)  # column -> a letter an answer


def code(row: Row) -> str:
    """A letter for what became of an answer."""
    return CODES[row["verdict"]] if row["status"] == DebateStatus.OK else FAILED


def key_of(source: int, row: Row, distinct: frozenset[str]) -> str:
    """What names a question: its id, with its set if it is another one than the held-out one.

    An id in `distinct` means another question in every run.
    """
    found, other = row["question_id"], ood_of(row["kind"])
    if other:
        return f"{found} ({other})"
    return f"{found} ({source + 1})" if found in distinct else found


def columns(sources: Sequence[Source]) -> tuple[Column, ...]:
    """All arms of all runs."""
    return tuple(
        Column(source=number, arm=arm) for number, one in enumerate(sources) for arm in one.arms
    )


def lead(sources: Sequence[Source], shown: Sequence[Column]) -> tuple[int, int] | None:
    """Student and debate of one run, or the students of the first two."""
    wanted = [(0, sources[0].student), (0, "debate")]
    if len(sources) > 1:
        wanted[1] = (1, sources[1].student)
    places = {(one.source, one.arm): at for at, one in enumerate(shown)}
    first, second = (places.get(one) for one in wanted)
    return None if first is None or second is None else (first, second)


def set_of(row: Row) -> str | None:
    """The set that a row answers a question of, as it is; None for rows that do something else."""
    if row["arm"].endswith(tuple(SECOND)):
        return None
    if row["kind"] == "main":
        return HELD_OUT
    return ood_of(row["kind"])


def rows_of(
    sources: Sequence[Source], names: Sequence[str], batch: int
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Every row of every run, with the run's number; those of the latency probe are left out."""
    for number, one in enumerate(sources):
        for row in light_rows(one.transcripts, names, batch):
            if row["kind"] == "main" or cell_of(row["kind"]) or ood_of(row["kind"]):
                yield number, row


def list_questions(
    sources: Sequence[Source], titles: Sequence[str], most: int, distinct: frozenset[str]
) -> Listed:
    """The questions in the order in which they are shown.

    Args:
        titles: of the two columns that decide the order.
        most: questions kept at most.
        distinct: ids that name different questions in different runs.
    """
    shown = columns(sources)
    places = {(one.source, one.arm): at for at, one in enumerate(shown)}
    seen: dict[str, _Seen] = {}
    counts: dict[tuple[int, str], int] = {}
    limit = 1 << 64
    for source, row in rows_of(sources, NAMES, 1_000):
        found, at = set_of(row), places.get((source, row["arm"]))
        if found is None or at is None:
            continue
        if not row["replica"]:
            counts[at, found] = counts.get((at, found), 0) + 1
        key = key_of(source, row, distinct)
        if _hash(key) >= limit:
            continue
        of = seen.setdefault(key, _Seen(set=found)).codes
        of[at] = of.get(at, "") + code(row)
        if len(seen) > 2 * most:
            limit = _prune(seen, most)
    if len(seen) > most:
        limit = _prune(seen, most)
    total = len(seen) if limit == 1 << 64 else _most_asked(counts)
    return _ordered(seen, shown, lead(sources, shown), titles, total)


def _hash(key: str) -> int:
    return int.from_bytes(blake2b(key.encode(), digest_size=8).digest(), "big")


def _prune(seen: dict[str, _Seen], most: int) -> int:
    """Keep the questions with the least hashes; what the others' hashes are not less than."""
    limit = sorted(map(_hash, seen))[most]
    for key in [key for key in seen if _hash(key) >= limit]:
        del seen[key]
    return limit


def _most_asked(counts: Mapping[tuple[int, str], int]) -> int:
    """Of every set, the questions of the arm that answered most."""
    return sum(
        max(n for (_, of), n in counts.items() if of == name)
        for name in dict.fromkeys(of for _, of in counts)
    )


def _joined(letters: str) -> str:
    """One letter for several answers to a question."""
    if RIGHT not in letters:
        return letters[0]
    return RIGHT if set(letters) == {RIGHT} else PARTLY


def _ordered(
    seen: Mapping[str, _Seen],
    shown: tuple[Column, ...],
    pair: tuple[int, int] | None,
    titles: Sequence[str],
    total: int,
) -> Listed:
    kinds: list[tuple[str, Fits]] = [("All", lambda a, b, all_: True)]
    if pair:
        kinds = _kinds(titles)
    rows: list[tuple[int, bool, int, str, str]] = []
    for key, one in seen.items():
        codes = "".join(
            _joined(one.codes[at]) if at in one.codes else ABSENT for at in range(len(shown))
        )
        first, second = (codes[at] for at in pair) if pair else ("", "")
        group = next(at for at, (_, fits) in enumerate(kinds) if fits(first, second, codes))
        rows.append((group, one.set != HELD_OUT, _hash(key), key, codes))
    rows.sort()
    return Listed(
        columns=shown,
        lead=pair,
        keys=tuple(row[3] for row in rows),
        sets=tuple(seen[row[3]].set for row in rows),
        codes=tuple(row[4] for row in rows),
        group=tuple(row[0] for row in rows),
        groups=tuple(
            Group(title=title, questions=sum(row[0] == at for row in rows))
            for at, (title, _) in enumerate(kinds)
        ),
        total=total,
    )


def _kinds(titles: Sequence[str]) -> list[tuple[str, Fits]]:
    """Groups of questions by the letters of the two leading columns, the first that fits."""
    first, second = titles
    return [
        (f"{first} wrong, {second} right", lambda a, b, _: a not in (RIGHT, ABSENT) and b == RIGHT),
        (f"{first} right, {second} wrong", lambda a, b, _: a == RIGHT and b not in (RIGHT, ABSENT)),
        ("Failed or no answer in some arm", lambda a, b, all_: bool(set(all_) & _NO_ANSWER)),
        ("Both wrong", lambda a, b, _: not {a, b} & {RIGHT, ABSENT}),
        ("Both right", lambda a, b, _: a == b == RIGHT),
        ("Others", lambda a, b, _: True),
    ]


def counted(groups: Iterable[int], of: int) -> list[int]:
    """How often each of `of` groups is there."""
    found = [0] * of
    for group in groups:
        found[group] += 1
    return found
