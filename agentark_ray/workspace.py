"""A run folder at work: its config, its model, its console, and debates to hold for any stage."""

from collections.abc import Callable, Sequence
from typing import Any

import ray
from rich.console import Console

from agentark_ray.config import Config
from agentark_ray.console import watch
from agentark_ray.lost_nodes import outlive_nodes
from agentark_ray.models import resolve_model
from agentark_ray.run_folder import RunFolder
from agentark_ray.session import remote
from agentark_ray.traces.generate import (
    check_failed,
    count_traces,
    drop_unfinished,
    generate_traces,
    verify_traces,
)
from agentark_ray.traces.progress import start_progress, state_of
from agentark_ray.traces.requests import Plan, write_requests
from agentark_ray.types import Split

Figures = dict[str, Any]
RAY_CPUS = 3  # of a local session, beside one for each model
HIDDEN = ("actor_seconds", "chat_templates", "students")  # figures of a stage that are not shown


class Workspace:
    """What the stages of a run, of a student and of an evaluation have in common."""

    def __init__(self, config: Config, console: Console) -> None:
        self.config = config
        self.console = console
        self.model = resolve_model(config.model)
        self.folder = RunFolder(config.output)

    def say(self, text: str) -> None:
        """One line for the user."""
        self.console.print(text, highlight=False, soft_wrap=True)

    def stage(self, name: str, work: Callable[[], Figures]) -> Figures:
        """Do one stage and show it; its figures, with what all attempts at it took.

        Raises:
            NodesKeepDying: nodes were lost too often.
        """
        self.say(f"[bold]{name}[/bold]")
        with self.folder.attempt(name, self.config.engine.actors):
            found = outlive_nodes(work, self.say)
        figures = {**found, **self.folder.attempts(name)}
        shown = [f"{key} {short(value)}" for key, value in figures.items() if key not in HIDDEN]
        self.say(f"  done: {', '.join(shown)}")
        return figures

    def debates(
        self, title: str, model: str, split: Split, plans: Sequence[Plan], name: str, out: str
    ) -> dict[str, int]:
        """Hold the debates of `plans` on a split in the folder `out`; the figures of the traces.

        `name` is that of the requests. Nothing is started if all are there.
        """
        total = remote(write_requests, self.folder, self.config, model, split, plans, name)
        return self.hold(title, model, {plan.arm for plan in plans}, name, out, total)

    def hold(
        self, title: str, model: str, arms: set[str], name: str, out: str, total: int
    ) -> dict[str, int]:
        """Hold the `total` debates of requests/`name` that are not in the folder `out` yet.

        Raises:
            Incomplete: more failed than the config allows, those of earlier attempts included.
        """
        remote(drop_unfinished, self.folder, out)
        figures = remote(count_traces, self.folder, out)
        before = figures["rows"]
        if before < total:
            check_failed(self.folder, self.config, out, figures, total)
            max_failed = int(total * self.config.engine.max_failed_fraction)
            failed, too_long = figures["failed"], figures["prompts_too_long"]
            progress = start_progress(total, max_failed, failed, too_long)
            with watch(self.console, title, lambda: state_of(progress, before, total)):
                generate_traces(self.folder, self.config, model, arms, name, out, progress)
            counts, _ = ray.get(progress.counts.remote())
            if again := counts.begun - (total - before):
                self.say(f"  {title}: {again:,} held again after a loss")
        return remote(verify_traces, self.folder, self.config, out, total)


def short(value: Any) -> str:
    """A figure as a stage line shows it."""
    if isinstance(value, int | float):
        return f"{value:,}"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
