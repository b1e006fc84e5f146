"""Traces -> solutions with step labels -> packed rows of the process reward model, on Ray Data.

`datasets/NAME/solutions` has a row for every question (distill/pad.py); with rollouts,
`rollouts/NAME` has them again, with labels. `datasets/NAME/steps` has their tokens,
`datasets/NAME/packed_steps` what the trainer reads: the class of a step at the token that ends it,
and which tokens are the solution's.
`step_card.json` counts.
"""

import functools
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import ray

from agentark_ray.config import Config
from agentark_ray.debate_rows import Row, light_rows
from agentark_ray.distill.asked import asked
from agentark_ray.distill.packing import pack
from agentark_ray.distill.pad import SOLUTIONS_SCHEMA, prompt_of, solutions_row
from agentark_ray.distill.step_tokens import StepTokens, encode_steps
from agentark_ray.distill.tokens import IGNORE, Example
from agentark_ray.run_folder import RunFolder
from agentark_ray.session import remote
from agentark_ray.train.dataset import (
    PACKED_SCHEMA,
    QUESTIONS_A_TASK,
    ROW_GROUP,
    TRACE_COLUMNS,
    begin_dataset,
    by_question,
    load_tokenizer,
    pad_id_of,
    parquet,
    question_blocks,
    without_prompts,
)
from agentark_ray.train.duplicates import duplicates_among
from agentark_ray.train.prm import BAD, GOOD, GOOD_SAID, SAID
from agentark_ray.train.prm_training import prm_settings

CARD = "step_card.json"
COLUMNS = [*TRACE_COLUMNS, "gold", "aliases"]
_TOKENS = pa.struct(
    [
        ("input_ids", pa.list_(pa.int32())),  # of prompt and solution; empty if too long
        ("labels", pa.list_(pa.int32())),  # of token_labels()
    ]
)
_COUNTED = [
    *("held_out", "dropped"),
    *("solutions.list.element.right", "solutions.list.element.labels.list.element"),
    "tokens.list.element.labels.list.element",
]
STEPS_SCHEMA = SOLUTIONS_SCHEMA.append(pa.field("tokens", pa.list_(_TOKENS)))  # one a solution


def write_solutions(folder: RunFolder, config: Config, name: str) -> None:
    """Write `datasets/NAME/solutions` from the traces."""
    base = f"datasets/{name}"
    duplicates = begin_dataset(folder, config, base)
    traces, batch_size = question_blocks(folder, config, columns=COLUMNS)
    traces.map_batches(
        functools.partial(solutions_block, folder=folder, config=config, duplicates=duplicates),
        batch_size=batch_size,
        batch_format="pyarrow",
    ).write_parquet(folder.path(base, "solutions"), compression="zstd")


def solutions_block(
    block: pa.Table, folder: RunFolder, config: Config, duplicates: str
) -> pa.Table:
    """Traces (COLUMNS), all of each of their questions -> rows of SOLUTIONS_SCHEMA."""
    prm = prm_settings(config.distill)
    doubled = duplicates_among(folder, duplicates, block["question_id"].to_pylist())
    rows = [
        solutions_row(asked(traces), prm, double)
        for traces, double in by_question(without_prompts(block).to_pylist(), doubled)
    ]
    return pa.Table.from_pylist(rows, schema=SOLUTIONS_SCHEMA)


class EncodeSteps:
    """Labelled solutions (SOLUTIONS_SCHEMA) -> with their tokens (STEPS_SCHEMA)."""

    def __init__(self, config: Config, model: str) -> None:
        self._config = config
        self._tokenizer = load_tokenizer(config, model)

    def __call__(self, block: pa.Table) -> pa.Table:
        rows = block.select(SOLUTIONS_SCHEMA.names).to_pylist()
        encoded = [{**row, "tokens": [*self._encode(row)]} for row in rows]
        return pa.Table.from_pylist(encoded, schema=STEPS_SCHEMA)

    def _encode(self, row: Row) -> Iterator[dict[str, Sequence[int]]]:
        prompt, template_kwargs = prompt_of(row).prompt, self._config.engine.chat_template_kwargs
        for solution in row["solutions"]:
            found = encode_steps(self._tokenizer, prompt, solution["text"], template_kwargs)
            too_long = len(found.input_ids) > self._config.distill.seq_len
            labels = token_labels(found, solution["labels"])
            yield {
                "input_ids": [] if too_long else found.input_ids,
                "labels": [] if too_long else labels,
            }


