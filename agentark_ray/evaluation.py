"""The held-out questions, answered by every arm: base arms once, and one arm for every student."""

from collections.abc import Sequence

from agentark_ray.config import EvaluateConfig
from agentark_ray.debate_rows import light_rows
from agentark_ray.evaluate.probes import PROBE_COLUMNS, probes
from agentark_ray.evaluate.step_quality import QUALITY_COLUMNS, step_quality
from agentark_ray.evaluate.summary import summarize
from agentark_ray.evaluate.tally import CHECK, PEER
from agentark_ray.model_card import write_model_card
from agentark_ray.robustness_config import OOD, ood_kind, row_kind
from agentark_ray.run_folder import RunFolder
from agentark_ray.step_scores import prm_scores
from agentark_ray.students import OWN_ARM, TRANSCRIPTS, Record, arm_of, records, trained
from agentark_ray.traces.generate import trace_dataset
from agentark_ray.traces.requests import Plan
from agentark_ray.types import Split
from agentark_ray.workspace import Figures, Workspace, remote

SUMMARY = ("eval", "summary.json")


def answer(space: Workspace, gates_for: str = OWN_ARM) -> Figures:
    """All arms answer; summary, gates of the student that answers as `gates_for`, model cards.

    What was answered before is not answered again.
    """
    folder, found = space.folder, [one for one in records(space.folder) if trained(one)]
    base = [arm for arm in space.config.evaluate.arms if arm != OWN_ARM]
    held = {"base": _hold(space, "base arms", space.model, base, "base")}
    for record in found:
        arm = arm_of(folder, record["name"])
        model = folder.path("students", record["name"])
        held[arm] = _hold(space, f"student {record['name']}", model, [arm], arm)
    generated = folder.stage("generate")
    assert generated is not None, "nothing was generated"
    names = [f"{TRANSCRIPTS}/{name}" for name in held]
    probed = probes(
        light_rows([trace_dataset(folder, name) for name in names], PROBE_COLUMNS),
        space.config.evaluate,
    )
    summary = summarize(
        [trace_dataset(folder, name) for name in names],
        space.config.gates,
        train_traces=generated["rows"] - generated["failed"],
        seeds=[space.config.seed],
        student=gates_for,
        flips=probed.flips(gates_for),
        suites=probed.suites(gates_for),
    )
    quality = remote(_quality, folder, names)
    for name, figures in _prm(space, found, names).items():
        quality[name]["prm"] = figures
    for arm, figures in summary["arms"].items():
        figures |= {"second_turn": probed.second_turn(arm), "steps": quality.get(arm)}
    folder.write_json({**summary, "robustness": probed.robustness(), "ood": probed.ood()}, *SUMMARY)
    for record in found:
        write_model_card(folder, record["name"])
    return {
        **{f"{name}_rows": figures["rows"] for name, figures in held.items()},
        "students": students_now(folder),
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


def students_now(folder: RunFolder) -> dict[str, str]:
    """Which students there are, and since when."""
    return {one["name"]: one["created"] for one in records(folder) if trained(one)}


def _hold(
    space: Workspace, title: str, model: str, arms: Sequence[str], name: str
) -> dict[str, int]:
    ood = [name for name in space.folder.stage("questions") or () if name.startswith(OOD)]
    plans = plans_for(arms, space.config.evaluate, ood)
    return space.debates(title, model, Split.EVAL, plans, name, f"{TRANSCRIPTS}/{name}")


def plans_for(arms: Sequence[str], config: EvaluateConfig, ood: Sequence[str]) -> list[Plan]:
    """Every arm on all questions, on changed ones, on other sets and on the latency probe.

    Single models also check themselves and hear a wrong peer. `ood` are the sets, by their files.
    """
    alone = [arm for arm in arms if arm not in ("self_consistency", "debate")]
    probe = config.latency_queries
    return [
        *(Plan(arm=arm) for arm in (*arms, *(f"{arm}{CHECK}" for arm in alone))),
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
        *(Plan(arm=arm, kind="latency", limit=probe) for arm in arms if probe),
    ]
