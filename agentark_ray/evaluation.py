"""The held-out questions, answered by every arm: of the run's model, of students, of endpoints."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from agentark_ray.debate_rows import light_rows
from agentark_ray.evaluate.metrics import ratio
from agentark_ray.evaluate.probes import PROBE_COLUMNS, probes
from agentark_ray.evaluate.step_quality import QUALITY_COLUMNS, step_quality
from agentark_ray.evaluate.summary import summarize
from agentark_ray.evaluate.tally import CHECK, PEER
from agentark_ray.evaluate_config import GREEDY, EvaluateConfig
from agentark_ray.gold_scores import gold_perplexity
from agentark_ray.model_card import write_model_card
from agentark_ray.robustness_config import OOD, ood_kind, row_kind
from agentark_ray.run_folder import RunFolder
from agentark_ray.session import remote
from agentark_ray.step_scores import prm_scores
from agentark_ray.students import (
    OWN_ARM,
    TRANSCRIPTS,
    Record,
    arm_of,
    records,
    run_config,
    trained,
)
from agentark_ray.traces.earlier import earlier, keep_asked
from agentark_ray.traces.generate import trace_dataset
from agentark_ray.traces.regrade import regrade
from agentark_ray.traces.requests import Plan, write_requests
from agentark_ray.traces.samples import Budget, measure_budget
from agentark_ray.types import Split
from agentark_ray.workspace import Figures, Workspace

SUMMARY = ("eval", "summary.json")
BASE = "base"  # whose answers are those of the run's model


def answer(space: Workspace, gates_for: str = OWN_ARM, again: bool = False) -> Figures:
    """All arms answer; summary, gates of the student that answers as `gates_for`, model cards.

    What was answered before is not answered again, but with `again` graded again. The gates are
    decided anew from all that is stored.
    """
    space, budget = _measured(space)
    folder, found = space.folder, [one for one in records(space.folder) if trained(one)]
    evaluate = space.config.evaluate
    groups = _groups(space, found)
    held = {group.name: _hold(space, group) for group in groups}
    generated = folder.stage("generate")
    assert generated is not None, "nothing was generated"
    names = [f"{TRANSCRIPTS}/{name}" for name in held]
    regraded = regrade(folder, space.config, names) if again else None
    if regraded:
        space.say(f"  graded again: {regraded['changed']:,} of {regraded['answers']:,} changed")
    probed = probes(
        light_rows([trace_dataset(folder, name) for name in names], PROBE_COLUMNS), evaluate
    )
    summary = summarize(
        [trace_dataset(folder, name) for name in names],
        space.config.gates,
        train_traces=generated["rows"] - generated["failed"],
        seeds=[space.config.seed],
        student=gates_for,
        flips=probed.flips(gates_for),
        suites=probed.suites(gates_for),
        controls=[arm_of(folder, one["name"]) for one in found if one["strategy"] == "rft"],
        gates_of_run=run_config(folder).gates,
    )
    quality = remote(_quality, folder, names)
    for name, figures in _prm(space, found, names).items():
        quality[name]["prm"] = figures
    for name, figures in _gold(space, found).items():
        quality.setdefault(name, {})["gold"] = figures
    for arm, figures in summary["arms"].items():
        figures |= {"second_turn": probed.second_turn(arm), "steps": quality.get(arm)}
    found_too = {
        "self_consistency": _at_budget(summary["arms"], evaluate, budget),
        "robustness": probed.robustness(),
        "ood": probed.ood(),
        "transcripts": {arm: group.name for group in groups for arm in group.arms},
        "regraded": regraded,
        "settings": space.config.snapshot()["evaluate"],
    }
    folder.write_json({**summary, **found_too}, *SUMMARY)
    for record in found:
        write_model_card(folder, record["name"])
    return {
        **{f"{name}_rows": figures["rows"] for name, figures in held.items()},
        "students": students_now(folder),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    """Arms whose transcripts are in one folder: those of one model, and of the teams."""

    name: str  # of the folder in eval/transcripts, and of the requests
    title: str
    model: str
    arms: Sequence[str]


def _groups(space: Workspace, found: Sequence[Record]) -> list[_Group]:
    folder, evaluate = space.folder, space.config.evaluate
    base = _Group(name=BASE, title="base arms", model=space.model, arms=evaluate.base_arms)
    students = [
        _Group(
            name=arm,
            title=f"student {name}",
            model=folder.path("students", name),
            arms=evaluate.student_arms(arm),
        )
        for name, arm in ((one["name"], arm_of(folder, one["name"])) for one in found)
    ]
    endpoints = [
        _Group(name=name, title=f"endpoint {name}", model=str(agent.model), arms=(name,))
        for name, agent in evaluate.endpoints.items()
    ]
    return [base, *students, *endpoints]


def _measured(space: Workspace) -> tuple[Workspace, Budget | None]:
    """The workspace with the number of samples that self-consistency votes over.

    Raises:
        ConfigError: it is to be measured, and there is no finished debate.
    """
    evaluate = space.config.evaluate
    if "self_consistency" not in evaluate.arms or evaluate.self_consistency_samples:
        return space, None
    budget: Budget = remote(measure_budget, space.folder)
    samples = {"self_consistency_samples": budget.samples}
    update = {"evaluate": evaluate.model_copy(update=samples)}
    return Workspace(space.config.model_copy(update=update), space.console), budget


def _at_budget(
    arms: Mapping[str, Figures], evaluate: EvaluateConfig, budget: Budget | None
) -> Figures | None:
    """How many answers self-consistency had and why, and what they cost beside the debate."""
    if "self_consistency" not in arms:
        return None
    names = ("self_consistency", "debate")
    spent, debate = (arms[name]["output_tokens_per_query"] for name in names)
    return {
        "samples": evaluate.self_consistency_samples,
        "measured": asdict(budget) if budget else None,
        "output_tokens_per_query": spent,
        "share_of_debate": ratio(spent, debate),
    }


def _quality(folder: RunFolder, names: Sequence[str]) -> dict[str, Figures]:
    stored = [trace_dataset(folder, name) for name in names]
    return dict(step_quality(light_rows(stored, QUALITY_COLUMNS)))


def _prm(space: Workspace, found: Sequence[Record], names: Sequence[str]) -> dict[str, Figures]:
    """Scores of the first student's reward model, if one of the students has any."""
    models = [f"reward_models/{one['name']}-prm" for one in found if "prm" in one["stages"]]
    if not models:
        return {}
    return prm_scores(space.folder, space.config, models[0], names)