def token_labels(found: StepTokens, labels: Sequence[bool | None]) -> list[int]:
    """A label a token: IGNORE in the prompt, then what train/prm.py knows.

    A step's class is at the token that ends it; of steps that share one, the last's.
    """
    length = len(found.input_ids)
    at = [IGNORE] * found.start + [SAID] * (length - found.start)
    start = found.start
    for end, good in zip(found.ends, labels, strict=True):
        if good:
            at[start:end] = [GOOD_SAID] * (end - start)
        at[end] = SAID if good is None else GOOD if good else BAD
        start = end + 1
    return at


def write_steps(
    folder: RunFolder, config: Config, model: str, name: str, source: str
) -> dict[str, Any]:
    """Write `steps` and `packed_steps` from labelled solutions in the folder `source`; the card."""
    base = f"datasets/{name}"
    for part in ("steps", "packed_steps"):
        folder.remove(base, part)
    ray.data.DataContext.get_current().enable_progress_bars = False
    ray.data.read_parquet(folder.path(source)).map_batches(
        EncodeSteps,
        fn_constructor_args=(config, model),
        batch_size=QUESTIONS_A_TASK,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=8),
        num_cpus=1,
    ).write_parquet(folder.path(base, "steps"), compression="zstd")
    card = remote(step_card, folder, base)
    if card["train"]["good"] + card["train"]["bad"]:
        _pack(folder, config, model, base)
    folder.write_json(card, base, CARD)
    return card


def _pack(folder: RunFolder, config: Config, model: str, base: str) -> None:
    pad_id = pad_id_of(load_tokenizer(config, model))
    steps = ray.data.read_parquet(folder.path(base, "steps"))
    steps.select_columns(["held_out", "tokens"]).map_batches(
        functools.partial(pack_steps, seq_len=config.distill.seq_len, pad_id=pad_id),
        batch_size=QUESTIONS_A_TASK,
        batch_format="pyarrow",
    ).write_parquet(folder.path(base, "packed_steps"), compression="zstd", row_group_size=ROW_GROUP)


def pack_steps(block: pa.Table, seq_len: int, pad_id: int) -> pa.Table:
    """Rows of STEPS_SCHEMA -> packed rows (PACKED_SCHEMA) of those that are not held out."""
    examples = [
        Example(**tokens)
        for row in block.to_pylist()
        for tokens in row["tokens"]
        if not row["held_out"] and any(label in (BAD, GOOD) for label in tokens["labels"])
    ]
    return pa.Table.from_pylist(list(pack(examples, seq_len, pad_id)), schema=PACKED_SCHEMA)


def step_card(folder: RunFolder, base: str) -> dict[str, Any]:
    """Counts of the rows in `steps`: of what is learned, and of what is held out."""
    sums = {part: Counter[str]() for part in ("train", "held_out")}
    dropped: Counter[str] = Counter()
    for row in light_rows([parquet(folder, f"{base}/steps")], _COUNTED):
        if row["dropped"]:
            dropped[row["dropped"]] += 1
        else:
            sums["held_out" if row["held_out"] else "train"].update(_counts(row))
    return {
        **{part: _balance(counts) for part, counts in sums.items()},
        "dropped": dict(sorted(dropped.items())),
    }


def _counts(row: Row) -> Counter[str]:
    counts = Counter(questions=1, solutions=len(row["solutions"]))
    for solution, tokens in zip(row["solutions"], row["tokens"], strict=True):
        counts["right_solutions"] += solution["right"]
        if not tokens["labels"]:
            counts["too_long"] += 1
            continue
        labels = solution["labels"]
        counts.update(good=labels.count(True), bad=labels.count(False))
        counts["unknown"] += labels.count(None)
    return counts


def _balance(counts: Counter[str]) -> dict[str, Any]:
    names = ("questions", "solutions", "right_solutions", "too_long", "good", "bad", "unknown")
    known = counts["good"] + counts["bad"]
    share = round(counts["good"] / known, 4) if known else None
    return {**{name: counts[name] for name in names}, "good_share": share}
