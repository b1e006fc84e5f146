"""Traces -> curated rows -> packed training sequences, on Ray Data; and reading them back.

`datasets/STUDENT/rows` has a row for every question, with its training rows or why there is
none; `datasets/STUDENT/packed` is what the trainer reads, by index, so that every number of
workers sees the same batches in the same order; `data_card.json` says what it was all made of.
"""

import bisect
import functools
import itertools
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray
from pyarrow import dataset, fs

from agentark_ray.config import Config
from agentark_ray.debate_rows import light_rows
from agentark_ray.distill import card
from agentark_ray.distill.asked import Trace
from agentark_ray.distill.curate import Curated, curate
from agentark_ray.distill.embeddings import EmbeddingLikeness
from agentark_ray.distill.packing import PackedRow, pack
from agentark_ray.distill.record import CURATED_SCHEMA, record
from agentark_ray.distill.rows import Drop, TrainingRow
from agentark_ray.distill.screen import count_words
from agentark_ray.distill.solutions import Likeness, step_likeness
from agentark_ray.distill.tokens import IGNORE, Example, encode
from agentark_ray.label_rows import labelled_dataset
from agentark_ray.models import local_model
from agentark_ray.run_folder import RunFolder
from agentark_ray.session import remote
from agentark_ray.similar import words
from agentark_ray.train.duplicates import duplicates_among, write_duplicates

QUESTIONS_A_TASK = 4_096
TRACES_A_PARTITION = 4_096
ROW_GROUP = 64  # packed rows that are read together
ROW_GROUPS_IN_MEMORY = 64

# What curation reads of a trace, and of its turns: not the prompts, most of what is stored.
TRACE_COLUMNS = [
    *("debate_id", "question_id", "question", "task", "arm", "status", "verdict"),
    *("final_answer", "output_tokens", "turns"),
]
TURN_FIELDS = (
    *("agent", "role", "round", "text", "answer", "verdict"),
    *("output_tokens", "finish_reason", "mean_logprob"),
)
PACKED_SCHEMA = pa.schema(
    [
        ("input_ids", pa.list_(pa.int32())),
        ("position_ids", pa.list_(pa.int32())),
        ("labels", pa.list_(pa.int32())),
        ("examples", pa.int32()),
    ]
)


class Curate:
    """Traces (TRACE_COLUMNS) -> curated questions (CURATED_SCHEMA).

    A block holds all traces of each of its questions.
    """

    def __init__(self, folder: RunFolder, config: Config, model: str, duplicates: str) -> None:
        self._folder = folder
        self._config = config
        self._duplicates = duplicates
        self._tokenizer = load_tokenizer(config, model)
        self._alike = likeness(config)

    def __call__(self, block: pa.Table) -> pa.Table:
        ids = block["question_id"].to_pylist()
        doubled = duplicates_among(self._folder, self._duplicates, ids)
        rows = [
            self._record(self._curate(traces, double))
            for traces, double in by_question(without_prompts(block).to_pylist(), doubled)
        ]
        return pa.Table.from_pylist(rows, schema=CURATED_SCHEMA)

    def _curate(self, traces: Sequence[Trace], double: bool) -> Curated:
        distill = self._config.distill
        return curate(traces, distill, distill.type, double, self._alike)

    def _record(self, curated: Curated) -> dict[str, Any]:
        rows = [self._tokenized(row) for row in curated.rows]
        all_too_long = rows and all(row["dropped"] for row in rows)
        return record(curated, rows, Drop.TOO_LONG if all_too_long else curated.dropped)

    def _tokenized(self, row: TrainingRow) -> dict[str, Any]:
        template_kwargs = self._config.engine.chat_template_kwargs
        example = encode(self._tokenizer, row.messages, row.target, template_kwargs)
        tokens = len(example.input_ids)
        too_long = tokens > self._config.distill.seq_len
        return {
            "kind": row.kind,
            "dropped": Drop.TOO_LONG if too_long else None,
            "messages": row.messages,
            "target": row.target,
            "words": count_words(words(row.target)),
            "tokens": tokens,
            "target_tokens": sum(label != IGNORE for label in example.labels),
            "input_ids": [] if too_long else example.input_ids,
            "labels": [] if too_long else example.labels,
        }


