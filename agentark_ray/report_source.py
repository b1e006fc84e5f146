"""What a report reads from one run folder. Nothing here shows or writes anything."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

from pyarrow import dataset

from agentark_ray.config import Config, ConfigError
from agentark_ray.debate_rows import light_rows
from agentark_ray.evaluate import views
from agentark_ray.evaluate.checklist import checklist
from agentark_ray.evaluate.examples import read_examples
from agentark_ray.evaluate.report import page
from agentark_ray.evaluate.report.compare import Answers
from agentark_ray.evaluate.report.cost import Return
from agentark_ray.evaluate.report.questions import Source
from agentark_ray.evaluate.retrain import monitored, triggers
from agentark_ray.evaluate.roi import Forecast
from agentark_ray.evaluate.tally import tally
from agentark_ray.evaluate.transcripts import COLUMNS
from agentark_ray.monitoring import read_requests
from agentark_ray.run_folder import RunFolder
from agentark_ray.students import (
    TRANSCRIPTS,
    Record,
    arm_of,
    config_with,
    records,
    trained,
)
from agentark_ray.traces.generate import trace_dataset
from agentark_ray.train.objective import loss_curve
from agentark_ray.upkeep import SUMMARY, engine_time, evaluated, reference, run_roi
from agentark_ray.workspace import Figures

NEEDED = ("against_debate", "next_steps", "confidence")  # what summaries of old do not have


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a report is asked to say beyond what is in the folders."""

    overrides: Sequence[str] = ()  # prices, mostly
    queries_per_day: float | None = None  # None: no days and dates in the return
    growth: float = 0.0  # a month
    redistil_days: float | None = None
    fallback_rate: float | None = None
    investment_usd: float | None = None
    monitoring: str | None = None  # path of monitoring data


class RunSource:
    """One run folder, as far as a report needs it."""

    def __init__(self, folder: RunFolder, asked: Asked) -> None:
        summary = evaluated(folder)
        if missing := [name for name in NEEDED if name not in summary]:
            raise ConfigError(
                f"{folder.path(*SUMMARY)}: is of an earlier version, without {', '.join(missing)}:"
                " `agentark evaluate RUN` makes it anew"
            )
        self.folder, self.records = folder, records(folder)
        config = config_with(folder, asked.overrides)
        self.folders = self._folders(summary)
        self.transcripts = [
            trace_dataset(folder, f"{TRANSCRIPTS}/{name}")
            for name in dict.fromkeys(self.folders.values())
        ]
        self.run = self._run(summary, config, asked)

    def _folders(self, summary: Figures) -> Mapping[str, str]:
        """Arm -> the folder of its transcripts; summaries of old do not say it."""
        if "transcripts" in summary:
            return summary["transcripts"]
        students = [arm_of(self.folder, one["name"]) for one in self.records if trained(one)]
        return {arm: arm if arm in students else "base" for arm in summary["arms"]}

    def _run(self, summary: Figures, config: Config, asked: Asked) -> page.Run:
        folder, name = self.folder, self._chosen(summary)
        return page.Run(
            name=config.name,
            summary=summary,
            manifest=folder.read_json("manifest.json"),
            data_card=(_read(folder, "datasets", name, "data_card.json") or {}) if name else {},
            loss_curve=(_read(folder, *loss_curve(name)) or []) if name else [],
            examples=read_examples(self.transcripts),
            students=[student_row(folder, summary, one) for one in self.records],
            load=_read(folder, "eval", "load.json"),
            prices=config.prices.tokens,
            engines=engine_time(folder, config),
            returns=_returns(folder, config, asked),
            # This is the report, which is not written yet.
            checklist=[asdict(item) for item in checklist(folder) if item.item != "Report"],
            triggers=_triggers(folder, config, asked.monitoring) if asked.monitoring else None,
        )

    def _chosen(self, summary: Figures) -> str | None:
        """The name of the student that the gates were asked of."""
        names = [one["name"] for one in self.records]
        return next((n for n in names if arm_of(self.folder, n) == summary["student"]), None)

    def named(self, name: str) -> page.Run:
        """The run under a name that no other run has."""
        values = {key: getattr(self.run, key) for key in page.Run.__dataclass_fields__}
        return page.Run(**{**values, "name": name})

    def source(self, name: str) -> Source:
        """Its transcripts."""
        summary = self.run.summary
        return Source(
            name=name,
            transcripts=self.transcripts,
            arms=list(summary["arms"]),
            student=summary["student"],
        )

    def answers(self, name: str) -> Answers:
        """What is compared with another run."""
        config = self.run.manifest["config"]
        used = self.run.summary.get("gate_settings", config["gates"])
        return Answers(
            name=name,
            student=self.run.summary["student"],
            tallies=tally(light_rows(self.transcripts, COLUMNS)),
            contents=_contents(self.folder),
            settings=dict(views.flat({**config, "gates": used})),
        )

    def command(self, arm: str) -> str:
        """What shows a debate of an arm, with its prompts."""
        where = self.folder.path(TRANSCRIPTS, self.folders[arm])
        return f"agentark traces show {where} ID --prompts"


