"""The report of a run: one HTML file that needs no network."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agentark_ray.evaluate import views
from agentark_ray.evaluate.charts import charts
from agentark_ray.evaluate.data_card import card_view
from agentark_ray.page.html import environment

TEMPLATES = Path(__file__).parent / "templates"
FEW_QUERIES = 100  # below it, a p99 is little more than the slowest query
SECTIONS = ("model", "seed", "created", "config_hash")  # of the manifest, shown first


def render_report(
    summary: Mapping[str, Any],
    manifest: Mapping[str, Any],
    data_card: Mapping[str, Any],
    loss_curve: Sequence[Mapping[str, Any]],
    examples: Sequence[Mapping[str, Any]],
    students: Sequence[Mapping[str, Any]] = (),
) -> str:
    """The page as text.

    Args:
        summary: what `summary.summarize` returned.
        manifest: the run folder's manifest; `config`, `model`, `seed`, `versions`, `stages`.
        data_card: of the training set, as distill/card.py makes it; of another form, nested
            mappings become tables of their own.
        loss_curve: one {"step", "loss", ...} a step.
        examples: trace rows, texts included, of a few questions and all arms, as
            `examples.read_examples` returns them.
        students: a row each: name, arm, strategy, parent, kept (questions), target_tokens, steps,
            last_loss, seconds, accuracy, chosen (the gates are asked of it).
    """
    figures = charts(summary, loss_curve)
    return (
        environment(TEMPLATES)
        .get_template("report.html")
        .render(
            name=manifest.get("config", {}).get("name", "run"),
            summary=summary,
            decision=views.DECISIONS[summary["decision"]],
            reasons=views.reasons(summary),
            headlines=views.headlines(summary),
            arms=[views.arm_row(summary, name) for name in summary["arms"]],
            gates=[views.gate_row(gate) for gate in summary["gates"]],
            few_queries=_few_queries(summary),
            charts=figures,
            figures={chart["id"]: chart["figure"] for chart in figures if chart["figure"]},
            students=students,
            answer_rule=views.answer_rule(manifest),
            examples=views.example_views(examples),
            data_card=data_card,
            card=card_view(data_card, manifest["config"]["distill"]["type"]),
            facts=views.flat({key: manifest[key] for key in SECTIONS if key in manifest}),
            provenance={
                title: views.flat(manifest[key])
                for title, key in (
                    ("Versions", "versions"),
                    ("Stages", "stages"),
                    ("Config", "config"),
                )
                if manifest.get(key)
            },
        )
    )


def _few_queries(summary: Mapping[str, Any]) -> bool:
    """Whether some arm's p99 rests on few queries."""
    measured = [arm["latency_ms"]["n"] for arm in summary["arms"].values()]
    return any(0 < n < FEW_QUERIES for n in measured)
