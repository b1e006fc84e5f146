"""What a run will cost: plain arithmetic over figures that were measured or stated.

Nothing is assumed without saying so, and no figure has a default: what is neither measured nor
stated is an error, or, where the rest can do without it, missing from the answer.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agentark_ray.config import Config, ConfigError
from agentark_ray.debate.protocol import arm_protocol
from agentark_ray.engine.settings import placement, refs_of

# What decides speed and tokens: a measurement of another value may not carry over.
COMPARED = (
    "model",
    "gpus_per_engine",
    "tasks",
    "debate",
    "engine.type",
    "engine.max_model_len",
    "engine.models",
)
NOT_COMPARED = tuple(
    f"tasks.{name}"
    for name in ("train_questions", "eval_questions", "ood_questions", "eval_fraction", "leaks")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The stage `generate` of a finished run."""

    source: str  # the run folder
    config: Mapping[str, Any]  # of that run
    debates: int
    output_tokens: int
    seconds: float  # of all attempts together
    engine_seconds: float  # of every engine, added up
    attempts: int
    traces_bytes: int  # of the folder traces/

    @property
    def tokens_per_s(self) -> float:
        """Output tokens a second of one engine."""
        return self.output_tokens / self.engine_seconds

    @property
    def output_tokens_per_debate(self) -> float:
        return self.output_tokens / self.debates

    @property
    def bytes_per_debate(self) -> float:
        return self.traces_bytes / self.debates


@dataclass(frozen=True, slots=True, kw_only=True)
class Stated:
    """What the user said; None where nothing was said."""

    questions: int | None = None
    tokens_per_s: float | None = None  # output tokens a second of one engine
    output_tokens_per_debate: float | None = None
    bytes_per_debate: float | None = None
    gpus: int | None = None
    gpu_hour_price: float | None = None  # USD


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """The cost of generating traces; None where it cannot be known."""

    debates: int
    engines: int
    gpus: int
    output_tokens: float
    tokens_per_s: float  # of all engines together
    hours: float
    days: float
    gpu_hours: float | None  # None without GPUs
    usd: float | None
    storage_bytes: float | None
    assumptions: tuple[str, ...]
    warnings: tuple[str, ...]


def measured(source: str, manifest: Mapping[str, Any], traces_bytes: int) -> Measured:
    """What the manifest of a run says about generating.

    Raises:
        ConfigError: the stage is not finished, or it generated nothing.
    """
    stage = manifest["stages"].get("generate")
    if stage is None:
        raise ConfigError(f"--from {source}: the stage generate of this run is not finished")
    if not stage["rows"] or not stage["output_tokens"] or not stage["seconds"]:
        raise ConfigError(f"--from {source}: nothing was generated: {dict(stage)}")
    if "actor_seconds" not in stage:
        raise ConfigError(
            f"--from {source}: its manifest does not say how long every attempt took; it is of an"
            " earlier version"
        )
    return Measured(
        source=source,
        config=manifest["config"],
        debates=stage["rows"],
        output_tokens=stage["output_tokens"],
        seconds=stage["seconds"],
        engine_seconds=stage["actor_seconds"],
        attempts=stage["attempts"],
        traces_bytes=traces_bytes,
    )


def estimate(config: Config, stated: Stated, run: Measured | None) -> Estimate:
    """GPU-hours, days, money and storage of generating traces.

    Raises:
        ConfigError: a figure is missing, naming the option that gives it; or the GPUs do not fit.
    """
    notes: list[str] = []
    debates = _questions(config, stated, notes)
    engines, gpus = _hardware(config, stated, notes)
    rate = _figure("tokens_per_s", "output tokens a second of one engine", stated, run, notes)
    tokens = _figure("output_tokens_per_debate", "output tokens a debate", stated, run, notes)
    size = _storage(stated, run, notes)
    hours = debates * tokens / (rate * engines) / 3_600
    notes.append("speed grows in proportion to the number of engines, and all of them are busy")
    notes.append("generating traces only: training and evaluation are not in it")
    gpu_hours = gpus * hours if gpus else None
    return Estimate(
        debates=debates,
        engines=engines,
        gpus=gpus,
        output_tokens=debates * tokens,
        tokens_per_s=rate * engines,
        hours=hours,
        days=hours / 24,
        gpu_hours=gpu_hours,
        usd=_usd(gpu_hours, config, stated, notes),
        storage_bytes=None if size is None else debates * size,
        assumptions=tuple(notes),
        warnings=() if run is None else (*_differences(config, run), *_growth(run)),
    )


def _questions(config: Config, stated: Stated, notes: list[str]) -> int:
    found = stated.questions or config.tasks.train_questions
    if found is None:
        raise ConfigError("how many questions? give --questions N or tasks.train_questions=N")
    source = "--questions" if stated.questions else "tasks.train_questions of the config"
    notes.append(f"{found:,} questions, one debate each, from {source}")
    return found


