"""What benchmarks/sft.py trains on: a model, examples of mixed lengths, packed rows of them.

All of it goes to one folder, which every side reads.
"""

import itertools
import json
import random
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

from transformers import AutoTokenizer

from agentark_ray.debate.layouts import ask, chat
from agentark_ray.distill.packing import PackedRow, pack
from agentark_ray.distill.tokens import IGNORE, Example, encode
from agentark_ray.grading.numeric import INSTRUCTION
from agentark_ray.run_folder import RunFolder
from agentark_ray.tiny.corpus import problems, revise, solve
from agentark_ray.tiny.path import tiny_model_path
from agentark_ray.traces.requests import write_rows
from agentark_ray.train.dataset import PACKED_SCHEMA
from benchmarks.random_model import make_random_model

SETTINGS, ROWS = "settings.json", "packed"  # in the folder
LAYOUTS = ("paper", "shared")  # of revisions
STEPS = range(1, 7)  # of a story
SIZES = {
    "hidden_size": 512,
    "intermediate_size": 1408,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
}


def prepare(args: Namespace, folder: Path) -> dict[str, Any]:
    """Write model, packed rows, and settings that hold the examples; figures of them."""
    model, parameters = str(tiny_model_path()), None
    if args.layers:
        model = f"{folder}/model"
        parameters = make_random_model(Path(model), num_hidden_layers=args.layers, **SIZES)
    steps = args.steps + args.warm_up
    found, rows = fill(args, AutoTokenizer.from_pretrained(model), steps * args.batch_size)
    write_rows(RunFolder(str(folder)), map(dict, rows), PACKED_SCHEMA, f"{ROWS}/part")
    lengths = [len(example.input_ids) for example in found]
    tokens = mean(map(real_tokens, rows))
    settings = {
        **vars(args),
        "steps": steps,
        "model": model,
        "examples": [{"input_ids": e.input_ids, "labels": e.labels} for e in found],
        # as many tokens that are no padding in a forward pass as with packed rows
        "micro_examples": max(1, round(args.micro_batch_size * tokens / mean(lengths))),
    }
    (folder / SETTINGS).write_text(json.dumps(settings))
    targets = sum(label != IGNORE for example in found for label in example.labels)
    return {
        "parameters": parameters or "the tiny model",
        "examples_shortest_median_longest": [min(lengths), median(lengths), max(lengths)],
        "share_of_targets": round(targets / sum(lengths), 3),
        "share_of_padding_in_packed_rows": round(1 - tokens / args.seq_len, 4),
        "examples_a_forward_pass_of_trl_unpacked": settings["micro_examples"],
    }


def fill(args: Namespace, tokenizer: Any, count: int) -> tuple[list[Example], list[PackedRow]]:
    """Examples, and `count` rows that they fill, in a random order."""
    found: list[Example] = []
    room = count * args.seq_len
    for example in examples(args, tokenizer):
        found.append(example)
        room -= len(example.input_ids)
        if room <= 0:
            break
    rows = pack(found, args.seq_len, tokenizer.pad_token_id)
    return found, random.Random(args.seed).sample(rows, count)


def examples(args: Namespace, tokenizer: Any) -> Iterator[Example]:
    """Examples without end, none longer than a row."""
    source = published(args.data) if args.data else stories(random.Random(args.seed))
    for messages, target in source:
        example = encode(tokenizer, messages, target, {})
        if len(example.input_ids) <= args.seq_len:
            yield example


def stories(rng: random.Random) -> Iterator[tuple[Any, str]]:
    """Solutions of the arithmetic task, and as many revisions after reading peers."""
    for block in itertools.count():
        for number, problem in enumerate(problems(100, STEPS, block)):
            made = revise(problem, [], LAYOUTS, rng) if number % 2 else solve(problem)
            yield made.messages[:-1], made.messages[-1]["content"]


def published(path: str) -> Iterator[tuple[Any, str]]:
    """The records of a file, again and again."""
    lines = Path(path).read_text().splitlines()
    for record in itertools.cycle(map(json.loads, lines)):
        yield chat("", [ask(record["question"], INSTRUCTION)]), record["answer"]


def real_tokens(row: PackedRow) -> int:
    """Tokens of a row's examples: padding is a last part that counts positions from 0 again."""
    starts = [place for place, position in enumerate(row["position_ids"]) if position == 0]
    return starts[row["examples"]] if len(starts) > row["examples"] else len(row["input_ids"])


def read_settings(folder: Path) -> Any:
    """What `prepare` wrote."""
    return json.loads((folder / SETTINGS).read_text())


def rate(run: Mapping[str, Sequence[float]], clock: str = "seconds") -> float:
    """Tokens a second of all its steps."""
    return sum(run["tokens"]) / sum(run[clock])
