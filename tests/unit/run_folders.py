"""Run folders made by hand; no Ray."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from agentark_ray.config import Config, parse_config
from agentark_ray.evaluate.summary import summarize
from agentark_ray.run_folder import RunFolder
from agentark_ray.students import open_record, run_config
from agentark_ray.traces.schema import QUESTION_SCHEMA
from tests.unit.transcripts import BY_POINT, ROWS, write

TRAINED = {"steps": 12, "first_loss": 2.5, "last_loss": 0.25, "seconds": 3.0}


def run_of(tmp_path: Path, *overrides: str) -> RunFolder:
    """A run folder whose traces are finished."""
    folder = RunFolder(str(tmp_path / "run"))
    config = parse_config({}, [f"output={folder.uri}", "distill.seq_len=256", *overrides], "t")
    folder.open(config, "/models/tiny")
    folder.finish_stage("generate", {"rows": 7, "failed": 0})
    return folder


def make(folder: RunFolder, name: str, config: Config, parent: str | None = None) -> dict[str, Any]:
    """A trained student."""
    record = open_record(folder, config, name, parent)
    record["traces"] = {"debates": 7, "fingerprint": "f" * 16}
    record["stages"] = {"dataset": {"kept": 5, "rows": {"solve": 5}}, "train": TRAINED}
    folder.write_json(record, "students", f"{name}.json")
    folder.write_text("{}", "students", name, "config.json")
    return record


GENERATED = {
    "rows": 1_500,
    "failed": 0,
    "output_tokens": 67_500,
    "prompt_tokens": 135_000,
    "cached_tokens": 0,
    "seconds": 100.0,
    "actor_seconds": 100.0,
    "attempts": 1,
}


def evaluated_run(path: Path) -> RunFolder:
    """A run of 8 training questions, evaluated on 4, whose student beats the debate."""
    found = RunFolder(str(path))
    config = parse_config({}, [f"output={found.uri}", "tasks.leaks=drop"], "t")
    found.open(config, "/models/tiny")
    found.finish_stage("questions", {"train": 8, "eval": 4, "leaks": 2, "duplicates": 0})
    found.finish_stage("generate", GENERATED)
    record = make(found, "rsft", run_config(found))
    record["created"] = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    record["stages"] = {name: {"seconds": 9.0, **of} for name, of in record["stages"].items()}
    found.write_json(record, "students", "rsft.json")
    rows = [
        dict.fromkeys(QUESTION_SCHEMA.names) | {"question_id": f"q{i}", "question": "word " * i}
        for i in range(1, 9)
    ]
    Path(found.path("questions")).mkdir()
    for row in rows:
        row |= {"gold": "4", "task": "arithmetic", "split": "train"}
    table = pa.Table.from_pylist(rows, schema=QUESTION_SCHEMA)
    pq.write_table(table, found.path("questions", "train.parquet"))
    answered = Path(found.path("eval", "transcripts"))
    own = [row for row in ROWS if row["arm"] == "student"]
    stored = [
        write(answered / "base", [row for row in ROWS if row not in own]),
        write(answered / "student", own),
    ]
    summary = summarize(stored, BY_POINT, train_traces=1_500, seeds=[17])
    found.write_json(summary, "eval", "summary.json")
    return found