def _hardware(config: Config, stated: Stated, notes: list[str]) -> tuple[int, int]:
    """(engines, GPUs); the engines of a team of several models count as one."""
    refs = refs_of(config, arm_protocol(config, "debate").speakers, config.model)
    place = placement(config, refs)
    each = place.total("GPU")
    unit = f"team(s) of {len(place.apart)} engines with" if place.apart else "engine(s) of"
    if stated.gpus is None:
        engines = config.engine.actors
        notes.append(f"{engines} {unit} {each} GPU(s), from the config's engine.actors")
        return engines, engines * each
    if not each:
        raise ConfigError(
            "--gpus: the config's engines have no GPU; give gpus_per_engine=N, the GPUs of one"
        )
    engines, left = divmod(stated.gpus, each)
    if left or not engines:
        asked = f"the {each} GPUs of a team" if place.apart else f"gpus_per_engine={each}"
        raise ConfigError(f"--gpus {stated.gpus}: not a multiple of {asked}")
    notes.append(f"{engines} {unit} {each} GPU(s), from --gpus {stated.gpus}")
    return engines, stated.gpus


def _figure(name: str, title: str, stated: Stated, run: Measured | None, notes: list[str]) -> float:
    """A figure as stated, else as measured."""
    option = "--" + name.replace("_", "-")
    said = getattr(stated, name)
    if said is not None:
        notes.append(f"{said:,.6g} {title}, from {option}")
        return said
    if run is None:
        raise ConfigError(f"{title}: neither measured nor stated; give {option} X or --from RUN")
    value = getattr(run, name)
    notes.append(f"{value:,.6g} {title}, measured in {run.source}: {_derivation(name, run)}")
    return value


def _derivation(name: str, run: Measured) -> str:
    if name == "tokens_per_s":
        return (
            f"{run.output_tokens:,} tokens / {run.seconds:,g} s"
            f" / {run.engine_seconds / run.seconds:.3g} engine(s); its seconds are of"
            f" {run.attempts} attempt(s) and include the start of the engines"
        )
    total = run.output_tokens if name == "output_tokens_per_debate" else run.traces_bytes
    return f"{total:,} / {run.debates:,} debates"


def _storage(stated: Stated, run: Measured | None, notes: list[str]) -> float | None:
    if stated.bytes_per_debate is None and run is None:
        notes.append("storage is not estimated: give --bytes-per-debate or --from RUN")
        return None
    return _figure("bytes_per_debate", "bytes of Parquet a debate", stated, run, notes)


def _usd(gpu_hours: float | None, config: Config, stated: Stated, notes: list[str]) -> float | None:
    price, source = stated.gpu_hour_price, "--gpu-hour-price"
    if price is None:
        price, source = config.prices.gpu_hour, "prices.gpu_hour"
    if price is None:
        notes.append("money is not estimated: give --gpu-hour-price USD")
        return None
    if gpu_hours is None:
        raise ConfigError(f"{source}: the config's engines have no GPU; give gpus_per_engine=N")
    notes.append(f"{price:g} USD a GPU-hour, from {source}")
    return gpu_hours * price


def _differences(config: Config, run: Measured) -> tuple[str, ...]:
    """Where the measured run's config differs from the planned one in what decides the figures."""
    before, now = dict(_flat(run.config)), dict(_flat(config.snapshot()))
    return tuple(
        f"{run.source} was measured with {key}={before[key]!r}, this plan has {now[key]!r}"
        for key in sorted(before.keys() & now.keys())
        if _compared(key) and before[key] != now[key]
    )


def _growth(run: Measured) -> tuple[str, ...]:
    engine = run.config["engine"]
    if (engine["max_actors"] or 0) <= engine["actors"]:
        return ()
    return (
        f"{run.source} was measured with engine.max_actors={engine['max_actors']}: actors beyond"
        f" engine.actors={engine['actors']} are not counted, so an engine seems too fast",
    )


def _compared(key: str) -> bool:
    inside = any(key == name or key.startswith(f"{name}.") for name in COMPARED)
    return inside and key not in NOT_COMPARED


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """(dotted key, value) of every value that is not a mapping."""
    return [
        pair
        for key, value in values.items()
        for pair in (
            _flat(value, f"{prefix}{key}.")
            if isinstance(value, Mapping)
            else [(f"{prefix}{key}", value)]
        )
    ]


def lines(found: Estimate) -> list[tuple[str, str]]:
    """An estimate in words: (title, value)."""
    return [
        ("debates", f"{found.debates:,}"),
        ("output tokens", f"{found.output_tokens:,.0f}"),
        ("output tokens a second", f"{found.tokens_per_s:,.0f}, of {found.engines} engine(s)"),
        ("time", f"{found.hours:,.1f} hours, {found.days:,.2f} days"),
        ("GPU-hours", _or_unknown(found.gpu_hours, "{:,.1f}")),
        ("money", _or_unknown(found.usd, "{:,.2f} USD")),
        ("storage", _or_unknown(found.storage_bytes and found.storage_bytes / 1e9, "{:,.3f} GB")),
    ]


def _or_unknown(value: float | None, form: str) -> str:
    return "not known" if value is None else form.format(value)
