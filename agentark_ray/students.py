"""The students of a run folder: their names, their settings, and what is recorded of them.

    students/NAME.json    the record: settings, parent, traces, figures of every finished stage
    datasets/NAME/        what it learned from
    checkpoints/NAME/     of its training
    students/NAME/        the model

The run's own student is the one that `agentark run` makes from the config; it is named after its
strategy and answers as the arm `student`. Others are made from the same traces by `agentark
distill`, and answer as arms of their names. A name belongs to one configuration, as a run folder
does.
"""

import time
from collections.abc import Sequence
from typing import Any

from pyarrow import fs

from agentark_ray.config import Config, ConfigError, parse_config, stable_hash
from agentark_ray.evaluate_config import check_arm_name
from agentark_ray.run_folder import RunFolder, changes, versions
from agentark_ray.strategy import StrategyConfig

Record = dict[str, Any]

OWN_ARM = "student"
TRANSCRIPTS = "eval/transcripts"  # of every arm, in folders by their names
MAY_DIFFER = ("distill.", "train.")  # what a student may have of its own


def check_name(name: str, config: Config) -> str:
    """The name.

    Raises:
        ConfigError: it cannot be a student's.
    """
    try:
        check_arm_name(name)
    except ValueError as error:
        raise ConfigError(f"--name {error}") from None
    if name in config.evaluate.given_names:
        raise ConfigError(f"--name {name!r}: is the name of an arm; choose another one")
    return name


def run_config(folder: RunFolder, overrides: Sequence[str] = (), strategy: str = "") -> Config:
    """The config of an existing run, with `overrides` and, if given, another strategy.

    Another strategy keeps what all strategies have in common, such as `distill.seq_len`.

    Raises:
        ConfigError: there is no run, or the result is no valid config.
    """
    if not folder.exists("manifest.json"):
        raise ConfigError(f"{folder.uri}: no run folder (manifest.json is missing)")
    values = folder.read_json("manifest.json")["config"]
    for override in overrides:
        if override.startswith(("output=", "distill.type=")):
            what = "--strategy" if override.startswith("distill") else "RUN"
            raise ConfigError(f"{override}: is said by {what}")
    if strategy and strategy != values["distill"]["type"]:
        common = {name: values["distill"][name] for name in StrategyConfig.model_fields}
        values["distill"] = {"type": strategy, **common}
    values["output"] = folder.uri
    return parse_config(values, overrides, folder.path("manifest.json"))


def check_overrides(folder: RunFolder, config: Config, may: Sequence[str] = ()) -> None:
    """A config made by `run_config` differs from its run in keys that begin with one of `may`.

    Raises:
        ConfigError: it differs in others, too.
    """
    fixed = [
        {key: value for key, value in of.identity().items() if not key.startswith(tuple(may))}
        for of in (run_config(folder), config)
    ]
    if found := changes(*fixed):
        allowed = " and ".join(f"{prefix}*" for prefix in may)
        may_be = f"only {allowed} and" if may else "only"
        raise ConfigError(
            f"{folder.uri}: {'; '.join(found)}: {may_be} where and how fast it happens may differ"
            " from the run"
        )


def config_with(
    folder: RunFolder, overrides: Sequence[str], may: Sequence[str] = (), strategy: str = ""
) -> Config:
    """`run_config` of an existing run, checked by `check_overrides`.

    Raises:
        ConfigError: there is no run, or it may not differ so.
    """
    config = run_config(folder, overrides, strategy)
    check_overrides(folder, config, may)
    return config


def own_name(config: Config) -> str:
    """The name of the run's own student."""
    return config.distill.type


def identity(config: Config, parent: str | None) -> dict[str, Any]:
    """What decides a student, given its run: `{dotted key: value}`."""
    own = {key: value for key, value in config.identity().items() if key.startswith(MAY_DIFFER)}
    return {**own, "from": parent}


def open_record(folder: RunFolder, config: Config, name: str, parent: str | None) -> Record:
    """The record of a student, made if there is none.

    Raises:
        ConfigError: the name is taken by a student of another configuration; the parent is no
            trained student of the folder.
    """
    if parent is not None and not any(r["name"] == parent and trained(r) for r in records(folder)):
        there = ", ".join(r["name"] for r in records(folder) if trained(r)) or "none"
        raise ConfigError(f"--from {parent!r}: no trained student of {folder.uri} (there: {there})")
    now, run = identity(config, parent), run_config(folder)
    if folder.exists(*record_path(name)):
        record = folder.read_json(*record_path(name))
        _same(folder, name, identity(_config_of(run, record), record["parent"]), now)
        return record
    if name == own_name(run):
        _same(folder, name, identity(run, None), now)
    return {
        "name": name,
        "strategy": config.distill.type,
        "parent": parent,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "config": {key: config.snapshot()[key] for key in ("distill", "train")},
        "config_hash": stable_hash(now),
        "run_config_hash": folder.read_json("manifest.json")["config_hash"],
        "seed": config.seed,
        "versions": versions(),
        "stages": {},
    }


def _config_of(run: Config, record: Record) -> Config:
    values = {**run.snapshot(), **record["config"]}
    return parse_config(values, (), f"students/{record['name']}.json")


def _same(folder: RunFolder, name: str, before: dict[str, Any], now: dict[str, Any]) -> None:
    if found := changes(before, now):
        raise ConfigError(
            f"{folder.path('students', name)}: a student of this name has another config"
            f" ({'; '.join(found)}); choose another name with --name, or restore these values"
        )


def record_path(name: str) -> tuple[str, str]:
    """Where a student's record is."""
    return "students", f"{name}.json"


def records(folder: RunFolder) -> list[Record]:
    """The records of all students, the run's own first, then in the order they were made."""
    selector = fs.FileSelector(folder.inner("students"), allow_not_found=True)
    found = [
        folder.read_json("students", info.base_name)
        for info in folder.filesystem.get_file_info(selector)
        if info.base_name.endswith(".json")
    ]
    if not found:
        return []
    own = folder.read_json("manifest.json")["config"]["distill"]["type"]
    return sorted(found, key=lambda one: (one["name"] != own, one["created"], one["name"]))


def trained(record: Record) -> bool:
    """Whether there is a model."""
    return record["stages"].get("train", {}).get("steps", 0) > 0


def arm_of(folder: RunFolder, name: str) -> str:
    """The arm as which a student answers held-out questions."""
    own = folder.read_json("manifest.json")["config"]["distill"]["type"]
    return OWN_ARM if name == own else name
