"""Labels: verdicts that were made later, versioned beside the traces; and traces read with them.

    traces/                     debates, as they were held
    labels/VERSION/             of another trace folder X: X_labels/VERSION/
        manifest.json           what decided the labels, of which traces, and counts
        00000000.parquet ...    one row a debate (LABEL_SCHEMA)
        _parts/parts.parquet    which rows of which trace files a label file is about, in its order

So reading both is a merge of files, in bounded memory whatever the number of debates. A version is
about the traces as they were (`fingerprint`); with others it is an error, never a wrong match.
"""

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import dataset, fs

from agentark_ray.config import ConfigError, stable_hash
from agentark_ray.debate_rows import VOTE
from agentark_ray.run_folder import RunFolder

SCHEMA_VERSION = "1"
BATCH_ROWS = 64  # debates in memory at once, with all they say
MANIFEST = "manifest.json"
PARTS = ("_parts", "parts.parquet")

_TURN = pa.struct(
    [
        ("answer", pa.string()),
        ("verdict", pa.string()),  # a Verdict; null: nobody could decide
        ("stored", pa.string()),  # the verdict in the traces
        ("graded", pa.string()),  # the grader's; null without a gold answer
        ("share", pa.float32()),  # of the judge's votes behind its verdict; null: not judged
        ("cut", pa.bool_()),  # the judge read it with its middle left out
        ("error", pa.string()),  # why the judge gave no verdict
    ]
)
LABEL_SCHEMA = pa.schema(
    [
        pa.field("debate_id", pa.string()),
        pa.field("question_id", pa.string()),
        pa.field("source", pa.string()),  # grader:NAME or judge:MODEL
        pa.field("turns", pa.list_(_TURN)),  # in the order of the trace
        pa.field("votes", pa.list_(VOTE)),  # counted anew
        pa.field("final_answer", pa.string()),
        pa.field("verdict", pa.string()),  # of the final answer
        pa.field("stored", pa.string()),  # the final answer's verdict in the traces
        pa.field("error", pa.string()),  # why nothing of the debate could be labelled
    ],
    metadata={"agentark.label_schema_version": SCHEMA_VERSION},
)
PART_SCHEMA = pa.schema(
    [
        pa.field("part", pa.int32()),
        pa.field("rows", pa.int32()),
        pa.field(
            "slices",
            pa.list_(
                pa.struct(
                    [
                        ("file", pa.string()),  # below the trace folder
                        ("group", pa.int32()),  # row group
                        ("first", pa.int64()),  # row of the group
                        ("rows", pa.int32()),
                    ]
                )
            ),
        ),
    ]
)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

Row = Mapping[str, Any]


def trace_folder(uri: str) -> RunFolder:
    """The folder with the trace files themselves: RUN/traces, or RUN."""
    folder = RunFolder(uri)
    return RunFolder(folder.path("traces")) if folder.exists("traces") else folder


def label_store(traces: RunFolder, version: str) -> RunFolder:
    """Where a version's labels of a trace folder are, or will be.

    Raises:
        ConfigError: not a name.
    """
    if not _NAME.fullmatch(version):
        raise ConfigError(
            f"labels {version!r}: expected a name of up to 64 letters, digits and ._-"
        )
    return RunFolder(f"{_labels_uri(traces)}/{version}")


def _labels_uri(traces: RunFolder) -> str:
    parent, _, name = traces.uri.rpartition("/")
    if not name or parent.endswith("/"):
        raise ConfigError(f"{traces.uri}: labels are written beside the folder of the traces")
    return f"{parent}/labels" if name == "traces" else f"{traces.uri}_labels"


def label_versions(traces: RunFolder) -> list[str]:
    """Names of the versions there are, finished or not."""
    folder = RunFolder(_labels_uri(traces))
    selector = fs.FileSelector(folder.inner(), allow_not_found=True)
    found = folder.filesystem.get_file_info(selector)
    return sorted(info.base_name for info in found if info.type == fs.FileType.Directory)


def trace_files(traces: RunFolder) -> list[str]:
    """The trace files, relative to their folder, sorted."""
    files = dataset.dataset(traces.inner(), filesystem=traces.filesystem).files
    return sorted(file.removeprefix(traces.inner() + "/") for file in files)


