"""The report as Markdown: what the page says, without its charts and its list of questions."""

import re
from collections.abc import Sequence

from agentark_ray.evaluate import views
from agentark_ray.evaluate.report.compare import Comparison
from agentark_ray.evaluate.report.page import Run, comparison_parts, parts_of
from agentark_ray.evaluate.report.parts import Cell, Part, Table
from agentark_ray.page.form import percent

SPECIAL = re.compile(r"([\\*_\[\]<>|~#])")
MARKS = {"good": "\N{CHECK MARK}", "bad": "\N{MULTIPLICATION X}", "warn": "!"}


def render(runs: Sequence[Run], found: Sequence[Comparison]) -> str:
    """The file as text."""
    if len(runs) == 1:
        return "\n".join(_run(runs[0], 1))
    lines = [f"# Comparison: {' and '.join(escaped(run.name) for run in runs)}", ""]
    for part in comparison_parts(runs, found):
        lines += _part(part, 2)
    for run in runs:
        lines += _run(run, 2)
    return "\n".join(lines)


def escaped(text: str) -> str:
    """Text in one line that Markdown takes as it is; what stands between backticks stays code."""
    pieces = " ".join(text.split()).split("`")
    if len(pieces) % 2 == 0:  # a lone backtick is none
        pieces = ["".join(pieces)]
    return "`".join(
        piece.replace("|", r"\|") if at % 2 else SPECIAL.sub(r"\\\1", piece)
        for at, piece in enumerate(pieces)
    )


def _run(run: Run, level: int) -> list[str]:
    summary = run.summary
    word, lead = views.DECISIONS[summary["decision"]]
    lines = [f"{'#' * level} {escaped(run.name)}: {word}", "", lead, ""]
    for text in summary["warnings"]:
        lines += [f"> **Read this first:** {escaped(text)}", ""]
    lines += [f"- {escaped(text)}" for text in views.reasons(summary)]
    lines += ["", f"**Next step:** {escaped(summary['next_steps'][0])}", ""]
    lines += [f"- {escaped(text)}" for text in summary["next_steps"][1:]]
    for part in parts_of(run):
        lines += _part(part, level + 1)
    return [*lines, *_examples(run, level + 1), ""]


def _part(part: Part, level: int) -> list[str]:
    lines = ["", f"{'#' * level} {part.title}", ""]
    if part.empty:
        return [*lines, escaped(part.missing)]
    if part.intro:
        lines += [escaped(part.intro), ""]
    for table in part.tables:
        if table.rows:
            lines += _table(table, level + 1)
    lines += [f"- {escaped(text)}" for text in part.notes]
    return [*lines, "", escaped(part.foot)] if part.foot else lines


def _table(table: Table, level: int) -> list[str]:
    lines = [f"{'#' * level} {escaped(table.title)}", ""] if table.title else []
    lines.append(f"| {' | '.join(escaped(name) for name in table.columns)} |")
    lines.append(f"|{'---|' * len(table.columns)}")
    lines += [f"| {' | '.join(_cell(cell) for cell in row)} |" for row in table.rows]
    return [*lines, ""]


def _cell(cell: Cell) -> str:
    text = f"{MARKS[cell.mark]} {escaped(cell.text)}" if cell.mark else escaped(cell.text)
    return f"{text} ({escaped(cell.note)})" if cell.note else text


def _examples(run: Run, level: int) -> list[str]:
    """The question and the outcome of each example; the page and the folder have the turns."""
    found = views.example_views(run.examples)
    lines = ["", f"{'#' * level} Debates", ""] if found else []
    for one in found:
        lines += [
            f"**{escaped(one['title'])}.** {escaped(one['why'])}",
            "",
            f"> {escaped(one['question'])}",
            "",
            f"Right answer {escaped(str(one['gold']))}; the debate says"
            f" {escaped(str(one['answer']))} ({one['verdict'] or 'not graded'}), "
            + ", ".join(_vote(shown) for shown in one["rounds"])
            + ".",
            "",
        ]
    return lines


def _vote(shown: dict) -> str:
    vote = shown["vote"]
    if vote is None:
        return f"round {shown['number']}"
    share = percent(vote["count"] / vote["agents"])
    return f"round {shown['number']}: {share} for {escaped(str(vote['answer']))}"
