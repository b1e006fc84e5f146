"""A load test of a run folder's held-out questions, and eval/load.json (its form: figures.py)."""

import asyncio
import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pyarrow import dataset
from rich.console import Console

from agentark_ray.config import Config, ConfigError
from agentark_ray.console import watch
from agentark_ray.debate.layouts import ask, chat
from agentark_ray.debate.protocol import arm_protocol
from agentark_ray.engine.settings import Placement, placement, refs_of
from agentark_ray.evaluate_config import GREEDY
from agentark_ray.load.figures import VERSION, sustained, targets_of
from agentark_ray.load.http import Endpoint, served_models
from agentark_ray.load.machine import machine
from agentark_ray.load.offer import Heard, Live, Plan, RequestFailed, next_rate
from agentark_ray.models import resolve_model
from agentark_ray.run_folder import RunFolder
from agentark_ray.session import need_resources, ray_session
from agentark_ray.students import arm_of, records, trained
from agentark_ray.tasks.registry import TASKS
from agentark_ray.traces.schema import row_question
from agentark_ray.types import Message, Question

LOAD = ("eval", "load.json")
QUESTIONS = 1_000  # distinct ones at most; then they come again
CALLS = 4  # that the actor answers at once: a rate, and how far it is

Entry = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """What the engine of a run folder is to be asked as."""

    name: str  # in load.json
    arm: str  # of debate.protocol.arm_protocol
    model: str  # a folder, URI or Hugging Face id


def held_out(folder: RunFolder) -> list[Question]:
    """The first held-out questions of a run.

    Raises:
        ConfigError: it has none yet.
    """
    if not folder.exists("questions", "eval.parquet"):
        raise ConfigError(f"{folder.uri}: no held-out questions (questions/eval.parquet)")
    path = folder.inner("questions", "eval.parquet")
    rows = dataset.dataset(path, filesystem=folder.filesystem).head(QUESTIONS).to_pylist()
    return [row_question(row) for row in rows]


def find_arm(folder: RunFolder, config: Config, name: str) -> Arm:
    """An arm by its name, as the evaluation has it, or by that of a student.

    Raises:
        ConfigError: there is no such arm, or its model is not there.
    """
    base = ("single", f"single{GREEDY}", "self_consistency", "debate", *config.evaluate.teams)
    if name == "self_consistency" and config.evaluate.self_consistency_samples is None:
        raise ConfigError(
            "--arm self_consistency: how many samples? say evaluate.self_consistency_samples=N; the"
            " number that an evaluation measured is in eval/summary.json"
        )
    if name in base:
        return Arm(name=name, arm=name, model=resolve_model(config.model))
    students = [one["name"] for one in records(folder) if trained(one)]
    for student, end in itertools.product(students, ("", GREEDY)):
        arm = f"{arm_of(folder, student)}{end}"
        if name in (f"{student}{end}", arm):
            return Arm(name=arm, arm=arm, model=resolve_model(folder.path("students", student)))
    there = ", ".join((*base, *students))
    raise ConfigError(f"--arm {name!r}: no such arm of {folder.uri} (there: {there})")


def load_engine(folder: RunFolder, config: Config, arm: Arm, plan: Plan, console: Console) -> Entry:
    """Offer the rates of `plan` to the engine of an arm, in a session of Ray; see `drive`."""
    questions = held_out(folder)
    with ray_session(cpus=1 + _place(config, arm).total("CPU")):
        return drive(config, arm, questions, plan, console)


def _place(config: Config, arm: Arm) -> Placement:
    return placement(config, refs_of(config, arm_protocol(config, arm.arm).speakers, arm.model))


def drive(
    config: Config, arm: Arm, questions: Sequence[Question], plan: Plan, console: Console
) -> Entry:
    """Start an arm's engine, offer the rates of `plan`, end it; its entry in load.json.

    Raises:
        ConfigError: the cluster is too small.
    """
    import ray

    from agentark_ray.load.actor import LoadActor

    place = _place(config, arm)
    need_resources(f"--arm {arm.name}", place.bundles)
    began = time.monotonic()
    actor: Any = ray.remote(LoadActor).options(
        num_cpus=1, num_gpus=place.gpus, max_concurrency=CALLS
    )
    actor = actor.remote(config, arm.arm, arm.model, questions, plan)
    with watch(console, f"starting {arm.name}", lambda: None):
        ray.get(actor.start.remote())
    cold_start_s = time.monotonic() - began
    first_s: Any = ray.get(actor.first.remote())
    rates: list[Entry] = []
    while (rate := next_rate(plan, rates)) is not None:
        with watch(console, arm.name, lambda: ray.get(actor.state.remote())):
            rates.append(ray.get(actor.offer.remote(rate)))
        say(console, rates[-1])
    weight: Any = ray.get(actor.weight.remote())
    ray.kill(actor)
    return {
        **_entry("engine", None, arm.model, plan, questions, first_s, rates),
        **weight,
        "cold_start_s": round(cold_start_s, 2),
    }


