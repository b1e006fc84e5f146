"""How well scores of steps tell right from wrong: tallies that add up, whatever the number of rows.

- step accuracy and ROC-AUC of p(good) against labels;
- the first error (ProcessBench, Zheng et al., 2412.06559): the first step with p(good) below 0.5 is
  said to be wrong, none if there is none; F1 is the harmonic mean of the shares of wrong solutions
  whose first wrong step is found exactly, and of right ones in which no step is called wrong;
- best of n: of a question's samples the one with the highest minimum, mean or last p(good).
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

THRESHOLD = 0.5  # p(good) from which a step is called good
BINS = 1 << 14  # of p(good), for the AUC: steps in one bin are ties
AGGREGATES: dict[str, Callable[[Sequence[float]], float]] = {
    "min": lambda scores: min(scores, default=0.0),
    "mean": lambda scores: math.fsum(scores) / len(scores) if scores else 0.0,
    "last": lambda scores: scores[-1] if scores else 0.0,
}


def auc(bad_B: np.ndarray, good_B: np.ndarray) -> float | None:
    """The area under the ROC curve from counts by ascending score; ties count half.

    It is the chance that a good step has a higher score than a bad one; None without either.
    """
    if not bad_B.sum() or not good_B.sum():
        return None
    below_B = np.cumsum(bad_B) - bad_B
    return float((good_B * (below_B + bad_B / 2)).sum() / (bad_B.sum() * good_B.sum()))


@dataclass(slots=True)
class StepTally:
    """Steps whose label is known, and solutions all of whose labels are."""

    bad_B: np.ndarray = field(default_factory=lambda: np.zeros(BINS, dtype=np.int64))
    good_B: np.ndarray = field(default_factory=lambda: np.zeros(BINS, dtype=np.int64))
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, scores: Sequence[float], labels: Sequence[bool | None]) -> None:
        """A solution's p(good) and labels, one a step."""
        for score, good in zip(scores, labels, strict=True):
            if good is None:
                continue
            counts_B = self.good_B if good else self.bad_B
            counts_B[min(int(score * BINS), BINS - 1)] += 1
            self.counts["right_calls"] += (score >= THRESHOLD) == good
        if labels and None not in labels:
            kind = "right" if all(labels) else "wrong"
            wanted, found = first_error(labels), first_error([s >= THRESHOLD for s in scores])
            self.counts[kind] += 1
            self.counts[f"{kind}_found"] += wanted == found

    def figures(self) -> dict[str, Any]:
        """Shares of 0 to 1; None where there is nothing to count."""
        good, bad = int(self.good_B.sum()), int(self.bad_B.sum())
        wrong = _share(self.counts["wrong_found"], self.counts["wrong"])
        right = _share(self.counts["right_found"], self.counts["right"])
        return {
            "steps": good + bad,
            "good_share": _share(good, good + bad),
            "accuracy": _share(self.counts["right_calls"], good + bad),
            "auc": auc(self.bad_B, self.good_B),
            "first_error": {
                "solutions": self.counts["wrong"] + self.counts["right"],
                "wrong_found": wrong,
                "right_accepted": right,
                "f1": None if wrong is None or right is None else _harmonic(wrong, right),
            },
        }


def first_error(good: Sequence[bool | None]) -> int | None:
    """The place of the first step that is not good, or None."""
    return next((place for place, one in enumerate(good) if not one), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A text that was sampled `times` times for a question."""

    times: int
    right: bool
    scores: Sequence[float]


@dataclass(slots=True)
class BestOfTally:
    """Questions with at least two samples."""

    sums: Counter[str] = field(default_factory=Counter)

    def add(self, samples: Sequence[Sample], vote_right: float) -> None:
        """All samples of a question, and how right (0 to 1) the vote over their answers is."""
        samples = [sample for sample in samples if sample.times]
        n = sum(sample.times for sample in samples)
        if n < 2:
            return
        single = sum(sample.times for sample in samples if sample.right) / n
        arms = {name: best_of(samples, chosen) for name, chosen in AGGREGATES.items()}
        arms |= {"vote": vote_right, "any": float(single > 0)}
        self.sums.update({"questions": 1, "samples": n, "single": single})
        for name, right in arms.items():
            lift = right - single
            self.sums.update({name: right, f"{name} lift": lift, f"{name} square": lift**2})

    def figures(self) -> dict[str, Any]:
        """Accuracies of 0 to 1; `lift` over one sample, with its standard error over questions."""
        questions = self.sums["questions"]
        if not questions:
            return {"questions": 0}
        mean = {name: value / questions for name, value in self.sums.items()}
        return {
            "questions": questions,
            "n": round(mean["samples"], 3),
            "single": round(mean["single"], 4),
            **{name: self._arm(name, mean) for name in (*AGGREGATES, "vote", "any")},
        }

    def _arm(self, name: str, mean: Mapping[str, float]) -> dict[str, float]:
        lift = mean[f"{name} lift"]
        variance = max(0.0, mean[f"{name} square"] - lift**2)
        return {
            "accuracy": round(mean[name], 4),
            "lift": round(lift, 4),
            "stderr": round(math.sqrt(variance / self.sums["questions"]), 4),
        }


def best_of(samples: Sequence[Sample], chosen: Callable[[Sequence[float]], float]) -> float:
    """How right the best sample is; a share where several are equally good."""
    values = [chosen(sample.scores) for sample in samples]
    best = [s for s, value in zip(samples, values, strict=True) if value == max(values)]
    return sum(s.times for s in best if s.right) / sum(s.times for s in best)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _harmonic(a: float, b: float) -> float:
    return 2 * a * b / (a + b) if a + b else 0.0