def likeness(config: Config) -> Likeness:
    """How solutions are told apart."""
    model = config.distill.curation.embeddings
    if model is None:
        return step_likeness
    return EmbeddingLikeness(model, config.engine.trust_remote_code)


def by_question(traces: Sequence[Trace], doubled: set[str]) -> Iterator[tuple[list[Trace], bool]]:
    """The traces of every question, in the order of its first one, and whether it is a double."""
    found: dict[str, list[Trace]] = {}
    for trace in traces:
        found.setdefault(trace["question_id"], []).append(trace)
    for question_id, debates in found.items():
        yield debates, question_id in doubled


def without_prompts(block: pa.Table) -> pa.Table:
    """A block of traces whose turns have TURN_FIELDS only (those that there are)."""
    turns = block["turns"].combine_chunks()
    said = turns.flatten()
    names = [name for name in TURN_FIELDS if said.type.get_field_index(name) >= 0]
    lengths = turns.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
    light = pa.StructArray.from_arrays([said.field(name) for name in names], names)
    place = block.schema.get_field_index("turns")
    return block.set_column(place, "turns", pa.ListArray.from_arrays(offsets, light))


def load_tokenizer(config: Config, model: str) -> Any:
    """The tokenizer of a folder, URI or Hugging Face id."""
    from transformers import AutoTokenizer

    local, trust = local_model(model, weights=False), config.engine.trust_remote_code
    return AutoTokenizer.from_pretrained(local, trust_remote_code=trust)


def pack_block(block: pa.Table, seq_len: int, pad_id: int) -> pa.Table:
    """Curated questions (CURATED_SCHEMA) -> packed rows (PACKED_SCHEMA) of what is learned."""
    examples = [
        Example(input_ids=row["input_ids"], labels=row["labels"])
        for row in itertools.chain.from_iterable(block["rows"].to_pylist())
        if row["dropped"] is None
    ]
    return pa.Table.from_pylist(list(pack(examples, seq_len, pad_id)), schema=PACKED_SCHEMA)


def begin_dataset(folder: RunFolder, config: Config, base: str) -> str:
    """Empty the folder `base` and write doubled questions there, if they are looked for; where."""
    folder.remove(base)
    ray.data.DataContext.get_current().enable_progress_bars = False
    duplicates = f"{base}/duplicate_questions"
    if (threshold := config.distill.curation.near_question) is not None:
        write_duplicates(folder, duplicates, threshold, config.distill.labels)
    return duplicates


def build_dataset(
    folder: RunFolder, config: Config, model: str, name: str, samples: str | None = None
) -> dict[str, Any]:
    """Write curated questions and, if anything is learned, packed rows; returns the data card.

    `name` is that of the student; `samples` a folder of the run with further traces on the
    questions.
    """
    base = f"datasets/{name}"
    duplicates = begin_dataset(folder, config, base)
    traces, batch_size = question_blocks(folder, config, samples)
    traces.map_batches(
        Curate,
        fn_constructor_args=(folder, config, model, duplicates),
        batch_size=batch_size,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=8),
        num_cpus=1,
    ).write_parquet(folder.path(base, "rows"), compression="zstd")
    found = remote(data_card, folder, base)
    if found["kept"]:
        found |= _pack(folder, config, model, base, found["tokens"])
    folder.write_json(found, base, "data_card.json")
    return found