def fingerprint(traces: RunFolder, files: Sequence[str]) -> str:
    """16 hex digits over names and sizes of the trace files."""
    infos = traces.filesystem.get_file_info([traces.inner(file) for file in files])
    return stable_hash([[file, info.size] for file, info in zip(files, infos, strict=True)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """A finished version of labels with the traces they are about."""

    traces: RunFolder
    store: RunFolder

    def parts(self) -> Iterator[Row]:
        """Rows of PART_SCHEMA."""
        source = dataset.dataset(self.store.inner(*PARTS), filesystem=self.store.filesystem)
        for batch in source.to_batches(batch_size=BATCH_ROWS):
            yield from batch.to_pylist()

    def rows(
        self, columns: Sequence[str] | None = None, batch_rows: int = BATCH_ROWS
    ) -> Iterator[dict[str, Any]]:
        """Every trace with its label; of `columns` (all by default), those that its file has."""
        for part in self.parts():
            yield from self.part(part, columns, batch_rows)

    def part(
        self, part: Row, columns: Sequence[str] | None = None, batch_rows: int = BATCH_ROWS
    ) -> Iterator[dict[str, Any]]:
        """The traces of a part with their labels."""
        wanted = None if columns is None else [*dict.fromkeys(("debate_id", *columns))]
        with self.store.filesystem.open_input_file(self.store.inner(part_file(part))) as source:
            labels = _label_rows(source, batch_rows)
            for batch in part_batches(self.traces, part, wanted, batch_rows):
                for trace in batch.to_pylist():
                    yield apply_label(trace, next(labels))

    def row(self, trace: Row) -> dict[str, Any]:
        """One trace with its label, which is looked for among all."""
        wanted = dataset.field("debate_id") == trace["debate_id"]
        (label,) = self.dataset().head(1, filter=wanted).to_pylist()
        return apply_label(trace, label)

    def dataset(self) -> dataset.Dataset:
        """The label files, to be read lazily."""
        files = [self.store.inner(part_file(part)) for part in self.parts()]
        return dataset.dataset(files, schema=LABEL_SCHEMA, filesystem=self.store.filesystem)


def open_labels(traces: RunFolder, version: str) -> Labels:
    """The labels of a trace folder.

    Raises:
        ConfigError: there are none of this version, it is not finished, or the traces have changed
            since it was made.
    """
    store = label_store(traces, version)
    if not store.exists(MANIFEST):
        there = ", ".join(label_versions(traces)) or "none"
        raise ConfigError(
            f"labels {version!r} of {traces.uri}: there are no such labels (there is: {there});"
            " `agentark traces label` makes them"
        )
    manifest = store.read_json(MANIFEST)
    if "figures" not in manifest:
        raise ConfigError(f"{store.uri}: labelling has not finished; run it again to continue")
    if manifest["traces"]["fingerprint"] != fingerprint(traces, trace_files(traces)):
        raise ConfigError(
            f"{store.uri}: the traces have changed since these labels were made; label them again"
            " under another name"
        )
    return Labels(traces=traces, store=store)


def part_file(part: Row) -> str:
    """The name of the label file of a part."""
    return f"{part['part']:08d}.parquet"


def part_batches(
    traces: RunFolder,
    part: Row,
    columns: Sequence[str] | None = None,
    batch_rows: int = BATCH_ROWS,
) -> Iterator[pa.RecordBatch]:
    """The traces of a part, in its order; of `columns`, those that their file has."""
    for piece in part["slices"]:
        skip, left = piece["first"], piece["rows"]
        path = traces.inner(piece["file"])
        with traces.filesystem.open_input_file(path) as source, pq.ParquetFile(source) as file:
            for batch in file.iter_batches(
                batch_rows, row_groups=[piece["group"]], columns=columns
            ):
                taken = batch.slice(skip, left)
                skip, left = max(0, skip - batch.num_rows), left - taken.num_rows
                if taken.num_rows:
                    yield taken
                if not left:
                    break


def _label_rows(source: Any, batch_rows: int) -> Iterator[Row]:
    with pq.ParquetFile(source) as file:
        for batch in file.iter_batches(batch_rows):
            yield from batch.to_pylist()


def apply_label(trace: Row, label: Row) -> dict[str, Any]:
    """A trace with the label's answers and verdicts in place of its own, where it has such fields.

    Raises:
        ValueError: the label is another debate's.
    """
    if trace["debate_id"] != label["debate_id"]:
        raise ValueError(f"debate {trace['debate_id']} met the label of {label['debate_id']}")
    new = dict(trace)
    for name in ("final_answer", "verdict"):
        if name in trace:
            new[name] = label[name]
    for name in ("turns", "votes"):
        if trace.get(name):
            pairs = zip(trace[name], label[name], strict=True)
            new[name] = [{**old, **_shared(old, made)} for old, made in pairs]
    return new


def _shared(old: Row, made: Row) -> dict[str, Any]:
    return {name: made[name] for name in old.keys() & made.keys()}


def labelled_traces(
    folder: RunFolder, out: str, version: str | None, columns: Sequence[str] | None = None
) -> Iterator[dict[str, Any]]:
    """Every trace of folder/out, with the verdicts of a label version; None: those stored in it.

    Args:
        folder: a run folder.
        out: the trace folder in it.
        version: a label version.
        columns: (leaf) columns, all by default; a file may lack some.

    Raises:
        ConfigError: see `open_labels`.
    """
    traces = RunFolder(folder.path(out))
    if version is not None:
        yield from open_labels(traces, version).rows(columns)
        return
    found = dataset.dataset(traces.inner(), filesystem=traces.filesystem)
    for fragment in found.get_fragments():
        with fragment.open() as source, pq.ParquetFile(source) as file:
            wanted = None if columns is None else list(columns)
            for batch in file.iter_batches(BATCH_ROWS, columns=wanted):
                yield from batch.to_pylist()


def labelled_dataset(
    folder: RunFolder, out: str, version: str | None, columns: Sequence[str]
) -> Any:
    """The same as a ray.data.Dataset; `columns` are whole ones, `debate_id` among them.

    Raises:
        ConfigError: see `open_labels`.
    """
    import ray

    if version is None:
        return ray.data.read_parquet(folder.path(out)).select_columns(list(columns))
    labels = open_labels(RunFolder(folder.path(out)), version)
    parts = ray.data.read_parquet(labels.store.path(*PARTS))
    return parts.repartition(target_num_rows_per_block=1).map_batches(
        functools.partial(_labelled_blocks, labels=labels, columns=columns),
        batch_size=None,
        batch_format="pyarrow",
    )


def _labelled_blocks(parts: pa.Table, labels: Labels, columns: Sequence[str]) -> Iterator[pa.Table]:
    for part in parts.to_pylist():
        schema = next(part_batches(labels.traces, part, columns, 1)).schema
        rows = list(labels.part(part, columns))
        yield pa.Table.from_pylist(rows, schema=schema)
