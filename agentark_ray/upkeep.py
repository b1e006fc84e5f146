"""What `agentark roi` and `agentark retrain-check` read from a run folder."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from itertools import islice
from typing import Any

from pyarrow import dataset

from agentark_ray.config import Config, ConfigError
from agentark_ray.evaluate.engine_time import EngineTime, Speed
from agentark_ray.evaluate.retrain import Reference, feature_bins
from agentark_ray.evaluate.roi import Forecast, Roi, Serving, Work, roi
from agentark_ray.monitoring import question_features
from agentark_ray.plan import measured
from agentark_ray.run_folder import RunFolder
from agentark_ray.students import Record, arm_of, records, trained

SUMMARY = ("eval", "summary.json")
LOAD = ("eval", "load.json")  # its form: load/figures.py
STAND_IN = "the debate's"
REFERENCE_QUESTIONS = 20_000  # the first ones, for the distribution of features


def evaluated(folder: RunFolder) -> dict[str, Any]:
    """The summary of a run.

    Raises:
        ConfigError: it is not evaluated.
    """
    if not folder.exists(*SUMMARY):
        raise ConfigError(f"{folder.uri}: no evaluated run ({'/'.join(SUMMARY)} is missing)")
    return folder.read_json(*SUMMARY)


def student_record(folder: RunFolder, summary: Mapping[str, Any], name: str | None) -> Record:
    """The record of a student by its name; by default that of the one the gates were asked of.

    Raises:
        ConfigError: there is none that is trained and evaluated.
    """
    there = [
        one
        for one in records(folder)
        if trained(one) and arm_of(folder, one["name"]) in summary["arms"]
    ]
    for one in there:
        if one["name"] == name or (name is None and _answers_as(folder, one, summary["student"])):
            return one
    known = ", ".join(one["name"] for one in there) or "none"
    asked = f"{folder.uri}:" if name is None else f"--student {name!r}:"
    raise ConfigError(f"{asked} no such evaluated student (there: {known})")


def _answers_as(folder: RunFolder, record: Record, arm: str) -> bool:
    return arm_of(folder, record["name"]) == arm


def run_roi(
    folder: RunFolder,
    config: Config,
    *,
    student: str | None,
    queries_per_day: float,
    growth: float,
    redistil_days: float | None,
    start: date,
    fallback_rate: float | None,
    investment_usd: float | None,
    redistil_usd: float | None,
    tokens_per_s: float | None,
    student_tokens_per_s: float | None,
) -> Roi:
    """The return on distilling one student of a run.

    Raises:
        ConfigError: the run is not evaluated, or a figure or price is missing.
    """
    summary = evaluated(folder)
    record = student_record(folder, summary, student)
    arm = arm_of(folder, record["name"])
    manifest = folder.read_json("manifest.json")
    speed, seconds = tokens_per_s, None
    if "actor_seconds" in manifest["stages"]["generate"]:
        run = measured(folder.uri, manifest, 0)
        speed, seconds = tokens_per_s or run.tokens_per_s, run.engine_seconds
    loads = _loads(folder)
    student_rate, origin = student_speed(student_tokens_per_s, loads.get(arm), speed)
    return roi(
        summary["arms"],
        arm,
        config.prices,
        Serving(
            gpus_per_engine=config.gpus_per_engine,
            debate_tokens_per_s=speed,
            student_tokens_per_s=student_rate,
            student_speed=origin,
        ),
        Work(
            tokens=manifest["stages"]["generate"],
            engine_seconds=seconds,
            training_seconds=_training_seconds(folder, record),
            training_gpus=config.train.workers if config.gpus_per_engine else 0,
        ),
        Forecast(
            queries_per_day=queries_per_day,
            growth=growth,
            redistil_days=redistil_days,
            start=start,
        ),
        fallback_rate=fallback_rate,
        investment_usd=investment_usd,
        redistil_usd=redistil_usd,
    )


def engine_time(folder: RunFolder, config: Config) -> EngineTime | None:
    """What answers of an evaluated run cost by the time of engines; None without its price.

    The speed of an arm is the one it had under load; of the debate also that of the run's debates,
    which stands in for all that this run's engines answer alone, as in `roi`.
    """
    if config.prices.gpu_hour is None:
        return None
    summary, loads = evaluated(folder), _loads(folder)
    manifest = folder.read_json("manifest.json")
    generated = manifest["stages"]["generate"]
    timed = generated["output_tokens"] and generated.get("actor_seconds")
    debates = measured(folder.uri, manifest, 0).tokens_per_s if timed else None
    settings = summary.get("settings") or manifest["config"]["evaluate"]
    others = {*settings["teams"], *settings["endpoints"]}  # of other models, or not ours
    found = {
        arm: _speed(arm, loads.get(arm), None if arm in others else debates)
        for arm in summary["arms"]
    }
    return EngineTime(
        gpu_hour=config.prices.gpu_hour,
        gpus_per_engine=config.gpus_per_engine,
        speeds={arm: speed for arm, speed in found.items() if speed},
    )


def _speed(arm: str, load: Mapping[str, Any] | None, debates: float | None) -> Speed | None:
    if (found := busy_speed(load)) is not None:
        return Speed(tokens_per_s=found, origin="measured under load")
    if debates is None:
        return None
    origin = "measured in the run's debates" if arm == "debate" else STAND_IN
    return Speed(tokens_per_s=debates, origin=origin)


def _loads(folder: RunFolder) -> dict[str, Any]:
    return folder.read_json(*LOAD)["arms"] if folder.exists(*LOAD) else {}


def student_speed(
    stated: float | None, load: Mapping[str, Any] | None, debate: float | None
) -> tuple[float | None, str]:
    """A student's output tokens a second of one engine, and where the figure is from.

    Args:
        load: the student's entry in eval/load.json, if it has one.
        debate: the speed that stands in for one that was not measured.
    """
    if stated is not None:
        return stated, "as stated"
    if (found := busy_speed(load)) is not None:
        return found, "as measured under load"
    return debate, "the debate's speed, as the student's was not measured"


def busy_speed(load: Mapping[str, Any] | None) -> float | None:
    """The most output tokens a second that one engine gave under load.

    None without an engine that was saturated at some rate: a server may have any number of engines,
    and what keeps up with every rate shows how much it was asked, not how much it can do.
    """
    if load is None or load["path"] != "engine":
        return None
    if not any(rate["saturated"] for rate in load["rates"]):
        return None
    return max(rate["output_tokens_per_s"] for rate in load["rates"]) or None


def _training_seconds(folder: RunFolder, record: Record) -> float:
    """Of all stages of a student and of those it started from."""
    by_name = {one["name"]: one for one in records(folder)}
    own = sum(stage["seconds"] for stage in record["stages"].values())
    parent = by_name.get(record["parent"]) if record["parent"] else None
    return own + (_training_seconds(folder, parent) if parent else 0.0)


def reference(folder: RunFolder, student: str | None) -> Reference:
    """A student as it was evaluated, with the features of the questions it learned from.

    Raises:
        ConfigError: the run is not evaluated, or has no such student.
    """
    summary = evaluated(folder)
    record = student_record(folder, summary, student)
    arm = summary["arms"][arm_of(folder, record["name"])]
    source = dataset.dataset(
        folder.inner("questions", "train.parquet"), filesystem=folder.filesystem
    )
    texts = (
        text for batch in source.to_batches(columns=["question"]) for text in batch[0].to_pylist()
    )
    return Reference(
        student=record["name"],
        correct=arm["correct"],
        n=arm["n"],
        made=datetime.fromisoformat(record["created"]).astimezone(UTC),
        bins=feature_bins(map(question_features, islice(texts, REFERENCE_QUESTIONS))),
    )