def question_blocks(
    folder: RunFolder,
    config: Config,
    samples: str | None = None,
    columns: Sequence[str] = TRACE_COLUMNS,
) -> tuple[ray.data.Dataset, int | None]:
    """The traces in blocks that hold all of a question, and the size of batches that do so too."""
    traces = labelled_dataset(folder, "traces", config.distill.labels, columns)
    if samples is None and not remote(several_a_question, folder):
        return traces, QUESTIONS_A_TASK
    light = traces.map_batches(without_prompts, batch_format="pyarrow")
    rows = remote(_count_rows, folder, "traces")
    if samples is not None:
        further = labelled_dataset(folder, samples, None, columns)
        light = light.union(further.map_batches(without_prompts, batch_format="pyarrow"))
        rows += remote(_count_rows, folder, samples)
    return light.repartition(-(-rows // TRACES_A_PARTITION), keys=["question_id"]), None


def several_a_question(folder: RunFolder) -> bool:
    """Whether there may be several traces of a question: of several arms, kinds or replicas.

    Reads the files' statistics, no rows.
    """
    known: dict[str, set[Any]] = {"arm": set(), "kind": set(), "replica": set()}
    for fragment in parquet(folder, "traces").get_fragments():
        for group in fragment.row_groups:
            for name, values in known.items():
                found = (group.statistics or {}).get(name, {})
                values |= {found.get("min"), found.get("max")}
    return any(len(values) > 1 or None in values for values in known.values())


def _count_rows(folder: RunFolder, name: str) -> int:
    return parquet(folder, name).count_rows()


def parquet(folder: RunFolder, name: str) -> dataset.Dataset:
    """The Parquet files in a folder of the run, to be read lazily."""
    return dataset.dataset(folder.inner(name), filesystem=folder.filesystem, format="parquet")


def data_card(folder: RunFolder, base: str) -> dict[str, Any]:
    """The data card of the curated questions on disk."""
    rows = light_rows([parquet(folder, f"{base}/rows")], card.COLUMNS)
    return card.card(card.count(rows))


def _pack(
    folder: RunFolder, config: Config, model: str, base: str, tokens: int
) -> dict[str, float]:
    """Write packed rows; their figures."""
    pad_id = pad_id_of(load_tokenizer(config, model))
    ray.data.read_parquet(folder.path(base, "rows")).map_batches(
        functools.partial(pack_block, seq_len=config.distill.seq_len, pad_id=pad_id),
        batch_size=QUESTIONS_A_TASK,
        batch_format="pyarrow",
    ).write_parquet(folder.path(base, "packed"), compression="zstd", row_group_size=ROW_GROUP)
    sequences = _count_rows(folder, f"{base}/packed")
    return {
        "packed_sequences": sequences,
        "packing_efficiency": round(tokens / (sequences * config.distill.seq_len), 4),
    }


def pad_id_of(tokenizer: Any) -> int:
    """What padding is written as; it is never attended to."""
    return tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id


class PackedRows:
    """Random access to packed rows; holds a bounded number of row groups in memory."""

    def __init__(self, filesystem: fs.FileSystem, folder: str) -> None:
        self._filesystem = filesystem
        self._groups: list[tuple[str, int]] = []
        self._starts = [0]
        for path in sorted(dataset.dataset(folder, filesystem=filesystem).files):
            metadata = pq.read_metadata(path, filesystem=filesystem)
            for group in range(metadata.num_row_groups):
                self._groups.append((path, group))
                self._starts.append(self._starts[-1] + metadata.row_group(group).num_rows)
        self._cache: OrderedDict[int, list[PackedRow]] = OrderedDict()

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, index: int) -> PackedRow:
        group = bisect.bisect_right(self._starts, index) - 1
        return self._read(group)[index - self._starts[group]]

    def _read(self, group: int) -> list[PackedRow]:
        if group not in self._cache:
            path, number = self._groups[group]
            file = pq.ParquetFile(path, filesystem=self._filesystem)
            self._cache[group] = file.read_row_group(number).to_pylist()
            if len(self._cache) > ROW_GROUPS_IN_MEMORY:
                self._cache.popitem(last=False)
        self._cache.move_to_end(group)
        return self._cache[group]


def epoch_order(rows: int, seed: int, epoch: int) -> Sequence[int]:
    """The order of an epoch: a permutation of 0..rows-1 that depends on seed and epoch alone."""
    return np.random.default_rng([seed, epoch]).permutation(rows).tolist()
