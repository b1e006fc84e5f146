"""Answers to changed questions, to other sets and after a second turn, counted from transcripts.

A changed question is compared with the answer of the same arm to the question as it was: the
adversarial failure rate is the share of right answers that are not right any more. A failed query
counts as a wrong answer.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from agentark_ray.config import EvaluateConfig
from agentark_ray.debate_rows import PathClass, Row, second_looks, turn_leaves
from agentark_ray.evaluate.evidence import SINGLE, Flips
from agentark_ray.evaluate.metrics import ratio
from agentark_ray.evaluate.paired import Pair, pair_of
from agentark_ray.evaluate.statistics import wilson
from agentark_ray.evaluate.tally import CHECK, PEER
from agentark_ray.robustness_config import Kind, cell_of, ood_of
from agentark_ray.types import DebateStatus, Verdict

PROBE_COLUMNS = (
    *("question_id", "arm", "kind", "replica", "status", "verdict"),
    *turn_leaves("agent", "role", "round", "verdict"),
)
SECOND_TURNS = {CHECK: "check", PEER: "peer"}

Cell = tuple[Kind, float]
Answers = dict[str, bool]  # question id -> right
Figures = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """An arm's answers to changed questions, of one kind and strength."""

    right_clean: int  # changed questions that are answered rightly as they are
    flipped: int  # of those, wrong when changed
    wrong_clean: int
    fixed: int  # of those, right when changed: what sampling alone does
    not_applicable: int  # questions that the change cannot be made in


@dataclass(slots=True, kw_only=True)
class Probes:
    """What was counted, by arm."""

    config: EvaluateConfig
    clean: dict[str, Answers] = field(default_factory=lambda: defaultdict(dict))
    changed: dict[tuple[str, Cell], Answers] = field(default_factory=lambda: defaultdict(dict))
    sets: dict[tuple[str, str], Answers] = field(default_factory=lambda: defaultdict(dict))
    looks: dict[tuple[str, str], Counter[PathClass]] = field(
        default_factory=lambda: defaultdict(Counter)
    )  # by arm, check or peer

    def add(self, row: Row) -> None:
        """Count a row of the trace schema with PROBE_COLUMNS.

        Raises:
            ValueError: a changed question is there twice.
        """
        arm, question_id = row["arm"], row["question_id"]
        right = row["status"] == DebateStatus.OK and row["verdict"] == Verdict.CORRECT
        probe = next((end for end in SECOND_TURNS if arm.endswith(end)), None)
        if probe:
            self.looks[arm.removesuffix(probe), SECOND_TURNS[probe]].update(second_looks(row))
        elif row["kind"] == "main":
            if not row["replica"]:
                self.clean[arm][question_id] = right
        elif cell := cell_of(row["kind"]):
            _once(self.changed[arm, cell], row, right)
        elif name := ood_of(row["kind"]):
            _once(self.sets[name, arm], row, right)

    def cells(self, arm: str) -> dict[Cell, Changed]:
        """The counts of every kind and strength; none if the arm was to answer none."""
        return {
            cell: self._compare(self.clean.get(arm, {}), self.changed.get((arm, cell), {}))
            for cell in self.config.changes(arm)
        }

    def _compare(self, clean: Answers, changed: Answers) -> Changed:
        if lost := changed.keys() - clean.keys():
            raise ValueError(
                f"transcripts: question {min(lost)} was answered changed, but not as it is"
            )
        right = [q for q in changed if clean[q]]
        return Changed(
            right_clean=len(right),
            flipped=sum(not changed[q] for q in right),
            wrong_clean=len(changed) - len(right),
            fixed=sum(changed[q] for q in changed if not clean[q]),
            not_applicable=min(self.config.robustness.questions, len(clean)) - len(changed),
        )

    def robustness(self) -> Figures:
        """Arm -> kind -> strength -> rate of flips with its Wilson 95 % interval, and counts."""
        found: Figures = {}
        for arm in sorted({*self.clean, *(arm for arm, _ in self.changed)}):
            for (kind, strength), cell in self.cells(arm).items():
                of_kind = found.setdefault(arm, {}).setdefault(kind.value, {})
                of_kind[f"{strength:g}"] = _changed(cell)
        return found

    def flips(self, arm: str) -> list[Flips]:
        """What the gate on adversarial failure needs of the student."""
        return [
            Flips(kind=kind, strength=strength, right=cell.right_clean, flipped=cell.flipped)
            for (kind, strength), cell in self.cells(arm).items()
            if kind is not Kind.REPEAT
        ]

    def ood(self) -> Figures:
        """Set -> arm -> its accuracy and what it is less than on the held-out questions."""
        found: Figures = {}
        for (name, arm), answers in sorted(self.sets.items()):
            found.setdefault(name, {})[arm] = _drop(answers, self.clean.get(arm, {}))
        return found

    def suites(self, arm: str) -> dict[str, Pair]:
        """Every set: this arm and the single model on the questions that both were asked."""
        found = {}
        for name in dict.fromkeys(name for name, _ in sorted(self.sets)):
            student, single = (self.sets.get((name, of), {}) for of in (arm, SINGLE))
            both = sorted(student.keys() & single.keys())
            if both:
                found[name] = pair_of([student[q] for q in both], [single[q] for q in both])
        return found

    def second_turn(self, arm: str) -> Figures:
        """What became of first answers after "check your answer" and after a wrong peer."""
        return {
            probe: _second(self.looks[arm, probe])
            for probe in SECOND_TURNS.values()
            if sum(self.looks.get((arm, probe), Counter()).values())
        }


