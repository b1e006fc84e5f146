"""What tests of trace generation share: a config of the scripted engine, and a job."""

from collections.abc import Sequence
from pathlib import Path

from agentark_ray.config import Config, parse_config
from agentark_ray.run_folder import RunFolder
from agentark_ray.traces.generate import generate_traces
from agentark_ray.traces.progress import start_progress
from agentark_ray.traces.requests import Plan, write_questions, write_requests
from agentark_ray.types import Split


def values_for(tmp_path: Path, questions: Path, *overrides: str) -> list[str]:
    """Config overrides as a command line has them."""
    return [
        f"output={tmp_path}/run",
        "tasks.name=gsm8k",
        f"tasks.path={questions}",
        "engine.type=scripted",
        "engine.rows_per_block=4",
        "engine.in_flight=8",
        "debate.agents=3",
        *overrides,
    ]


def config_for(tmp_path: Path, questions: Path, *overrides: str) -> Config:
    return parse_config({}, values_for(tmp_path, questions, *overrides), "test")


def hold(config: Config, plans: Sequence[Plan] = (Plan(arm="debate"),)) -> tuple[RunFolder, int]:
    """Hold the debates of the training questions; the folder and the number of requests."""
    folder = RunFolder(config.output)
    folder.open(config, "m")
    write_questions(folder, config)
    total = write_requests(folder, config, "m", Split.TRAIN, plans, "train")
    progress = start_progress(total, int(total * config.engine.max_failed_fraction))
    arms = {plan.arm for plan in plans}
    generate_traces(folder, config, "m", arms, "train", "traces", progress)
    return folder, total
