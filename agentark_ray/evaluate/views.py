"""What the report's template shows, as plain values: no HTML here, and no arithmetic there."""

from collections.abc import Mapping, Sequence
from typing import Any

from agentark_ray.evaluate.decision import p_text
from agentark_ray.evaluate.examples import Example, choose_examples
from agentark_ray.evaluate.gates import REGRESSION
from agentark_ray.evaluate_config import GREEDY
from agentark_ray.page.form import MISSING, number, percent
from agentark_ray.types import DebateStatus, Verdict

Json = dict[str, Any]
Row = Mapping[str, Any]

AGENTS_SHOWN = 8
FEW_QUERIES = 100  # below it, a p99 is little more than the slowest query
LABELS = {
    "single": "Single answer",
    "self_consistency": "Self-consistency",
    "debate": "Debate",
    "student": "Student",
}
GATE_MARKS = {"passed": ("good", "pass"), "failed": ("bad", "fail"), "open": ("warn", "open")}
DECISIONS = {
    "adopt": ("Adopt", "The student can replace the debate."),
    "hybridize": ("Hybridize", "The student answers first; the debate takes over when in doubt."),
    "continue": ("Continue", "Keep the debate; the student is not ready."),
}
GATES = {
    "accuracy_ratio": ("Accuracy against the debate", "at least", "{:.3f}", "{:g}"),
    "token_ratio": ("Output tokens against the debate", "at most", "{:.3f}", "{:g}"),
    "p95_ms": ("p95 latency", "less than", "{:,.1f} ms", "{:,g} ms"),
    "p99_ms": ("p99 latency", "less than", "{:,.1f} ms", "{:,g} ms"),
    "adversarial_failure": ("Answers that changed questions flip", "less than", "{:.1%}", "{:.3g}"),
    "min_traces": ("Training debates", "at least", "{:,}", "{:,}"),
    REGRESSION: ("No regression on", "at least", "{:+.1%}", "{:+.1%}"),
}
KINDS = {
    "repeat": "asked again",
    "typos": "typos",
    "punctuation": "stray punctuation",
    "number_words": "numbers as words",
    "irrelevant": "irrelevant sentence",
    "renamed": "other names",
    "reordered": "sentences reordered",
    "options": "options reordered",
    "injection": "prompt injection",
    "peer": "confident wrong peers",
}
SHARES = ("typos", "punctuation", "number_words")  # strength: a share, others: a number
ANSWERS = {
    "vote": "The debate's answer is the one given most often in its last round.",
    "vote_all_rounds": ("The debate's answer is the one given most often in all its rounds."),
    "weighted_vote": "The debate's answer is the one behind which its agents are most confident.",
    "model": "The debate's answer is that of a model that reads the last round.",
    "judge": "The debate's answer is the one a judge chooses from the last round.",
    "judged": "The debate's answer is that of the side the judge decides for.",
    "verify": "The debate's answer is the solver's last one.",
    "single": "One agent answers once.",
}


def label(arm: str) -> str:
    """An arm's name for people."""
    if arm.endswith(GREEDY):
        return f"{label(arm.removesuffix(GREEDY))}, greedy"
    return LABELS.get(arm, arm.replace("_", " ").capitalize())


def change_name(kind: str, strength: str) -> str:
    """A change of a question in words."""
    name = KINDS.get(kind, kind.replace("_", " "))
    if kind in SHARES:
        return f"{name}, {float(strength):.0%}"
    return name if strength == "1" else f"{name}, {strength}"


def gate_row(gate: Mapping[str, Any]) -> Json:
    """A gate in words: {"label", "value", "bound", "asked", "passed", "status", "reason"}."""
    kind, colon, suite = gate["name"].partition(":")
    title, rule, value, threshold = GATES[kind + colon]
    return {
        "label": f"{title} {suite}".strip(),
        "value": MISSING if gate["value"] is None else value.format(gate["value"]),
        "bound": "none" if gate["bound"] is None else value.format(gate["bound"]),
        "asked": f"{rule} {threshold.format(gate['threshold'])}",
        "passed": gate["passed"],
        "status": gate["status"],
        "reason": gate["reason"],
    }


def off_gates(summary: Mapping[str, Any]) -> list[str]:
    """The gates without a threshold, in words."""
    used = summary.get("gate_settings", {})
    return [title for name, (title, *_) in GATES.items() if used.get(name, title) is None]


def few_queries(summary: Mapping[str, Any]) -> bool:
    """Whether some arm's p99 rests on few queries."""
    measured = [arm["latency_ms"]["n"] for arm in summary["arms"].values()]
    return any(0 < n < FEW_QUERIES for n in measured)


def arm_row(summary: Mapping[str, Any], name: str) -> Json:
    """An arm of the summary with what its table row needs beside."""
    arm = summary["arms"][name]
    debate, test = summary["arms"].get("debate"), summary["mcnemar"].get(name)
    points = (arm["accuracy"] - debate["accuracy"]) * 100 if debate and test else None
    lost = [f"{arm[key]:,} {key}" for key in ("failed", "unparsable") if arm[key]]
    return {
        **arm,
        "name": name,
        "label": label(name),
        "points": None if points is None else f"{points:+.1f}".replace("-", "\N{MINUS SIGN}"),
        "p": None if test is None else p_text(test["p"]),
        "lost": ", ".join(lost),
    }