def load_url(
    folder: RunFolder,
    config: Config,
    endpoint: Endpoint,
    plan: Plan,
    console: Console,
    plain: bool = False,
) -> Entry:
    """Offer the rates of `plan` to a server; its entry in load.json.

    With `plain` a question is sent as it is, without the task's words on the form of an answer.

    Raises:
        ConfigError: there are no questions, or the first request fails.
    """
    questions = held_out(folder)
    asked = [messages(question, plain) for question in questions]
    return asyncio.run(_load_url(endpoint, asked, questions, plan, console))


async def _load_url(
    endpoint: Endpoint,
    asked: Sequence[list[Message]],
    questions: Sequence[Question],
    plan: Plan,
    console: Console,
) -> Entry:
    items = itertools.cycle(asked)
    live = Live(endpoint.ask, items, plan)
    rates: list[Entry] = []
    async with endpoint:
        first_s = await _first(endpoint, next(items), plan.timeout_s)
        while (rate := next_rate(plan, rates)) is not None:
            with watch(console, endpoint.model, live.state):
                rates.append(await live.offer(rate))
            say(console, rates[-1])
    return {
        **_entry("url", endpoint.url, endpoint.model, plan, questions, first_s, rates),
        "tokens": "parts" if endpoint.without_usage else "usage",
    }


async def _first(endpoint: Endpoint, item: list[Message], timeout_s: float) -> float:
    """Seconds of one request that is not counted; it shows whether there is anything to measure."""
    began = time.monotonic()
    try:
        async with asyncio.timeout(timeout_s):
            await endpoint.ask(item, Heard())
    except (RequestFailed, TimeoutError) as error:
        said = str(error) or f"no answer in {timeout_s:g} s"
        raise ConfigError(f"{endpoint.url}, model {endpoint.model!r}: {said}") from None
    return time.monotonic() - began


def messages(question: Question, plain: bool) -> list[Message]:
    """What an arm that answers alone is asked."""
    instruction = TASKS[question.task].grader.instruction
    return chat("", [question.text if plain else ask(question.text, instruction)])


def find_model(url: str, key: str | None, model: str | None) -> str:
    """The model to ask a server for: the named one, or the only one.

    Raises:
        ConfigError: there is no such server or model, or there are several.
    """
    served = asyncio.run(served_models(url, key))
    there = ", ".join(served[:20]) or "none"
    if model is None:
        if len(served) != 1:
            raise ConfigError(f"--model: which one? {url} serves {there}")
        return served[0]
    if model not in served:
        raise ConfigError(f"--model {model!r}: {url} serves {there}")
    return model


def _entry(
    path: str,
    url: str | None,
    model: str,
    plan: Plan,
    questions: Sequence[Question],
    first_s: float,
    rates: Sequence[Entry],
) -> Entry:
    return {
        "path": path,
        "url": url,
        "model": model,
        "measured": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": machine(),
        "seed": plan.seed,
        "seconds": plan.seconds,
        "timeout_s": plan.timeout_s,
        "max_outstanding": plan.max_outstanding,
        "questions": len(questions),
        "targets": targets_of(plan.targets),
        "first_request_ms": round(first_s * 1000, 1),
        "cold_start_s": None,
        "weights_bytes": None,
        "resident_bytes": None,
        "resident": None,
        "gpu_bytes": None,
        "tokens": "usage",
        "sustained_rate": sustained(rates),
        "rates": list(rates),
    }


def say(console: Console, found: Entry) -> None:
    """One line on a rate that was measured, and another one if the generator did not keep up."""
    p50, p99 = found["e2e_ms"]["p50"], found["e2e_ms"]["p99"]
    times = "no answer" if p50 is None else f"p50 {p50:,.0f} ms, p99 {p99:,.0f} ms"
    failed = found["requests"] - found["answered"]
    text = f"  {found['offered']:g}/s: {found['requests']} requests, {failed} failed, {times}"
    text += ", saturated" if found["saturated"] else ""
    console.print(text, highlight=False, soft_wrap=True)
    if found["generator"]["note"]:
        console.print(f"  ! {found['generator']['note']}", style="yellow", soft_wrap=True)


def save(folder: RunFolder, name: str, entry: Entry) -> dict[str, Any]:
    """Put an entry into eval/load.json in place of an earlier one of that name; the whole file."""
    known = folder.read_json(*LOAD) if folder.exists(*LOAD) else {"arms": {}}
    value = {"version": VERSION, "arms": {**known["arms"], name: entry}}
    folder.write_json(value, *LOAD)
    return value
