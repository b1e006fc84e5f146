"""Two runs on the questions they have in common, arm by arm. Pure: figures in, figures out."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from agentark_ray.evaluate.decision import p_text
from agentark_ray.evaluate.gate import count
from agentark_ray.evaluate.paired import detectable, interval, mcnemar, pair_of
from agentark_ray.evaluate.report.charts import dots, dots_layout, line
from agentark_ray.evaluate.report.parts import (
    DASH,
    Cell,
    Part,
    Table,
    cell,
    level,
    points,
)
from agentark_ray.evaluate.tally import Tally
from agentark_ray.evaluate.views import label
from agentark_ray.page.charts import chart

SAME = ("name", "output")  # of the config: differ always, and decide nothing
RUN_COLOURS = ("debate", "student", "self_consistency", "arm1", "arm2", "arm3", "arm4")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What is compared of a run."""

    name: str
    student: str  # the arm that the gates were asked of
    tallies: Mapping[str, Tally]
    contents: Mapping[str, int]  # held-out question id -> hash of its text and right answer
    settings: Mapping[str, str]  # dotted key -> value


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmPair:
    """An arm of one run against one of another, on common questions."""

    first_arm: str
    second_arm: str
    n: int  # common questions that both answered
    first: float  # accuracy, 0..1
    second: float
    difference: float  # second less first
    low: float
    high: float
    only_first: float  # questions that only it is right on
    only_second: float
    p: float  # McNemar
    detectable: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A run against the first one."""

    first: str
    second: str
    confidence: float  # of the intervals, two-sided
    common: int
    only_first: int  # questions
    only_second: int
    different: tuple[str, ...]  # ids that name different questions: they are not compared
    arms: tuple[ArmPair, ...]
    settings: tuple[tuple[str, str, str], ...]  # key, value in the first, in the second

    def told(self) -> str:
        """Which questions were compared, in words."""
        text = f"{self.second} against {self.first}: {count(self.common, 'question')} in common"
        rest = [
            f"{n:,} only in {name}"
            for n, name in ((self.only_first, self.first), (self.only_second, self.second))
            if n
        ]
        if self.different:
            ids = count(len(self.different), "id")
            rest.append(f"{ids} with another question in each")
        if not self.common:
            return f"{text}, so none can be compared; {'; '.join(rest)}."
        return f"{text}, and compared; {'; '.join(rest) or 'no others'}."


def compare(first: Answers, second: Answers, confidence: float) -> Comparison:
    """The second run less the first, on questions with the same id, text and right answer."""
    shared = first.contents.keys() & second.contents.keys()
    common = {q for q in shared if first.contents[q] == second.contents[q]}
    arms = [(name, name) for name in first.tallies if name in second.tallies]
    students = (first.student, second.student)
    if students not in arms and first.student in first.tallies and second.student in second.tallies:
        arms.append(students)
    found = (_arm_pair(first, second, one, common, confidence) for one in arms)
    return Comparison(
        first=first.name,
        second=second.name,
        confidence=confidence,
        common=len(common),
        only_first=len(first.contents.keys() - shared),
        only_second=len(second.contents.keys() - shared),
        different=tuple(sorted(shared - common)),
        arms=tuple(one for one in found if one is not None),
        settings=tuple(_differ(first.settings, second.settings)),
    )


def _arm_pair(
    first: Answers, second: Answers, names: tuple[str, str], common: set[str], confidence: float
) -> ArmPair | None:
    one, other = first.tallies[names[0]], second.tallies[names[1]]
    samples = max(one.samples, other.samples)
    mine, theirs = one.shares(), other.shares()
    both = sorted(common & mine.keys() & theirs.keys())
    if not both:
        return None
    pair = pair_of([theirs[q] for q in both], [mine[q] for q in both], samples=samples)
    low, high = interval(pair, "difference", confidence)
    test = mcnemar({q: theirs[q] for q in both}, {q: mine[q] for q in both}, samples=samples)
    return ArmPair(
        first_arm=names[0],
        second_arm=names[1],
        n=len(both),
        first=float(pair.second),
        second=float(pair.first),
        difference=float(pair.first - pair.second),
        low=low,
        high=high,
        only_first=test.only_second,
        only_second=test.only_first,
        p=test.p,
        detectable=detectable(pair, confidence),
    )


def _differ(first: Mapping[str, str], second: Mapping[str, str]) -> list[tuple[str, str, str]]:
    return [
        (key, first.get(key, DASH), second.get(key, DASH))
        for key in sorted(first.keys() | second.keys())
        if key not in SAME and first.get(key) != second.get(key)
    ]


def as_json(found: Comparison) -> dict[str, Any]:
    """Plain values."""
    return asdict(found)


def paired(found: Sequence[Comparison]) -> Part:
    """Arms on common questions."""
    at = level(found[0].confidence) if found else ""
    columns = ("Arm", "First run", "Second run", f"Difference, points, {at} interval")
    columns += ("Only first right", "Only second right", "McNemar", "Least visible, points")
    tables = [
        Table(
            title=f"{one.second} against {one.first}",
            columns=columns,
            rows=[_pair_row(pair) for pair in one.arms],
            wide=True,
        )
        for one in found
    ]
    return Part(
        id="paired",
        title="The same questions",
        intro=" ".join(one.told() for one in found),
        tables=tables,
        charts=[_paired_chart(found)],
        foot="Difference: the second run less the first, with the score interval of Tango at"
        f" {at}.",
        missing="The runs have no question in common.",
    )


def _pair_row(pair: ArmPair) -> tuple[Cell, ...]:
    names = label(pair.first_arm)
    if pair.second_arm != pair.first_arm:
        names = f"{label(pair.second_arm)} against {names}"
    return (
        cell(names, note=f"n {pair.n:,}"),
        cell(f"{pair.first:.1%}"),
        cell(f"{pair.second:.1%}"),
        cell(points(pair.difference), note=f"{points(pair.low)} to {points(pair.high)}"),
        cell(f"{pair.only_first:,.4g}"),
        cell(f"{pair.only_second:,.4g}"),
        cell(p_text(pair.p)),
        cell(DASH if pair.detectable is None else f"{100 * pair.detectable:.1f}"),
    )


def _paired_chart(found: Sequence[Comparison]) -> dict[str, Any]:
    traces, words = [], []
    for at, one in enumerate(found):
        rows = [
            (_pair_row(pair)[0].text, pair.low, pair.difference, pair.high) for pair in one.arms
        ]
        words += [row[0] for row in rows if row[0] not in words]
        if rows:
            traces.append(dots(rows, one.second, RUN_COLOURS[(at + 1) % len(RUN_COLOURS)]))
    layout = dots_layout(words, len(words), tickformat="+.0%")
    layout |= line("x", 0.0, f"as {found[0].first}" if found else "")
    return chart(
        "paired",
        "Difference to the first run",
        "On the same questions"
        + (f", with {level(found[0].confidence)} intervals." if found else "."),
        {"data": traces, "layout": layout} if traces else None,
    )


def settings(found: Sequence[Comparison]) -> Part:
    """Settings that are not the same."""
    tables = [
        Table(
            title=f"{one.second} against {one.first}",
            columns=("Setting", one.first, one.second),
            rows=[tuple(cell(text) for text in row) for row in one.settings],
        )
        for one in found
    ]
    return Part(
        id="settings", title="Settings that differ", tables=tables, missing="All are the same."
    )