def reasons(summary: Mapping[str, Any]) -> list[str]:
    """Why, without warnings and without what the gates table says of gates that passed."""
    passed = {gate["reason"] for gate in summary["gates"] if gate["passed"]}
    return [text for text in summary["reasons"] if text not in passed | set(summary["warnings"])]


def headlines(summary: Mapping[str, Any]) -> list[Json]:
    """The student's figures beside what they are compared with: {"label", "value", "note"}."""
    arms, chosen = summary["arms"], summary["student"]
    if chosen not in arms:
        return []
    student, debate, single = (arms.get(name) for name in (chosen, "debate", "single"))
    found = [
        _headline("Accuracy", percent(student["accuracy"]), debate and percent(debate["accuracy"])),
        _headline(
            "Output tokens a query",
            number(student["output_tokens_per_query"]),
            debate and number(debate["output_tokens_per_query"]),
        ),
        _headline("p95 latency", _ms(student), debate and _ms(debate)),
    ]
    fixed = _headline("Own mistakes fixed", _fixed(student), None)
    return [*found, {**fixed, "note": single and f"single answer: {_fixed(single)}"}]


def _headline(title: str, value: str, debate: str | None) -> Json:
    return {"label": title, "value": value, "note": debate and f"debate: {debate}"}


def _ms(arm: Mapping[str, Any]) -> str:
    p95 = arm["latency_ms"]["p95"]
    return MISSING if p95 is None else f"{number(p95)} ms"


def _fixed(arm: Mapping[str, Any]) -> str:
    return percent((arm["self_correction"] or {}).get("fixed"))


def answer_rule(manifest: Mapping[str, Any]) -> str:
    """How a debate of this run gets its answer, in words."""
    debate = manifest["config"]["debate"]
    return ANSWERS[debate.get("aggregate", debate["protocol"])]


def example_views(rows: Sequence[Row]) -> list[Json]:
    """The debates to show, turn by turn, from main rows of all arms (trace schema)."""
    by_question: dict[str, dict[str, Row]] = {}
    for row in rows:
        if row["kind"] == "main":
            by_question.setdefault(row["question_id"], {})[row["arm"]] = row
    chosen = choose_examples(rows)
    return [_example(example, by_question[example.question_id]) for example in chosen]


def _example(example: Example, arms: Mapping[str, Row]) -> Json:
    debate = arms["debate"]
    return {
        "title": example.title,
        "why": example.why,
        "question_id": example.question_id,
        "question": debate["question"],
        "gold": debate["gold"],
        "answer": debate["final_answer"],
        "verdict": debate["verdict"],
        "failed": debate["status"] != DebateStatus.OK,
        "error": f"{debate['error_type']}: {debate['error_message']}",
        "rounds": _rounds(debate),
        "hidden": max(0, (debate["agents"] or 0) - AGENTS_SHOWN),
        "output_tokens": debate["output_tokens"],
        "alone": [_alone(arms[arm], arm) for arm in ("single", "student") if arm in arms],
    }


def _rounds(debate: Row) -> list[Json]:
    votes = {vote["round"]: vote for vote in debate["votes"] or ()}
    numbers = sorted({turn["round"] for turn in debate["turns"] or ()})
    before: dict[int, Row] = {}
    shown = []
    for number_ in numbers:
        turns = [turn for turn in debate["turns"] if turn["round"] == number_]
        turns.sort(key=lambda turn: turn["agent"])
        shown.append(
            {
                "number": number_ + 1,
                "vote": votes.get(number_),
                "turns": [_turn(turn, before.get(turn["agent"])) for turn in turns[:AGENTS_SHOWN]],
            }
        )
        before |= {turn["agent"]: turn for turn in turns}
    return shown


def _turn(turn: Row, before: Row | None) -> Json:
    changed = before is not None and _changed(before, turn)
    return {
        "who": f"Agent {turn['agent'] + 1}",
        "text": turn["text"],
        "answer": turn["answer"],
        "before": before["answer"] if before is not None and changed else None,
        "changed": changed,
        "verdict": turn["verdict"],
        "tokens": turn["output_tokens"],
        "cut": turn["finish_reason"] == "length",
    }


def _changed(before: Row, after: Row) -> bool:
    """Two right answers are the same answer, however they are written."""
    both_right = before["verdict"] == after["verdict"] == Verdict.CORRECT
    return before["answer"] != after["answer"] and not both_right


def _alone(row: Row, arm: str) -> Json:
    turns = row["turns"] or []
    if not turns:
        empty = {"text": row["error_message"] or "", "answer": None, "verdict": None, "tokens": 0}
        return {"who": label(arm), "before": None, "changed": False, "cut": False, **empty}
    return {**_turn(turns[0], None), "who": label(arm)}


def flat(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    """A nested value as (dotted key, text) pairs, to be read or copied."""
    if isinstance(value, Mapping) and value:
        return [pair for key, inner in value.items() for pair in flat(inner, f"{prefix}.{key}")]
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return [(prefix.removeprefix("."), text if value not in (None, {}) else "none")]
