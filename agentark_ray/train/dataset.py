"""Traces -> curated rows -> packed training sequences, on Ray Data; and reading them back.

`datasets/<strategy>/rows` has a row for every trace, kept or dropped with the reason;
`datasets/<strategy>/packed` is what the trainer reads, by index, so that every number of workers
sees the same batches in the same order.
"""

import bisect
import functools
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray
from pyarrow import dataset, fs

from agentark_ray.config import Config
from agentark_ray.distill.packing import PackedRow, pack
from agentark_ray.distill.registry import STRATEGIES
from agentark_ray.distill.rows import Drop
from agentark_ray.distill.tokens import IGNORE, Example, encode
from agentark_ray.label_rows import labelled_dataset
from agentark_ray.run_folder import RunFolder

ROWS_A_TASK = 4_096
ROW_GROUP = 64  # packed rows that are read together
ROW_GROUPS_IN_MEMORY = 64

ROW_SCHEMA = pa.schema(
    [
        ("debate_id", pa.string()),
        ("question_id", pa.string()),
        ("dropped", pa.string()),  # a Drop; null if the row is kept
        ("target", pa.string()),
        ("input_ids", pa.list_(pa.int32())),
        ("labels", pa.list_(pa.int32())),
    ]
)
PACKED_SCHEMA = pa.schema(
    [
        ("input_ids", pa.list_(pa.int32())),
        ("position_ids", pa.list_(pa.int32())),
        ("labels", pa.list_(pa.int32())),
        ("examples", pa.int32()),
    ]
)


class Tokenize:
    """Traces (TRACE_SCHEMA) -> rows (ROW_SCHEMA)."""

    def __init__(self, config: Config, model: str) -> None:
        self._tokenizer = load_tokenizer(config, model)
        self._config = config

    def __call__(self, block: pa.Table) -> pa.Table:
        rows = [self._row(trace) for trace in block.to_pylist()]
        return pa.Table.from_pylist(rows, schema=ROW_SCHEMA)

    def _row(self, trace: dict[str, Any]) -> dict[str, Any]:
        ids = {"debate_id": trace["debate_id"], "question_id": trace["question_id"]}
        distill = self._config.distill
        row = STRATEGIES[distill.type](trace)
        if isinstance(row, Drop):
            return {**ids, "dropped": row}
        template_kwargs = self._config.engine.of(self._config.model).chat_template_kwargs
        example = encode(self._tokenizer, row.messages, row.target, template_kwargs)
        if len(example.input_ids) > distill.seq_len:
            return {**ids, "dropped": Drop.TOO_LONG}
        return {
            **ids,
            "target": row.target,
            "input_ids": example.input_ids,
            "labels": example.labels,
        }


def load_tokenizer(config: Config, model: str) -> Any:
    """The tokenizer of a folder or Hugging Face id."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(model, trust_remote_code=config.engine.trust_remote_code)


def pack_block(block: pa.Table, seq_len: int, pad_id: int) -> pa.Table:
    """Rows (ROW_SCHEMA) -> packed rows (PACKED_SCHEMA); dropped rows are left out."""
    examples = [
        Example(input_ids=row["input_ids"], labels=row["labels"])
        for row in block.to_pylist()
        if row["dropped"] is None
    ]
    return pa.Table.from_pylist(list(pack(examples, seq_len, pad_id)), schema=PACKED_SCHEMA)


def build_dataset(folder: RunFolder, config: Config, model: str) -> dict[str, Any]:
    """Write rows and, if any is kept, packed rows; returns the data card."""
    base = f"datasets/{config.distill.type}"
    folder.remove(base)
    ray.data.DataContext.get_current().enable_progress_bars = False
    labelled_dataset(folder, "traces", config.distill.labels).map_batches(
        Tokenize,
        fn_constructor_kwargs={"config": config, "model": model},
        batch_size=ROWS_A_TASK,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=8),
        num_cpus=1,
    ).write_parquet(folder.path(base, "rows"), compression="zstd")
    card = data_card(folder, base)
    if card["kept"]:
        card |= _pack(folder, config, model, base, card["tokens"])
    folder.write_json(card, base, "data_card.json")
    return card


def _pack(
    folder: RunFolder, config: Config, model: str, base: str, tokens: int
) -> dict[str, float]:
    """Write packed rows; their figures."""
    pad_id = _pad_id(load_tokenizer(config, model))
    ray.data.read_parquet(folder.path(base, "rows")).map_batches(
        functools.partial(pack_block, seq_len=config.distill.seq_len, pad_id=pad_id),
        batch_size=ROWS_A_TASK,
        batch_format="pyarrow",
    ).write_parquet(folder.path(base, "packed"), compression="zstd", row_group_size=ROW_GROUP)
    packed = dataset.dataset(folder.inner(base, "packed"), filesystem=folder.filesystem)
    sequences = packed.count_rows()
    return {
        "packed_sequences": sequences,
        "packing_efficiency": round(tokens / (sequences * config.distill.seq_len), 4),
    }


def _pad_id(tokenizer: Any) -> int:
    return tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id


def data_card(folder: RunFolder, base: str) -> dict[str, Any]:
    """Counts of what was kept and dropped, and of tokens, from the rows on disk."""
    rows = dataset.dataset(folder.inner(base, "rows"), filesystem=folder.filesystem)
    dropped: dict[str, int] = {}
    kept = tokens = targets = 0
    for batch in rows.to_batches(columns=["dropped", "labels"]):
        for reason, labels in zip(batch["dropped"].to_pylist(), batch["labels"], strict=True):
            if reason is not None:
                dropped[reason] = dropped.get(reason, 0) + 1
                continue
            values = labels.values.to_numpy()
            kept, tokens = kept + 1, tokens + len(values)
            targets += int((values != IGNORE).sum())
    return {
        "traces": kept + sum(dropped.values()),
        "kept": kept,
        "dropped": dropped,
        "tokens": tokens,
        "target_tokens": targets,
    }


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
