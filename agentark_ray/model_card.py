"""The model card of a student: README.md beside its weights, as the Hugging Face Hub reads it.

Everything in it comes from the run folder: the manifest, the student's record and data card, and
the evaluation, if there is one.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from agentark_ray.run_folder import RunFolder
from agentark_ray.students import Record, arm_of, record_path

Json = Mapping[str, Any]

STRATEGIES = {
    "rsft": "RSFT: supervised fine-tuning on the best right solution of every question",
    "da": "DA: several different right solutions, corrections and confirmations of drafts",
    "pad": "PAD: a process reward model of the debates' steps, then GRPO with its rewards",
    "rft": "RFT, the control: rejection sampling from a single agent at the debates' token budget",
}


def write_model_card(folder: RunFolder, name: str) -> None:
    """Write students/NAME/README.md, if the student has a model."""
    if folder.exists("students", name):
        folder.write_text(model_card(folder, name), "students", name, "README.md")


def model_card(folder: RunFolder, name: str) -> str:
    """The card's text: YAML front matter, then Markdown."""
    from huggingface_hub import ModelCard

    manifest, record = (
        folder.read_json("manifest.json"),
        folder.read_json(*record_path(name)),
    )
    summary = ("eval", "summary.json")
    answered = folder.read_json(*summary) if folder.exists(*summary) else {"arms": {}}
    arm = arm_of(folder, name)
    found = answered["arms"].get(arm)
    data = _card_data(manifest, record, found)
    body = "\n".join(_body(manifest, record, answered if found else None, arm))
    return str(ModelCard(f"---\n{data.to_yaml()}\n---\n\n{body}"))


def _card_data(manifest: Json, record: Json, answered: Json | None) -> Any:
    from huggingface_hub import EvalResult, ModelCardData

    config = manifest["config"]
    results = (
        [
            EvalResult(
                task_type="text-generation",
                task_name="question answering",
                dataset_type=config["tasks"]["name"],
                dataset_name=config["tasks"]["name"],
                metric_type="accuracy",
                metric_name="accuracy on held-out questions",
                metric_value=round(answered["accuracy"], 4),
            )
        ]
        if answered
        else None
    )
    # The Hub knows owner/name only, not a folder on this machine.
    on_hub = config["model"].count("/") == 1 and config["model"] == manifest["model"]
    return ModelCardData(
        model_name=f"{config['name']}-{record['name']}" if results else None,
        base_model=config["model"] if on_hub else None,
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["agentark-ray", "distillation", "multi-agent-debate", record["strategy"]],
        eval_results=results,
    )


def _body(manifest: Json, record: Record, summary: Json | None, arm: str) -> Iterator[str]:
    debate = manifest["config"]["debate"]
    yield f"# {manifest['config']['name']}: {record['name']}"
    yield ""
    yield (
        "One model distilled from debates of language models"
        " ([AgentArk](https://arxiv.org/abs/2602.03955)) by agentark-ray. It answers in one turn."
    )
    yield from _table("Lineage", _lineage(manifest, record, debate))
    stages = record["stages"]
    if "dataset" in stages:
        yield from _table("Data", _figures(stages["dataset"]))
    for stage, figures in stages.items():
        if stage != "dataset":
            yield from _table(f"Stage {stage}", _figures(figures))
    yield from _table("Settings", _flat(record["config"]))
    if summary is not None:
        yield from _evaluation(summary, arm)
    yield from _table("Versions", record["versions"])


def _lineage(manifest: Json, record: Record, debate: Json) -> dict[str, Any]:
    traces = record.get("traces", {})
    return {
        "strategy": STRATEGIES[record["strategy"]],
        "base model": manifest["config"]["model"],
        "started from": record["parent"] or "the base model",
        "debates": f"{traces.get('debates', 0):,}, protocol {debate['protocol']}",
        "models that debated": ", ".join(_debaters(manifest["config"])),
        "fingerprint of the traces": traces.get("fingerprint"),
        "config hash of the run": record["run_config_hash"],
        "config hash of the student": record["config_hash"],
        "seed": record["seed"],
        "made": record["created"],
    }


def _debaters(config: Json) -> list[str]:
    team = config["debate"]["team"] or [{"model": None}]
    return list(dict.fromkeys(agent["model"] or config["model"] for agent in team))


def _evaluation(summary: Json, arm: str) -> Iterator[str]:
    yield "\n## Evaluation\n"
    yield f"{summary['questions']:,} held-out questions, answered by every arm.\n"
    yield "| arm | accuracy | 95 % interval | output tokens a query |"
    yield "|---|---|---|---|"
    for name in dict.fromkeys((arm, *summary["arms"])):
        found = summary["arms"][name]
        shown = "**this model**" if name == arm else name
        yield (
            f"| {shown} | {found['accuracy']:.1%} | {found['ci_low']:.1%} to {found['ci_high']:.1%}"
            f" | {found['output_tokens_per_query']:,.1f} |"
        )
    if summary["student"] == arm:
        yield f"\nDecision of the run: **{summary['decision']}**. {summary['reasons'][0]}"


def _figures(figures: Json) -> dict[str, Any]:
    return {k: v for k, v in _flat(figures).items() if not k.startswith(("attempts", "actor_"))}


def _flat(values: Json, prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= (
            _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        )
    return flat


def _table(title: str, values: Json) -> Iterator[str]:
    yield f"\n## {title}\n"
    yield "| | |"
    yield "|---|---|"
    for key, value in values.items():
        yield f"| {key} | {_cell(value)} |"


def _cell(value: Any) -> str:
    if value is None:
        return "none"
    text = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")
