"""One stored debate: find it among many, and what each turn changed. No rendering."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import pyarrow.compute as pc
from pyarrow import dataset

from agentark_ray.config import ConfigError
from agentark_ray.debate_rows import role
from agentark_ray.types import Verdict

Row = Mapping[str, Any]
TOKENS = ("output_tokens", "prompt_tokens", "cached_tokens")
HEAD = ("debate_id", "question_id", "arm", "kind", "model", "question", "gold")
OUTCOME = ("final_answer", "verdict", "status", "stop_reason", "error_type", "error_message")


def find_by_id(traces: dataset.Dataset, debate_id: str) -> dict[str, Any]:
    """The row of a debate; only the ids of the other debates are read.

    Raises:
        ConfigError: there is none; the message has an id that exists.
    """
    found = _first(traces, dataset.field("debate_id") == debate_id)
    if found is None:
        raise ConfigError(f"no debate {debate_id!r}; an id that exists: {_some_id(traces)!r}")
    return found


def find_by_question(traces: dataset.Dataset, text: str) -> dict[str, Any]:
    """The first row whose question contains the text, in any case of letters.

    Raises:
        ConfigError: there is none.
    """
    match = pc.match_substring  # pyright: ignore[reportAttributeAccessIssue] - made on import
    contains = match(dataset.field("question"), text, ignore_case=True)
    found = _first(traces, contains)
    if found is None:
        raise ConfigError(f"no debate on a question that contains {text!r}")
    return found


def find_by_index(traces: dataset.Dataset, index: int) -> dict[str, Any]:
    """The row at a position, from 0, in the order of the files.

    Raises:
        ConfigError: there are not that many.
    """
    skipped = 0
    for fragment in traces.get_fragments():
        rows = fragment.count_rows()
        if 0 <= index - skipped < rows:
            return fragment.take([index - skipped]).to_pylist()[0]
        skipped += rows
    raise ConfigError(f"--index {index}: there are {skipped} debates, numbered from 0")


def _first(traces: dataset.Dataset, wanted: Any) -> dict[str, Any] | None:
    """The first row that fits: its file is found by light columns, then read alone."""
    for batch in traces.to_batches(columns=["__filename"], filter=wanted):
        if batch.num_rows:
            path = batch["__filename"][0].as_py()
            fragment = next(f for f in traces.get_fragments() if f.path == path)
            return fragment.head(1, filter=wanted).to_pylist()[0]
    return None


def _some_id(traces: dataset.Dataset) -> str | None:
    return next(iter(traces.head(1, columns=["debate_id"])["debate_id"].to_pylist()), None)


def debate_view(row: Row, prompts: bool = False) -> dict[str, Any]:
    """A trace as it is shown: {"debate_id", .., "rounds": [{"round", "vote", "turns"}], tokens}.

    Rounds are numbered from 0, as stored. A turn's `change` is `change(before, turn)` against the
    same speaker's turn before, null for a first turn; `messages` are there with `prompts` only.
    """
    votes = {vote["round"]: vote for vote in row["votes"] or ()}
    models = row.get("models")  # of every speaker; since schema version 2
    turns: dict[int, list[dict[str, Any]]] = defaultdict(list)
    before: dict[tuple[str, int], Row] = {}
    for turn in sorted(row["turns"] or (), key=lambda turn: turn["round"]):
        speaker = role(turn), turn["agent"]
        model = models[turn["agent"]] if models else row["model"]
        compared = change(before.get(speaker), turn)
        view = {**turn, "role": role(turn), "model": model, "change": compared}
        if not prompts:
            del view["messages"]
        turns[turn["round"]].append(view)
        before[speaker] = turn
    return {
        **{name: row[name] for name in (*HEAD, *OUTCOME, *TOKENS, "wall_s")},
        "rounds": [
            {"round": round_, "vote": votes.get(round_), "turns": turns[round_]}
            for round_ in sorted(turns)
        ],
    }


def change(before: Row | None, turn: Row) -> str | None:
    """kept, corrected, corrupted or changed, against the turn before; None if there is none.

    Two right answers are the same answer, however they are written.
    """
    if before is None:
        return None
    was, is_ = (said["verdict"] == Verdict.CORRECT for said in (before, turn))
    if was != is_:
        return "corrected" if is_ else "corrupted"
    return "kept" if is_ or before["answer"] == turn["answer"] else "changed"
