"""One student, from the traces of a run folder to its weights; `agentark run` and `agentark
distill` both make theirs here.

The stages of a student depend on its strategy; each is done once and recorded in students/NAME.json
with its figures, so that running again resumes. What they do is in student_sft.py, student_pad.py.
"""

from collections.abc import Callable, Mapping, Sequence

from rich.console import Console

from agentark_ray.model_card import write_model_card
from agentark_ray.models import weights_bytes
from agentark_ray.run_folder import RunFolder
from agentark_ray.session import ray_session
from agentark_ray.student import Stage, Student
from agentark_ray.student_pad import pad
from agentark_ray.student_sft import RFT, SFT
from agentark_ray.students import MAY_DIFFER, Record, config_with, record_path
from agentark_ray.workspace import RAY_CPUS

TRAINING_COPIES = 24  # of the weights: student, and three checkpoints with optimizer state
STAGES: Mapping[str, Callable[[Student], dict[str, Stage]]] = {
    "rsft": lambda student: SFT,
    "da": lambda student: SFT,
    "rft": lambda student: RFT,
    "pad": pad,
}


def distill(
    folder: RunFolder,
    overrides: Sequence[str],
    strategy: str | None,
    name: str | None,
    parent: str | None,
    console: Console,
) -> Record:
    """Make a student of an existing run folder; its record. Does what is not done yet.

    Raises:
        ConfigError: what the user has to mend; nothing has been started.
    """
    config = config_with(folder, overrides, MAY_DIFFER, strategy or "")
    name = name or "-".join(filter(None, (parent, config.distill.type)))
    student = Student(config, console, name, parent)
    student.check()
    with folder.locked():
        todo = stages_to_do(student, student.open())
        folder.need_space(TRAINING_COPIES * (weights_bytes(student.model) or 0))
        student.say(f"student {folder.path(student.out)}" + ("" if todo else " (done before)"))
        if not todo:
            return student.open()
        with ray_session(cpus=RAY_CPUS + len(config.own_models)):
            return make(student)


def stages_to_do(student: Student, record: Record) -> dict[str, Stage]:
    """The stages that are not done, in their order."""
    stages = STAGES[student.config.distill.type](student)
    return {name: work for name, work in stages.items() if name not in record["stages"]}


def make(student: Student) -> Record:
    """Do what is not done yet; the record. Ray must be up if there is anything to do."""
    record = student.open()
    for name, work in stages_to_do(student, record).items():
        title = f"{student.name}/{name}"
        record["stages"][name] = student.stage(title, lambda work=work: work(student, record))
        student.folder.write_json(record, *record_path(student.name))
        if name == "train":
            write_model_card(student.folder, student.name)
    return record
