"""The report as one HTML file that needs no network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from agentark_ray.evaluate import views
from agentark_ray.evaluate.data_card import card_view
from agentark_ray.evaluate.engine_time import EngineTime
from agentark_ray.evaluate.report import (
    arms,
    compare,
    cost,
    cost_charts,
    quality,
    side_by_side,
    state,
    timing,
)
from agentark_ray.evaluate.report.compare import Comparison
from agentark_ray.evaluate.report.cost import Return
from agentark_ray.evaluate.report.pack import Packed
from agentark_ray.evaluate.report.parts import Part
from agentark_ray.evaluate.report.questions import Listed
from agentark_ray.page.charts import rounds_chart
from agentark_ray.page.html import environment
from agentark_ray.prices import TokenPrices

TEMPLATES = Path(__file__).parent / "templates"
SECTIONS = ("model", "seed", "created", "config_hash")  # of the manifest, shown first
BLOCKS = "<!-- questions -->"  # where the pieces of Packed go
Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """All that the report says of one run, but for its questions."""

    name: str
    summary: Json  # of summary.summarize
    manifest: Json  # `config`, `model`, `seed`, `versions`, `resumed_versions`, `stages`
    data_card: Json  # of the training set, as distill/card.py makes it
    loss_curve: Sequence[Json]  # one {"step", "loss", ...} a step
    examples: Sequence[Json]  # trace rows of a few questions and all arms
    students: Sequence[Json]  # see state.students
    load: Json | None  # eval/load.json
    prices: TokenPrices | None
    returns: Return
    checklist: Sequence[Json]
    triggers: Sequence[Json] | None  # None: no monitoring data
    engines: EngineTime | None = None  # None: GPUs have no price


def parts_of(run: Run) -> list[Part]:
    """The evidence of one run."""
    summary = run.summary
    return [
        state.gates(summary, run.manifest["config"]["gates"]),
        arms.accuracy(summary),
        quality.second_turns(summary),
        quality.robustness(summary),
        quality.other_sets(summary),
        quality.steps(summary),
        timing.latency(summary),
        timing.load(run.load),
        cost.money(summary, run.prices, run.engines),
        cost.returns(run.returns),
        training(run),
        state.checklist(run.checklist),
        *([state.triggers(run.triggers)] if run.triggers is not None else []),
    ]


def training(run: Run) -> Part:
    """How the debates went, and the training."""
    found = state.students(run.students)
    charts = [rounds_chart(run.summary["rounds"]), cost_charts.loss_chart(run.loss_curve)]
    return Part(
        id=found.id,
        title="Debates and training",
        intro=found.intro if len(run.students) > 1 else "",
        tables=found.tables,
        charts=charts,
        missing=found.missing,
    )


def comparison_parts(runs: Sequence[Run], found: Sequence[Comparison]) -> list[Part]:
    """What is said of several runs together."""
    names, summaries = [run.name for run in runs], [run.summary for run in runs]
    return [
        side_by_side.overview(names, summaries),
        compare.paired(found),
        side_by_side.gates(names, summaries),
        side_by_side.robustness(names, summaries),
        compare.settings(found),
    ]


def told_of_questions(listed: Listed, packed: Packed) -> list[str]:
    """What of the questions is in the page, and what is not."""
    told = [f"All {listed.total:,} questions are listed"]
    if packed.listed < listed.total:
        what = "a random sample" if len(listed.keys) < listed.total else "the first ones"
        told = [f"Of {listed.total:,} questions {packed.listed:,} are listed, {what}"]
    if packed.worded == packed.listed:
        told[0] += ", each with its transcripts."
    else:
        kept = [
            f"{words:,} of {group.questions:,} “{group.title}”"
            for words, group in zip(packed.worded_by_group, listed.groups, strict=True)
            if group.questions
        ]
        left = packed.listed - packed.worded
        told[0] += f"; transcripts of {packed.worded:,} are here: {', '.join(kept)}."
        told.append(
            f"The transcripts of {left:,} questions are left out so that the file stays below the"
            " size that was asked (`--max-mb`); they are in the run folder."
        )
    if packed.shortened:
        told.append(f"{packed.shortened:,} long texts are shortened, and say so.")
    return told


def render(
    runs: Sequence[Run],
    found: Sequence[Comparison],
    listed: Listed,
    packed: Packed,
    commands: Sequence[str],
) -> str:
    """The page as text.

    Args:
        runs: one, or several to be compared.
        found: the second and further runs against the first.
        commands: of each run, that show a question's transcript with prompts.
    """
    single = len(runs) == 1
    own = [_own(run, f"run{at + 1}-" if not single else "") for at, run in enumerate(runs)]
    parts = comparison_parts(runs, found) if not single else []
    figures = {
        prefix + chart["id"]: chart["figure"]
        for prefix, shown in [("", parts), *((one["prefix"], one["parts"]) for one in own)]
        for part in shown
        for chart in part.charts
        if chart["figure"]
    }
    first = runs[0]
    page = (
        environment(TEMPLATES)
        .get_template("report.html")
        .render(
            title=first.name if single else " and ".join(run.name for run in runs),
            single=single,
            runs=own,
            parts=parts,
            figures=figures,
            told=told_of_questions(listed, packed),
            questions=_questions(runs, listed, packed, commands),
            marker=Markup(BLOCKS),
        )
    )
    before, after = page.split(BLOCKS)
    return "".join([before, *_pieces(packed), after])


def _pieces(packed: Packed) -> list[str]:
    pieces = [f'<script type="text/plain" id="question-list">{packed.index}</script>\n']
    for at, block in enumerate(packed.blocks):
        pieces.append(f'<script type="text/plain" id="question-words-{at}">{block}</script>\n')
    return pieces


def _questions(
    runs: Sequence[Run], listed: Listed, packed: Packed, commands: Sequence[str]
) -> dict[str, Any]:
    """What the page's script must know before it decodes a piece."""
    several = len(runs) > 1
    return {
        "columns": [
            {
                "label": views.label(one.arm) + (f" ({one.source + 1})" if several else ""),
                "arm": one.arm,
                "run": runs[one.source].name,
                "command": commands[one.source],
            }
            for one in listed.columns
        ],
        "groups": [{"title": group.title, "questions": group.questions} for group in listed.groups],
        "starts": packed.starts,
        "listed": packed.listed,
        "worded": packed.worded,
        "sets": list(dict.fromkeys(listed.sets)),
    }


def _own(run: Run, prefix: str) -> dict[str, Any]:
    """The values that the template shows of one run."""
    summary, manifest = run.summary, run.manifest
    return {
        "prefix": prefix,
        "name": run.name,
        "summary": summary,
        "decision": views.DECISIONS[summary["decision"]],
        "reasons": views.reasons(summary),
        "headlines": views.headlines(summary),
        "parts": parts_of(run),
        "answer_rule": views.answer_rule(manifest),
        "examples": views.example_views(run.examples),
        "data_card": run.data_card,
        "card": card_view(run.data_card, manifest["config"]["distill"]["type"]),
        "facts": views.flat({key: manifest[key] for key in SECTIONS if key in manifest}),
        "provenance": _provenance(manifest),
    }


def _provenance(manifest: Json) -> dict[str, Any]:
    shown = {
        "Versions": manifest.get("versions"),
        "Versions when resumed": {
            resumed["at"]: resumed["versions"] for resumed in manifest.get("resumed_versions", [])
        },
        "Stages": manifest.get("stages"),
        "Config": manifest.get("config"),
    }
    return {title: views.flat(values) for title, values in shown.items() if values}
