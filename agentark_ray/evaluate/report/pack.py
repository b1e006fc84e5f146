"""Questions, answers and transcripts as compressed text that a page decodes piece by piece.

The list of all questions is one piece, and the words of some hundred questions are another each.
What does not fit into the size that was asked is left out, last questions of the list first, and
counted. Rows go through a file on disk, so that only one block of words is in memory at once.
"""

import json
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from agentark_ray.debate_rows import Row, role, turn_leaves, vote_leaves
from agentark_ray.evaluate.report.questions import (
    CODES,
    RIGHT,
    SECOND,
    Listed,
    Source,
    code,
    counted,
    key_of,
    rows_of,
    set_of,
)
from agentark_ray.page.html import squeeze
from agentark_ray.robustness_config import cell_of

LETTERS = 6_000  # of a question or of what is said in a turn
PREVIEW, ANSWER = 240, 60  # letters of a question and of an answer in the list
TURNS = 64  # of one answer
BLOCK = 300_000  # letters of words, before they are compressed
BATCH_ROWS = 64  # read at once: transcripts may be long
WORDS = (
    *("debate_id", "question_id", "arm", "kind", "replica", "status", "verdict"),
    *("question", "gold", "final_answer", "error_type", "error_message", "output_tokens"),
    *turn_leaves("agent", "role", "round", "text", "answer", "verdict", "output_tokens"),
    *turn_leaves("finish_reason"),
    *vote_leaves("round", "answer", "count", "agents", "verdict"),
)
TABLE = "CREATE TABLE told (rank INTEGER, place TEXT, body TEXT)"
INDEX = "CREATE INDEX by_rank ON told (rank, place)"
Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """What lies in the page, each piece deflated and in base64."""

    index: str
    blocks: tuple[str, ...]
    starts: tuple[int, ...]  # place in the list of each block's first question
    listed: int  # questions in the list
    worded: int  # the first questions of the list, whose words are in the blocks
    worded_by_group: tuple[int, ...]
    shortened: int  # texts that were longer than LETTERS, of which the rest is left out

    @property
    def size(self) -> int:
        """Bytes in the page."""
        return len(self.index) + sum(map(len, self.blocks))


def pack(
    sources: Sequence[Source], listed: Listed, budget: int, distinct: frozenset[str] = frozenset()
) -> Packed:
    """All that fits into `budget` bytes.

    Raises:
        ValueError: not even a list of one question does.
    """
    with tempfile.TemporaryDirectory(prefix="agentark-report-") as folder:
        store = sqlite3.connect(f"{folder}/told.sqlite", isolation_level=None)
        try:
            store.execute("PRAGMA journal_mode=OFF")
            store.execute("PRAGMA synchronous=OFF")
            store.execute(TABLE)
            store.execute("BEGIN")
            shortened = _spill(sources, listed, distinct, store)
            store.execute(INDEX)
            return _pieces(listed, store, budget, shortened)
        finally:
            store.close()


def _spill(
    sources: Sequence[Source],
    listed: Listed,
    distinct: frozenset[str],
    store: sqlite3.Connection,
) -> int:
    """Put what was said about listed questions on disk; how many texts were cut."""
    ranks = {key: rank for rank, key in enumerate(listed.keys)}
    places = {(one.source, one.arm): at for at, one in enumerate(listed.columns)}
    shortened = 0
    for source, row in rows_of(sources, WORDS, BATCH_ROWS):
        rank = ranks.get(key_of(source, row, distinct))
        end = next((end for end in SECOND if row["arm"].endswith(end)), "")
        at = places.get((source, row["arm"].removesuffix(end)))
        if rank is None or at is None:
            continue
        body, cut = _body(row, at, end)
        shortened += cut
        place = f"{bool(end)}{set_of(row) is None}{at:04}{row['kind']}{end}{row['replica']:04}"
        text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
        store.execute("INSERT INTO told VALUES (?, ?, ?)", (rank, place, text))
    return shortened


def _body(row: Row, at: int, end: str) -> tuple[Json, int]:
    """A row for the page, and how many of its texts were cut."""
    question, cut = _cut(row["question"])
    body: Json = {
        "at": at,
        "kind": SECOND.get(end, "main"),
        "replica": row["replica"],
        "question": question,
        "gold": row["gold"],
        "answer": row["final_answer"],
        "code": code(row),
        "tokens": row["output_tokens"],
        "id": row["debate_id"],
    }
    if row["error_type"]:
        body["error"] = f"{row['error_type']}: {row['error_message']}"
    if cell := cell_of(row["kind"]):
        return {**body, "kind": "changed", "change": f"{cell[0].value} {cell[1]:g}"}, cut
    turns = sorted(row["turns"] or (), key=lambda turn: (turn["round"], turn["agent"]))
    said = [_turn(turn) for turn in turns[:TURNS]]
    body["turns"] = [turn for turn, _ in said]
    body["votes"] = [_vote(vote) for vote in row["votes"] or ()]
    if len(turns) > TURNS:
        body["hidden"] = len(turns) - TURNS
    return body, cut + sum(was_cut for _, was_cut in said)


def _turn(turn: Row) -> tuple[Json, int]:
    text, cut = _cut(turn["text"])
    found = {
        "agent": turn["agent"],
        "role": role(turn),
        "round": turn["round"],
        "text": text,
        "answer": turn["answer"],
        "code": CODES[turn["verdict"]],
        "tokens": turn["output_tokens"],
    }
    if turn["finish_reason"] == "length":
        found["limit"] = True
    return found, cut