def probes(rows: Iterable[Row], config: EvaluateConfig) -> Probes:
    """Count all rows of an evaluation, in any order."""
    found = Probes(config=config)
    for row in rows:
        found.add(row)
    return found


def _once(answers: Answers, row: Row, right: bool) -> None:
    if row["question_id"] in answers:
        raise ValueError(
            f"transcripts: arm {row['arm']!r} answers question {row['question_id']} twice as"
            f" {row['kind']!r}, expected once"
        )
    answers[row["question_id"]] = right


def _changed(cell: Changed) -> Figures:
    low, high = wilson(cell.flipped, cell.right_clean)
    return {
        "right_clean": cell.right_clean,
        "flipped": cell.flipped,
        "rate": ratio(cell.flipped, cell.right_clean),
        "low": low,
        "high": high,
        "wrong_clean": cell.wrong_clean,
        "fixed": cell.fixed,
        "not_applicable": cell.not_applicable,
    }


def _drop(answers: Answers, clean: Answers) -> Figures:
    """The drop's interval is Newcombe's (1998, method 10), of two independent shares; 95 %."""
    right, n = sum(answers.values()), len(answers)
    low, high = wilson(right, n)
    figures: Figures = {"accuracy": right / n, "low": low, "high": high, "n": n, "confidence": 0.95}
    if not clean:
        return {**figures, "drop": None, "drop_low": None, "drop_high": None}
    before = sum(clean.values()) / len(clean)
    before_low, before_high = wilson(sum(clean.values()), len(clean))
    drop = before - figures["accuracy"]
    return {
        **figures,
        "drop": drop,
        "drop_low": drop - math.hypot(before - before_low, high - figures["accuracy"]),
        "drop_high": drop + math.hypot(before_high - before, figures["accuracy"] - low),
    }


def _second(looks: Mapping[PathClass, int]) -> Figures:
    """Rates with Wilson 95 % intervals: fixed of the wrong ones, broken and kept of the right."""
    fixed, broken = looks.get(PathClass.CORRECTED, 0), looks.get(PathClass.CORRUPTED, 0)
    wrong = fixed + looks.get(PathClass.STAYED_WRONG, 0)
    right = broken + looks.get(PathClass.KEPT_RIGHT, 0)
    kept = right - broken
    return {
        "wrong_before": wrong,
        "right_before": right,
        **_rate("fixed", fixed, wrong),
        **_rate("broken", broken, right),
        **_rate("kept", kept, right),
        "undecided": looks.get(PathClass.UNDECIDED, 0),
    }


def _rate(name: str, count: int, of: int) -> Figures:
    low, high = wilson(count, of)
    return {
        name: ratio(count, of),
        f"{name}_count": count,
        f"{name}_low": low,
        f"{name}_high": high,
    }
