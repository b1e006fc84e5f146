"""What serving records of requests, and how it is read again.

One row a request to the student or the hybrid, and one a comparison with a shadow arm, Parquet
(schema MONITORING_SCHEMA) or JSON lines with the same names. No text of questions or answers is
kept: of a question only the features by which drift is found.
"""

import io
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

import pyarrow as pa
from pyarrow import dataset, fs
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agentark_ray.location import locate
from agentark_ray.section import ConfigError

SUFFIXES = (".parquet", ".jsonl")
BATCH_ROWS = 10_000
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_WORD = re.compile(r"\w+")
_SENTENCE = re.compile(r"[.!?](?:\s|$)")

# Of a question's text; a change of their distribution is drift.
FEATURES: Mapping[str, Callable[[str], int]] = {
    "characters": len,
    "words": lambda text: len(_WORD.findall(text)),
    "sentences": lambda text: len(_SENTENCE.findall(text)),
    "numbers": lambda text: len(_NUMBER.findall(text)),
    "lines": lambda text: text.count("\n") + 1,
}


class Kind(StrEnum):
    """Why a request was sent."""

    LIVE = "live"  # by a user
    CANARY = "canary"  # by the operator, with a known right answer
    SHADOW = "shadow"  # to the shadow arm, for comparison with what the user was answered


class Request(BaseModel):
    """One request, or one comparison."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    time: datetime
    """When it came, with a time zone."""
    student: str
    """The name of the student that was in use."""
    kind: Kind = Kind.LIVE
    fallback: bool = False
    """Handed to the debate."""
    correct: bool | None = None
    """Whether the answer of the student was right; null if it is not known."""
    latency_ms: Annotated[float, Field(ge=0)] | None = None
    output_tokens: Annotated[int, Field(ge=0)] | None = None
    features: dict[str, int]
    """FEATURES of the question."""
    arm: str | None = None
    """Who answered the user."""
    shadow: str | None = None
    """Of a comparison: who answered, too; latency and tokens are of this answer."""
    agreement: bool | None = None
    """Of a comparison: whether both answers are equal."""


MONITORING_SCHEMA = pa.schema(
    [
        pa.field("time", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("student", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("fallback", pa.bool_(), nullable=False),
        pa.field("correct", pa.bool_()),
        pa.field("latency_ms", pa.float64()),
        pa.field("output_tokens", pa.int64()),
        pa.field("features", pa.struct([pa.field(name, pa.int64()) for name in FEATURES])),
        pa.field("arm", pa.string()),
        pa.field("shadow", pa.string()),
        pa.field("agreement", pa.bool_()),
    ],
    metadata={"agentark_ray.monitoring": "1"},
)


def question_features(text: str) -> dict[str, int]:
    """What is kept of a question."""
    return {name: count(text) for name, count in FEATURES.items()}


def read_requests(path: str) -> Iterator[Request]:
    """The requests of a file or a folder of files (.parquet, .jsonl), one by one.

    Raises:
        ConfigError: there is nothing to read, or a record is not one; it says where.
    """
    filesystem, inner = locate(path)
    found = filesystem.get_file_info(inner)
    if found.type == fs.FileType.Directory:
        infos = filesystem.get_file_info(fs.FileSelector(inner, recursive=True))
        names = sorted(info.path for info in infos if info.type == fs.FileType.File)
    else:
        names = [inner] if found.type == fs.FileType.File else []
    names = [name for name in names if name.endswith(SUFFIXES)]
    if not names:
        raise ConfigError(f"--monitoring {path}: no file of {', '.join(SUFFIXES)}")
    for name in names:
        yield from (_parquet if name.endswith(".parquet") else _lines)(filesystem, name)


def _parquet(filesystem: fs.FileSystem, name: str) -> Iterator[Request]:
    row = 0
    try:
        stored = dataset.dataset(name, filesystem=filesystem, format="parquet")
        for batch in stored.to_batches(batch_size=BATCH_ROWS):
            for record in batch.to_pylist():
                row += 1
                yield _request(record, f"{name}, row {row}")
    except pa.ArrowInvalid as error:
        raise ConfigError(f"--monitoring {name}: not Parquet: {error}") from None


def _lines(filesystem: fs.FileSystem, name: str) -> Iterator[Request]:
    with filesystem.open_input_stream(name) as stream:
        for number, line in enumerate(io.BufferedReader(stream), 1):
            if line.strip():
                yield _request(line, f"{name}, line {number}")


def _request(record: Any, where: str) -> Request:
    try:
        if isinstance(record, bytes):
            request = Request.model_validate_json(record)
        else:
            request = Request.model_validate(record)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise ConfigError(f"--monitoring {where}: {key}: {first['msg']}") from None
    if request.time.tzinfo is None:
        raise ConfigError(f"--monitoring {where}: time: has no time zone: {request.time}")
    if missing := FEATURES.keys() - request.features.keys():
        raise ConfigError(f"--monitoring {where}: features: missing {sorted(missing)}")
    return request