def _vote(vote: Row) -> Json:
    return {
        **{name: vote[name] for name in ("round", "answer", "count", "agents")},
        "code": CODES[vote["verdict"]],
    }


def _cut(text: str | None) -> tuple[str, int]:
    """At most LETTERS of a text, which says how many more there were; whether there were more."""
    text = text or ""
    if len(text) <= LETTERS:
        return text, 0
    return f"{text[:LETTERS]}\n[... {len(text) - LETTERS:,} more letters are not in this file]", 1


def _questions(store: sqlite3.Connection) -> Iterator[tuple[int, list[Json]]]:
    rows = store.execute("SELECT rank, body FROM told ORDER BY rank, place")
    for rank, of in groupby(rows, key=lambda row: row[0]):
        yield rank, [json.loads(body) for _, body in of]


@dataclass(slots=True, kw_only=True)
class _Blocks:
    """Words of questions, compressed some hundred at a time until the budget is spent."""

    budget: int
    done: list[str] = field(default_factory=list)
    ends: list[int] = field(default_factory=lambda: [0])  # places in the list
    waiting: list[str] = field(default_factory=list)
    letters: int = 0
    size: int = 0

    def add(self, words: str) -> None:
        """The words of the next question of the list."""
        if self.size > self.budget:
            return
        self.waiting.append(words)
        self.letters += len(words)
        if self.letters >= BLOCK:
            self.close()

    def close(self) -> None:
        """End a block. The one that goes beyond the budget is the last; `shrink` gives it up."""
        if not self.waiting:
            return
        self.done.append(squeeze(f"[{','.join(self.waiting)}]"))
        self.ends.append(self.ends[-1] + len(self.waiting))
        self.size += len(self.done[-1])
        self.waiting, self.letters = [], 0

    def shrink(self, budget: int) -> None:
        """Give up the last blocks until all of them fit."""
        while sum(map(len, self.done)) > budget:
            self.done.pop()
            self.ends.pop()


def _pieces(listed: Listed, store: sqlite3.Connection, budget: int, shortened: int) -> Packed:
    heads: list[Json] = []
    blocks = _Blocks(budget=budget)
    for rank, rows in _questions(store):
        assert rank == len(heads), "every listed question has rows"
        heads.append(_head(rows))
        blocks.add(_words(rows))
    blocks.close()
    index, kept = _index(heads, listed, budget)
    blocks.shrink(budget - len(index))
    worded = min(kept, blocks.ends[-1])
    return Packed(
        index=index,
        blocks=tuple(blocks.done),
        starts=tuple(blocks.ends[:-1]),
        listed=kept,
        worded=worded,
        worded_by_group=tuple(counted(listed.group[:worded], len(listed.groups))),
        shortened=shortened,
    )


def _head(rows: Sequence[Json]) -> Json:
    """What the list says of a question: its beginning, and each column's first answer."""
    first = {row["at"]: row for row in reversed(rows) if row["kind"] == "main"}
    return {
        "text": _beginning(rows[0]["question"]),
        "gold": rows[0]["gold"][:ANSWER],
        "answers": {at: (row["answer"] or "")[:ANSWER] for at, row in first.items()},
        "tokens": {at: row["tokens"] for at, row in first.items()},
        "flipped": sorted({row["at"] for row in rows if _flips(row, first)}),
    }


def _beginning(text: str) -> str:
    return text if len(text) <= PREVIEW else f"{text[: PREVIEW - 1]}…"


def _flips(row: Json, first: Mapping[int, Json]) -> bool:
    """Whether a right answer is wrong when the question is changed."""
    clean = first.get(row["at"])
    return row["kind"] == "changed" and bool(clean) and clean["code"] == RIGHT != row["code"]


def _words(rows: Sequence[Json]) -> str:
    """A question in full, with all that was said; a changed one keeps its own text."""
    told = [
        {
            name: value
            for name, value in row.items()
            if name != "gold" and (name != "question" or row["kind"] == "changed")
        }
        for row in rows
    ]
    whole = {"question": rows[0]["question"], "gold": rows[0]["gold"], "rows": told}
    return json.dumps(whole, ensure_ascii=False, separators=(",", ":"))


def _index(heads: Sequence[Json], listed: Listed, budget: int) -> tuple[str, int]:
    """The list of as many questions as fit, and how many these are."""
    kept = len(heads)
    while kept:
        found = squeeze(json.dumps(_columns(heads[:kept], listed), ensure_ascii=False))
        if len(found) <= budget:
            return found, kept
        kept //= 2
    raise ValueError(f"the list of {len(heads):,} questions does not fit into {budget:,} bytes")


def _columns(heads: Sequence[Json], listed: Listed) -> Json:
    n = len(heads)
    return {
        "keys": listed.keys[:n],
        "sets": listed.sets[:n],
        "groups": listed.group[:n],
        "texts": [head["text"] for head in heads],
        "golds": [head["gold"] for head in heads],
        "codes": listed.codes[:n],
        "answers": [
            [head["answers"].get(at, "") for head in heads] for at in range(len(listed.columns))
        ],
        "tokens": [
            [head["tokens"].get(at, 0) for head in heads] for at in range(len(listed.columns))
        ],
        "flipped": [head["flipped"] for head in heads],
    }
