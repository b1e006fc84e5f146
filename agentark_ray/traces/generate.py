"""Requests -> traces on Ray Data, exactly once.

Read -> small blocks -> a pool of DebateActors -> Parquet, with Ray Data's checkpointing on
`debate_id`: running again filters what is on disk and continues. It shows nothing itself; the
caller polls the `Progress` actor.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import ray
from pyarrow import fs
from ray.data import DataContext
from ray.data.checkpoint import CheckpointConfig

from agentark_ray.config import Config
from agentark_ray.debate.protocol import arm_protocol
from agentark_ray.engine.remote import remove_groups
from agentark_ray.engine.settings import refs_of
from agentark_ray.run_folder import RunFolder
from agentark_ray.traces.actor import DebateActor
from agentark_ray.traces.pool import asking_pool
from agentark_ray.traces.progress import too_many_failed
from agentark_ray.traces.read import trace_dataset
from agentark_ray.traces.unique import duplicates
from agentark_ray.types import DebateStatus, ModelRef


def generate_traces(
    folder: RunFolder,
    config: Config,
    model: str,
    arms: Iterable[str],
    requests: str,
    out: str,
    progress: Any,
) -> None:
    """Hold every debate of requests/`requests`.parquet that is not in the folder `out` yet.

    `arms` are those of the requests: an actor has one engine for each model that speaks in them.

    Must not run twice at once in a folder.

    Raises:
        ConfigError: the cluster is too small; Ray Data would wait for ever.
        ray.exceptions.RayTaskError: an actor failed for good: TooManyFailures, EnginesKeepDying.
        ray.exceptions.RayActorError: an actor died more than pool.ACTOR_RESTARTS times.
    """
    speakers = [speaker for arm in arms for speaker in arm_protocol(config, arm).speakers]
    refs = refs_of(config, speakers, model)
    source = folder.path("requests", f"{requests}.parquet")
    actor = partial(DebateActor, config, model, refs, progress)
    ask_each_once(folder, config, refs, source, out, "debate_id", actor)


def ask_each_once(
    folder: RunFolder,
    config: Config,
    refs: Sequence[ModelRef],
    source: str,
    out: str,
    key: str,
    actor: "partial[Any]",
) -> None:
    """Let actors turn each row of the Parquet files `source` into one of the folder `out`, once.

    Rows whose `key` is in `out` already are left out. `actor` is a subclass of AskingActor with all
    arguments of its constructor.
    """
    pool = asking_pool(config, refs)
    context = DataContext.get_current()
    context.checkpoint_config = CheckpointConfig(
        key, folder.path(f"{out}_checkpoint"), delete_checkpoint_on_success=False
    )
    try:
        rows = (
            ray.data.read_parquet(source)
            .repartition(target_num_rows_per_block=config.engine.rows_per_block)
            .map_batches(actor.func, fn_constructor_args=actor.args, **pool)
        )
        rows.write_parquet(folder.path(out), compression="zstd")
    finally:
        context.checkpoint_config = None
        remove_groups()


def count_traces(folder: RunFolder, out: str) -> dict[str, int]:
    """Figures of the traces on disk: rows, failed, output_tokens, prompt_tokens, cached_tokens.

    Also prompts_too_long, which are among the failed ones.
    """
    tokens = ("output_tokens", "prompt_tokens", "cached_tokens")
    names = ("rows", "failed", "prompts_too_long", *tokens)
    sums: Counter[str] = Counter(dict.fromkeys(names, 0))
    if folder.exists(out):
        for batch in trace_dataset(folder, out).to_batches(columns=["status", *tokens]):
            sums["rows"] += batch.num_rows
            statuses = Counter(batch["status"].to_pylist())
            sums["failed"] += batch.num_rows - statuses[DebateStatus.OK]
            sums["prompts_too_long"] += statuses[DebateStatus.PROMPT_TOO_LONG]
            for name in tokens:
                sums[name] += sum(batch[name].to_pylist())
    return dict(sums)


class Incomplete(RuntimeError):
    """There is not one trace a request on disk, or too many of them failed."""


def drop_unfinished(folder: RunFolder, out: str) -> None:
    """Delete the files of write tasks that did not end: their block is not committed.

    A full disk and a killed driver leave such files, whole or in part; the next run holds their
    debates again.
    """
    committed = {name.removesuffix(".parquet") for name in file_names(folder, f"{out}_checkpoint")}
    for name in file_names(folder, out):
        if name.rpartition("-")[0] not in committed:  # a block's files: block-0.parquet, ...
            folder.filesystem.delete_file(folder.inner(out, name))


def file_names(folder: RunFolder, out: str) -> list[str]:
    """Names of the files in a folder; none if it is not there."""
    selector = fs.FileSelector(folder.inner(out), allow_not_found=True)
    return [info.base_name for info in folder.filesystem.get_file_info(selector)]


def drop_doubles(folder: RunFolder, out: str, key: str = "debate_id") -> int:
    """Keep one row of every debate, or other `key`; returns how many rows were dropped.

    A write task lives on for a moment when its driver is killed, and may still finish a block that
    the next run holds again; Ray Data's checkpointing cannot know of it.
    """
    rows: dict[str, set[int]] = defaultdict(set)
    total = count_traces(folder, out)["rows"]
    for _, _, (path, index) in duplicates(lambda: _places(folder, out, key), total):
        rows[path].add(index)
    for path, doubled in rows.items():
        table = pq.read_table(path, filesystem=folder.filesystem)
        kept = table.filter(pa.array(i not in doubled for i in range(table.num_rows)))
        replace_file(folder, path, kept)
    return sum(map(len, rows.values()))


def replace_file(folder: RunFolder, path: str, table: pa.Table) -> None:
    """Write a Parquet file, whole or not at all, in place of what is there."""
    parent, name = path.rsplit("/", 1)
    pending = f"{parent}/_{name}"  # the underscore hides it from readers of the folder
    pq.write_table(table, pending, filesystem=folder.filesystem, compression="zstd")
    folder.filesystem.move(pending, path)


def stored_ids(folder: RunFolder, out: str) -> set[str]:
    """The ids of all rows of a file or folder, in memory; none if it is not there."""
    if not folder.exists(out):
        return set()
    found = trace_dataset(folder, out).to_table(columns=["debate_id"])
    return set(found["debate_id"].to_pylist())


def _places(folder: RunFolder, out: str, key: str) -> Iterator[tuple[str, tuple[str, int]]]:
    """Every id with its file and row number."""
    for fragment in trace_dataset(folder, out).get_fragments():
        index = 0
        for batch in fragment.to_batches(columns=[key]):
            for found in batch[key].to_pylist():
                yield found, (fragment.path, index)
                index += 1


def check_failed(
    folder: RunFolder, config: Config, out: str, figures: Mapping[str, int], expected: int
) -> None:
    """Raises Incomplete if more of `expected` debates failed than the config allows.

    `figures` are those of count_traces. What failed is on disk and is not held again.
    """
    max_failed = int(expected * config.engine.max_failed_fraction)
    failed, too_long = figures["failed"], figures["prompts_too_long"]
    if why := too_many_failed(failed, too_long, expected, max_failed):
        raise Incomplete(f"{folder.path(out)}: {why}")


def verify_traces(
    folder: RunFolder, config: Config, out: str, expected: int, key: str = "debate_id"
) -> dict[str, int]:
    """Drop unfinished and double rows, check that every request has its trace, return the figures.

    Raises:
        Incomplete: rows are missing, or more failed than the config allows.
    """
    drop_unfinished(folder, out)
    drop_doubles(folder, out, key)
    figures = count_traces(folder, out)
    if figures["rows"] != expected:
        raise Incomplete(
            f"{folder.path(out)}: expected {expected} debates once each, found {figures['rows']}"
        )
    check_failed(folder, config, out, figures, expected)
    return figures
