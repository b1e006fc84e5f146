"""The checklist of a pilot, filled from what a run folder really contains. It generates nothing."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from agentark_ray.run_folder import RunFolder
from agentark_ray.students import records, trained

Json = Mapping[str, Any]
ENOUGH_FOR_P99 = 299  # queries that bound a p99 at 95 %


class State(StrEnum):
    """Whether an item is done."""

    DONE = "done"
    PARTLY = "partly"
    MISSING = "missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One line of the checklist."""

    item: str
    state: State
    evidence: str  # what was found, or how to get what was not


def checklist(folder: RunFolder) -> tuple[Item, ...]:
    """All items, in the order of a pilot."""
    manifest = folder.read_json("manifest.json")
    summary = ("eval", "summary.json")
    evaluated = folder.read_json(*summary) if folder.exists(*summary) else None
    gates = {**manifest["config"]["gates"], **(evaluated or {}).get("gate_settings", {})}
    return (
        *_data(manifest, gates),
        *_students(folder),
        *(_evaluated(evaluated, gates) if evaluated else _not_evaluated()),
        _prices(manifest),
        _present(folder, "Report", ("report.html",), "`agentark report RUN` writes it"),
    )


def _item(item: str, done: bool | None, evidence: str) -> Item:
    """Of a state: true is done, None partly, false missing."""
    state = State.PARTLY if done is None else State.DONE if done else State.MISSING
    return Item(item=item, state=state, evidence=evidence)


def _present(folder: RunFolder, item: str, parts: tuple[str, ...], how: str) -> Item:
    there = folder.exists(*parts)
    return _item(item, there, "/".join(parts) if there else how)


def _data(manifest: Json, gates: Json) -> Iterator[Item]:
    stages = manifest["stages"]
    questions = stages.get("questions")
    if questions is None:
        yield _item("Questions", False, "`agentark run CONFIG` reads and checks them")
        yield _item("Contamination", False, "checked with the questions")
    else:
        told = f"{questions['train']:,} for training, {questions['eval']:,} held out"
        yield _item("Questions", True, told)
        yield _contamination(questions, manifest["config"]["tasks"])
    made = stages.get("generate")
    if made is None:
        yield _item("Debates", False, "`agentark traces generate CONFIG` holds them")
        return
    finished, asked = made["rows"] - made["failed"], gates["min_traces"]
    told = f"{finished:,} finished, {made['failed']:,} failed"
    told += "; its gate is off" if asked is None else f"; the gate asks for {asked:,}"
    yield _item("Debates", True if finished >= (asked or 1) else None, told)


def _contamination(questions: Json, tasks: Json) -> Item:
    if "leaks" not in questions:
        return _item(
            "Contamination", False, "the run does not say whether training questions are held out"
        )
    found = questions["leaks"]
    told = f"{found:,} training questions were (nearly) held-out ones; tasks.leaks: "
    told += str(tasks.get("leaks"))
    return _item("Contamination", True if not found or tasks.get("leaks") == "drop" else None, told)


def _students(folder: RunFolder) -> Iterator[Item]:
    found = [one for one in records(folder) if trained(one)]
    names = ", ".join(one["name"] for one in found)
    yield _item("Student", bool(found), names or "`agentark distill RUN` trains one")
    control = [one["name"] for one in found if one["strategy"] == "rft"]
    how = "`agentark distill RUN --strategy rft`: does the debate teach more than one agent does?"
    yield _item("Control", bool(control), ", ".join(control) or how)
    cards = [one["name"] for one in found if folder.exists("students", one["name"], "README.md")]
    done = None if 0 < len(cards) < len(found) else bool(cards)
    yield _item("Model cards", done, ", ".join(cards) or "`agentark evaluate RUN` writes them")


def _not_evaluated() -> Iterator[Item]:
    for item in ("Held-out questions", "Latency", "Robustness", "Other distribution", "Gates"):
        yield _item(item, False, "`agentark evaluate RUN`")


def _evaluated(summary: Json, gates: Json) -> Iterator[Item]:
    yield _held_out(summary, gates["accuracy_ratio"])
    yield _latency(summary, _off(gates, ("p95_ms", "p99_ms")))
    yield _robustness(summary)
    ood = summary.get("ood")
    how = "evaluate.ood.NAME or tasks.ood_path gives a set of another distribution"
    yield _item("Other distribution", bool(ood), ", ".join(ood) if ood else how)
    yield _gates(summary, _off(gates, gates))


def _off(gates: Json, names: Iterable[str]) -> str:
    """Those of the gates that have no threshold, to be added to what is told."""
    found = [name for name in names if gates[name] is None]
    return f"; off: {', '.join(found)}" if found else ""


def _held_out(summary: Json, ratio: float | None) -> Item:
    """Done if the questions show what lies between the debate and the least that may replace it."""
    told = f"{summary['questions']:,} questions"
    found = summary.get("against_debate", {}).get(summary["student"])
    if found is None:
        return _item("Held-out questions", None, f"{told}; student and debate were not compared")
    if found["detectable"] is None:
        return _item("Held-out questions", None, f"{told}, too few to show any difference")
    told += f" show a difference of {100 * found['detectable']:.1f} points"
    if ratio is None:
        return _item("Held-out questions", None, f"{told}; how small it must be, no gate says")
    debate = summary["arms"]["debate"]["accuracy"]
    margin = abs(1 - ratio) * debate
    enough = found["detectable"] <= margin
    told += f"; {'at most' if enough else 'not'} the {100 * margin:.1f} points of the accuracy gate"
    told += f" ({ratio:g} of {debate:.1%})"
    if not enough and (_gate(summary, "accuracy_ratio") or {}).get("status") in (
        "passed",
        "failed",
    ):
        told += ", which is decided all the same"
    return _item("Held-out questions", enough or None, told)


def _latency(summary: Json, off: str) -> Item:
    n = summary["arms"].get(summary["student"], {"latency_ms": {"n": 0}})["latency_ms"]["n"]
    told = f"{n:,} queries of the student, each alone"
    if not n:
        told = "evaluate.latency_queries=N measures it"
    elif n < ENOUGH_FOR_P99:
        told += f"; {ENOUGH_FOR_P99} bound a p99"
    return _item("Latency", None if 0 < n < ENOUGH_FOR_P99 else bool(n), told + off)


def _robustness(summary: Json) -> Item:
    found = summary.get("robustness")
    if not found:
        return _item("Robustness", False, "evaluate.robustness.questions=N measures it")
    gate = _gate(summary, "adversarial_failure")
    told = gate["reason"] if gate else "measured; its gate is off"
    return _item("Robustness", True, told)


def _gate(summary: Json, name: str) -> Json | None:
    return next((gate for gate in summary["gates"] if gate["name"] == name), None)


def _gates(summary: Json, off: str) -> Item:
    gates = summary["gates"]
    unmeasured = [gate["name"] for gate in gates if gate["value"] is None]
    still_open = [gate["name"] for gate in gates if gate.get("status") == "open"]
    told = f"{len(gates) - len(unmeasured)} of {len(gates)} measured"
    told += f"; not measured: {', '.join(unmeasured)}" if unmeasured else ""
    told += f"; open: {', '.join(still_open)}" if still_open else ""
    whole = bool(gates) and not unmeasured and not still_open
    return _item("Gates", True if whole else None if gates else False, told + off)


def _prices(manifest: Json) -> Item:
    given = [f"{name} {usd:g}" for name, usd in manifest["config"]["prices"].items() if usd]
    told = f"USD: {', '.join(given)}" if given else "prices.* of the config, for `agentark roi RUN`"
    return _item("Price list", bool(given), told)