def _contents(folder: RunFolder) -> dict[str, int]:
    """Held-out question id -> hash of its text and right answer."""
    path = folder.inner("questions", "eval.parquet")
    names = ["question_id", "question", "gold"]
    rows = dataset.dataset(path, filesystem=folder.filesystem).to_batches(columns=names)
    return {
        row["question_id"]: _hash(f"{row['question']}\0{row['gold']}")
        for batch in rows
        for row in batch.to_pylist()
    }


def _hash(text: str) -> int:
    digest = blake2b(text.encode("utf-8", "replace"), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def _returns(folder: RunFolder, config: Config, asked: Asked) -> Return:
    """The return on the distillation; what is missing for it is said, not guessed."""
    traffic = asked.queries_per_day
    start = datetime.now(UTC).date()
    forecast = Forecast(
        queries_per_day=traffic or 1.0,
        growth=asked.growth,
        redistil_days=asked.redistil_days,
        start=start,
    )
    try:
        found = run_roi(
            folder,
            config,
            student=None,
            queries_per_day=forecast.queries_per_day,
            growth=asked.growth,
            redistil_days=asked.redistil_days,
            start=start,
            fallback_rate=asked.fallback_rate,
            investment_usd=asked.investment_usd,
            redistil_usd=None,
            tokens_per_s=None,
            student_tokens_per_s=None,
        )
    except ConfigError as error:
        if traffic is not None:  # it was asked for
            raise
        return Return(roi=None, forecast=None, why_not=str(error))
    return Return(roi=found, forecast=forecast, by_day=traffic is not None)


def _triggers(folder: RunFolder, config: Config, monitoring: str) -> list[dict[str, Any]]:
    known = reference(folder, None)
    sums = monitored(read_requests(monitoring), known)
    return [asdict(one) for one in triggers(config.retrain, known, sums, datetime.now(UTC))]


def _read(folder: RunFolder, *parts: str) -> Any:
    return folder.read_json(*parts) if folder.exists(*parts) else None


def student_row(folder: RunFolder, summary: Figures, record: Record) -> Figures:
    """What the report's table of students shows of one."""
    stages, arm = record["stages"], arm_of(folder, record["name"])
    answered = summary["arms"].get(arm)
    return {
        "name": record["name"],
        "arm": arm,
        "strategy": record["strategy"].upper(),
        "parent": record["parent"],
        "kept": stages.get("dataset", {}).get("kept"),
        "target_tokens": stages.get("dataset", {}).get("target_tokens"),
        "steps": stages.get("train", {}).get("steps"),
        "last_loss": stages.get("train", {}).get("last_loss"),
        "seconds": round(sum(stage["seconds"] for stage in stages.values())),
        "accuracy": answered and answered["accuracy"],
        "chosen": arm == summary["student"],
    }
