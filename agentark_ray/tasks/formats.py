"""Files of records, with errors that name file and line.

JSON lines, JSON, CSV, TSV, Parquet and Arrow, on a local disk, an object store or the Hugging Face
Hub. Reading streams: one record or one batch of rows is in memory, whatever the format.
"""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any

import ijson
import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq

from agentark_ray.location import locate
from agentark_ray.tasks.base import TaskError

Record = dict[str, Any]
Located = Iterator[tuple[str, Record]]  # (where, record)

BATCH_ROWS = 1_000
HEAD_BYTES = 4 << 20  # a first line within it tells JSON lines from JSON
FIELD_BYTES = 64 << 20  # a CSV field at most
ARROW_FILE = b"ARROW1"  # begins an Arrow file, and no stream


def read_records(uri: str, columns: Sequence[str] | None = None) -> Located:
    """The records of a file, in order, each with the place it is from.

    `columns` names those of a CSV file without a header line.

    Raises:
        TaskError: a record is malformed; names file and place.
    """
    filesystem, path = locate(uri)
    with filesystem.open_input_file(path) as stream:
        if (suffix := PurePosixPath(path).suffix) in _TABLES:
            yield from _table(stream, uri, _TABLES[suffix], columns)
        else:
            yield from _TREES[suffix](stream, uri)


def _text_lines(stream: Any, path: str) -> Iterator[tuple[int, str]]:
    number = 0
    try:
        # newline="" leaves line ends inside quoted CSV fields as they are.
        with io.TextIOWrapper(stream, encoding="utf-8-sig", errors="strict", newline="") as lines:
            for number, line in enumerate(lines, start=1):
                yield number, line
    except UnicodeDecodeError as error:
        raise TaskError(f"{path}: not UTF-8 after line {number}: {error.reason}") from None


def _json_lines(stream: Any, path: str) -> Located:
    for number, line in _text_lines(stream, path):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise TaskError(
                f"{where}: not valid JSON: {error.msg} at column {error.colno}"
            ) from None
        yield where, _object(record, where)


def _object(record: Any, where: str) -> Record:
    if not isinstance(record, dict):
        raise TaskError(f"{where}: expected a JSON object, got {type(record).__name__}")
    return record


def _json(stream: Any, path: str) -> Located:
    """A list of records, one below `data`, records by id, a single record, or JSON lines."""
    if _is_json_lines(stream):
        yield from _json_lines(stream, path)
        return
    try:
        kind = _json_kind(stream)
        if kind == "":
            yield path, _object(json.loads(stream.read()), path)
        elif kind == "by id":
            for key, record in ijson.kvitems(stream, "", use_float=True):
                where = f"{path}: record {key!r}"
                yield where, {"id": key, **_object(record, where)}
        else:
            for number, record in enumerate(ijson.items(stream, kind, use_float=True), start=1):
                where = f"{path}: record {number}"
                yield where, _object(record, where)
    except (ijson.JSONError, ValueError) as error:
        if isinstance(error, TaskError):
            raise
        raise TaskError(f"{path}: not valid JSON: {str(error).splitlines()[0]}") from None


def _is_json_lines(stream: Any) -> bool:
    """Whether the first line is a JSON object and something follows: some publish it as .json."""
    line, _, rest = stream.read(HEAD_BYTES).lstrip().partition(b"\n")
    stream.seek(0)
    if not line.startswith(b"{") or not rest.strip():
        return False
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _json_kind(stream: Any) -> str:
    """The ijson prefix of the records, or "by id", or "" for a single record."""
    events = ijson.parse(stream)
    opening = [event for _, (_, event, _) in zip(range(3), events, strict=False)]
    if opening[0] == "start_array":
        kind = "item"
    elif opening[-1] == "start_map":
        kind = "by id"
    else:
        stream.seek(0)
        starts = (prefix for prefix, event, _ in ijson.parse(stream) if event == "start_array")
        kind = "data.item" if "data" in starts else ""
    stream.seek(0)
    return kind


def _table(stream: Any, path: str, dialect: str, columns: Sequence[str] | None) -> Located:
    """Separated values with a header line or `columns`; quoted fields may hold line breaks."""
    csv.field_size_limit(FIELD_BYTES)
    rows = csv.reader((line for _, line in _text_lines(stream, path)), dialect, strict=True)
    header = None
    try:
        for row in rows:
            where = f"{path}:{rows.line_num}"
            if header is None and row:
                if columns is None or row[0].strip().lower() == columns[0]:
                    header = row
                    continue
                header = list(columns)
            if row and header:
                if len(row) != len(header):
                    wanted = "as in the header" if columns is None else f"for {', '.join(columns)}"
                    raise TaskError(
                        f"{where}: expected {len(header)} fields {wanted}, got {len(row)}"
                    )
                yield where, dict(zip(header, row, strict=True))
    except csv.Error as error:
        raise TaskError(f"{path}:{rows.line_num}: not valid CSV: {error}") from None


def _parquet(stream: Any, path: str) -> Located:
    try:
        file = pq.ParquetFile(stream)
    except pa.ArrowInvalid as error:
        raise TaskError(f"{path}: not a Parquet file: {error}") from None
    yield from _rows(file.iter_batches(BATCH_ROWS), path)


def _arrow(stream: Any, path: str) -> Located:
    """Arrow IPC: a stream, as `datasets.Dataset.save_to_disk` writes, or a file (Feather)."""
    is_file = stream.read(len(ARROW_FILE)) == ARROW_FILE
    stream.seek(0)
    try:
        yield from _rows(_file_batches(stream) if is_file else ipc.open_stream(stream), path)
    except (pa.ArrowInvalid, OSError) as error:
        raise TaskError(f"{path}: cannot be read as Arrow: {error}") from None


def _file_batches(stream: Any) -> Iterator[pa.RecordBatch]:
    file = ipc.open_file(stream)
    return map(file.get_batch, range(file.num_record_batches))


def _rows(batches: Iterable[pa.RecordBatch], path: str) -> Located:
    number = 0
    for batch in batches:
        for start in range(0, batch.num_rows, BATCH_ROWS):
            for record in batch.slice(start, BATCH_ROWS).to_pylist():
                number += 1
                yield f"{path}: row {number}", record


_TABLES = {".csv": "excel", ".tsv": "excel-tab"}
_TREES: dict[str, Callable[[Any, str], Located]] = {
    ".jsonl": _json_lines,
    ".json": _json,
    ".parquet": _parquet,
    ".arrow": _arrow,
}
FORMATS = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".arrow")
