"""Reports of evaluated runs: what is read from their folders, and what is written."""

from typing import Any

from agentark_ray.evaluate.examples import read_examples
from agentark_ray.evaluate.report import render_report
from agentark_ray.run_folder import RunFolder
from agentark_ray.students import TRANSCRIPTS, Record, arm_of, records, trained
from agentark_ray.traces.generate import trace_dataset
from agentark_ray.train.objective import loss_curve
from agentark_ray.upkeep import SUMMARY
from agentark_ray.workspace import Figures


def write_report(folder: RunFolder) -> int:
    """report.html from what is in the folder of an evaluated run; its size in bytes."""
    manifest, summary = folder.read_json("manifest.json"), folder.read_json(*SUMMARY)
    found = records(folder)
    chosen = next((one for one in found if arm_of(folder, one["name"]) == summary["student"]), None)
    arms = [arm_of(folder, one["name"]) for one in found if trained(one)]
    page = render_report(
        summary,
        manifest,
        _read(folder, "datasets", chosen["name"], "data_card.json") if chosen else {},
        _read(folder, *loss_curve(chosen["name"])) or [] if chosen else [],
        read_examples([trace_dataset(folder, f"{TRANSCRIPTS}/{name}") for name in ("base", *arms)]),
        [student_row(folder, summary, one) for one in found],
    )
    folder.write_text(page, "report.html")
    return len(page.encode())


def _read(folder: RunFolder, *parts: str) -> Any:
    return folder.read_json(*parts) if folder.exists(*parts) else None


def student_row(folder: RunFolder, summary: Figures, record: Record) -> Figures:
    """What the report's table of students shows of one."""
    stages, arm = record["stages"], arm_of(folder, record["name"])
    answered = summary["arms"].get(arm)
    return {
        "name": record["name"],
        "arm": arm,
        "strategy": record["strategy"].upper(),
        "parent": record["parent"],
        "kept": stages.get("dataset", {}).get("kept"),
        "target_tokens": stages.get("dataset", {}).get("target_tokens"),
        "steps": stages.get("train", {}).get("steps"),
        "last_loss": stages.get("train", {}).get("last_loss"),
        "seconds": round(sum(stage["seconds"] for stage in stages.values())),
        "accuracy": answered and answered["accuracy"],
        "chosen": arm == summary["student"],
    }