def _gold(space: Workspace, found: Sequence[Record]) -> dict[str, Figures]:
    """Perplexity of gold reasoning under the run's model, as `single`, and under every student."""
    folder = space.folder
    students = {arm_of(folder, one["name"]): folder.path("students", one["name"]) for one in found}
    return gold_perplexity(folder, space.config, {"single": space.model, **students})


def students_now(folder: RunFolder) -> dict[str, str]:
    """Which students there are, and since when."""
    return {one["name"]: one["created"] for one in records(folder) if trained(one)}


def _hold(space: Workspace, group: _Group) -> dict[str, int]:
    folder, config, out = space.folder, space.config, f"{TRANSCRIPTS}/{group.name}"
    ood = [name for name in folder.stage("questions") or () if name.startswith(OOD)]
    plans = plans_for(group.arms, config.evaluate, ood)
    total = remote(write_requests, folder, config, group.model, Split.EVAL, plans, group.name)
    moved = remote(keep_asked, folder, group.name, out)
    if any(moved.values()):
        space.say(
            f"  {group.title}: {moved['aside']:,} answers that are not asked for set aside in"
            f" {folder.path(earlier(out))}, {moved['back']:,} brought back"
        )
    arms = {plan.arm for plan in plans}
    busy = space if group.name == BASE else _busier(space)
    return busy.hold(group.title, group.model, arms, group.name, out, total)


def _busier(space: Workspace) -> Workspace:
    """The workspace with as many single answers in flight as its debates have."""
    engine, debate = space.config.engine, space.config.debate
    update = {"in_flight": engine.in_flight * debate.samples}
    config = space.config.model_copy(update={"engine": engine.model_copy(update=update)})
    return Workspace(config, space.console)


def plans_for(arms: Sequence[str], config: EvaluateConfig, ood: Sequence[str]) -> list[Plan]:
    """Every arm on all questions, on changed ones, on other sets and on the latency probe.

    Single models also check themselves and hear a wrong peer. `ood` are the sets, by their files.
    """
    sampled = [arm for arm in arms if not arm.endswith(GREEDY)]
    several = ("self_consistency", "debate", *config.teams)
    alone = [arm for arm in sampled if arm not in several]
    return [
        *(Plan(arm=arm, samples=config.samples if arm in sampled else 1) for arm in arms),
        *(Plan(arm=f"{arm}{CHECK}") for arm in alone),
        *(Plan(arm=f"{arm}{PEER}", limit=config.peer_questions) for arm in alone),
        *(
            Plan(arm=arm, kind=row_kind(*cell), limit=config.robustness.questions)
            for arm in arms
            for cell in config.changes(arm)
        ),
        *(
            Plan(arm=arm, kind=ood_kind(name.removeprefix(f"{OOD}-")), questions=name)
            for arm in arms
            for name in ood
        ),
        *(
            Plan(arm=arm, kind="latency", limit=config.timed(arm))
            for arm in arms
            if config.timed(arm)
        ),
    ]
