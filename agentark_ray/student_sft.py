"""The stages of students that learn from rows: rsft, da, and the control rft."""

from agentark_ray.session import remote
from agentark_ray.strategy import RftConfig
from agentark_ray.student import Stage, Student, forget_answers, lineage, training_figures
from agentark_ray.students import Record
from agentark_ray.traces.samples import ARM, write_sample_requests
from agentark_ray.train.dataset import build_dataset
from agentark_ray.workspace import Figures

CARD_FIGURES = (
    *("traces", "kept", "dropped", "rows", "tokens", "target_tokens", "sampling"),
    *("packed_sequences", "packing_efficiency"),
)


def samples(student: Student, record: Record) -> Figures:
    """More samples of single agents, up to the output tokens of the debates."""
    del record
    assert isinstance(student.config.distill, RftConfig)
    if not student.config.distill.match_budget:
        return {"rows": 0}
    total = remote(write_sample_requests, student.folder, student.config, student.model, "samples")
    if not total:
        return {"rows": 0}
    return student.hold("samples", student.model, {ARM}, "samples", "samples", total)


def dataset(student: Student, record: Record) -> Figures:
    """Traces -> curated rows -> packed training sequences; the data card's main figures."""
    record["traces"] = remote(lineage, student.folder)
    more = "samples" if record["stages"].get("samples", {}).get("rows") else None
    card = build_dataset(student.folder, student.config, student.model, student.name, more)
    main = {name: card[name] for name in CARD_FIGURES if card.get(name) is not None}
    return {**main, "recommended": card["recommended"]["strategy"]}


def train(student: Student, record: Record) -> Figures:
    """Train on packed rows and export; without any training row there is no student."""
    if not record["stages"]["dataset"]["kept"]:
        return {"steps": 0, "student": "none: no trace gave a training row"}
    data = f"datasets/{student.name}/packed"
    curve = student.fit("training", student.name, data=data, out=student.out)
    forget_answers(student)
    return training_figures(curve)


SFT: dict[str, Stage] = {"dataset": dataset, "train": train}
RFT: dict[str, Stage] = {"samples": samples, **SFT}
