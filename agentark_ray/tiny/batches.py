"""Conversations -> padded batches of token ids with targets on the marked assistant turns only.

Examples of similar length share a batch, each in a row of its own: nothing crosses examples, and
with padding on the right causal attention needs no mask.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerFast

from agentark_ray.tiny.corpus import Conversation
from agentark_ray.tiny.tokenizer import END, START

IGNORED = -100  # cross_entropy's ignore_index
WINDOW = 64  # batches sorted by length together


@dataclass(frozen=True, slots=True)
class Example:
    """Token ids and, of the same length, the id where it is a target and else IGNORED."""

    ids: list[int]
    targets: list[int]


def encode(tokenizer: PreTrainedTokenizerFast, conversation: Conversation) -> Example:
    """Tokenises turn by turn; a target covers the turn's content and its end token."""
    ids: list[int] = []
    targets: list[int] = []
    for message, is_target in zip(conversation.messages, conversation.targets, strict=True):
        head = tokenizer.encode(f"{START}{message['role']}\n")
        body = tokenizer.encode(f"{message['content']}{END}")
        tail = tokenizer.encode("\n")
        ids += head + body + tail
        targets += [IGNORED] * len(head)
        targets += body if is_target else [IGNORED] * len(body)
        targets += [IGNORED] * len(tail)
    return Example(ids, targets)


def _pad(rows: Sequence[list[int]], value: int) -> torch.Tensor:
    length = max(len(row) for row in rows)
    return torch.tensor([row + [value] * (length - len(row)) for row in rows])


def bucketed(
    examples: Sequence[Example], batch_tokens: int, seed: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """(ids_B_T, targets_B_T) of about `batch_tokens` tokens with padding, each example once.

    The order is kept except within windows of 64 batches, so a curriculum survives.
    """
    rng = random.Random(seed)
    window: list[Example] = []
    tokens = 0
    for example in examples:
        window.append(example)
        tokens += len(example.ids)
        if tokens >= WINDOW * batch_tokens:
            yield from _window_batches(window, batch_tokens, rng)
            window, tokens = [], 0
    yield from _window_batches(window, batch_tokens, rng)


def _window_batches(
    window: list[Example], batch_tokens: int, rng: random.Random
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    batches: list[list[Example]] = []
    for example in sorted(window, key=lambda e: len(e.ids)):
        if not batches or (len(batches[-1]) + 1) * len(example.ids) > batch_tokens:
            batches.append([])
        batches[-1].append(example)
    rng.shuffle(batches)
    for batch in batches:
        yield _pad([e.ids for e in batch], 0), _pad([e.targets for e in batch], IGNORED)
