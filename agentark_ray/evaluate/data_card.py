"""The data card as the report shows it: bars, lengths and facts, without HTML."""

from collections.abc import Mapping
from typing import Any

from agentark_ray.distill.rows import Drop
from agentark_ray.page.form import MISSING, number, percent

Json = dict[str, Any]

WORDS = {
    "kept": "learned from",
    Drop.FAILED: "debate failed",
    Drop.WRONG: "consensus is wrong",
    Drop.NO_ANSWER: "no answer can be read",
    Drop.UNGRADED: "not graded",
    Drop.TIMEOUT: "grading timed out",
    Drop.NO_RIGHT: "nobody is right",
    Drop.DUPLICATE_QUESTION: "double of another question",
    Drop.TRUNCATED: "cut at the token limit",
    Drop.EMPTY: "empty",
    Drop.TOO_FEW_WORDS: "too few words",
    Drop.TOO_MANY_WORDS: "too many words",
    Drop.REPETITIVE: "repeats itself",
    Drop.OTHER_SCRIPT: "in another script than the question",
    Drop.FALSE_EQUATION: "states a false equation",
    Drop.REFERS: "speaks of other agents",
    Drop.DUPLICATE: "same words as a better one",
    Drop.NEAR_DUPLICATE: "nearly a better one",
    Drop.NOT_CHOSEN: "the question has enough others",
    Drop.TOO_LONG: "longer than the training sequence",
    "solve": "question, solution",
    "correct": "wrong draft, critique, solution",
    "confirm": "right draft, confirmation",
}
COLOURS = {
    **dict.fromkeys(("kept", "solve", "kept_right", "easy"), "good"),
    **dict.fromkeys(("corrected", "correct", "confirm", "medium"), "debate"),
    **dict.fromkeys(("corrupted", "unsolved"), "bad"),
    "hard": "warn",
}
LENGTHS = {
    "steps": "steps of a right solution",
    "words": "words of a row's answer",
    "target_tokens": "tokens of a row's answer",
    "tokens": "tokens of a row",
}


def card_view(card: Mapping[str, Any], trained: str) -> Json | None:
    """What the report shows of a data card (distill/card.py); None for one of another form.

    `trained` is the strategy of the run.
    """
    if "recommended" not in card:
        return None
    solutions = card["solutions"]
    return {
        "recommended": card["recommended"],
        "trained": trained.upper(),
        "bars": [
            _bars("Questions", {"kept": card["kept"], **card["dropped"]}),
            _bars("Right solutions", {"kept": solutions["kept"], **solutions["dropped"]}),
            _bars("Training rows", {**card["rows"], Drop.TOO_LONG: card["rows_too_long"]}),
            _bars("Difficulty", card["difficulty"], "by right first answers"),
            _bars("Agents", card["paths"], "first answer against last"),
            *([_bars("Tasks", card["tasks"])] if len(card["tasks"]) > 1 else []),
        ],
        "lengths": [(text, card["lengths"][name]) for name, text in LENGTHS.items()],
        "facts": _facts(card),
    }


def _bars(title: str, counts: Mapping[str, int], note: str = "") -> Json:
    """{"title", "note", "total", "rows": [{"label", "count", "share" in 0..1, "colour"}]}."""
    total = sum(counts.values())
    rows = [
        {
            "label": WORDS.get(name, name.replace("_", " ")),
            "count": n,
            "share": n / total,
            "colour": COLOURS.get(name, "muted"),
        }
        for name, n in counts.items()
        if n
    ]
    return {"title": title, "note": note, "total": total, "rows": rows}


def _facts(card: Mapping[str, Any]) -> list[tuple[str, str]]:
    diversity, packed = card["diversity"], card.get("packed_sequences")
    facts = [
        ("debates", number(card["traces"])),
        ("tokens", f"{card['tokens']:,}, {card['target_tokens']:,} of them learned"),
        ("packed sequences", MISSING if packed is None else number(packed)),
        ("packing efficiency", percent(card.get("packing_efficiency"))),
        (
            "distance (1 - Jaccard) of two right solutions of a question",
            _distance(diversity["before"]),
        ),
        ("distance of two that are learned", _distance(diversity["after"])),
    ]
    if sampling := card["sampling"]:
        share = percent(sampling["spent"] / sampling["budget"] if sampling["budget"] else None)
        text = f"{share} of {sampling['budget']:,} tokens, {sampling['samples']:,} samples"
        facts.append(("spent of the debates' budget", text))
    return facts


def _distance(value: float | None) -> str:
    return "no question has two" if value is None else f"{value:.3f}"
