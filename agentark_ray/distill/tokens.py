"""Rows -> token ids. The prompt is rendered exactly as the engine renders it when serving."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agentark_ray.types import Message

IGNORE = -100  # label of a token that is no target; torch's cross-entropy ignores it


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A tokenized row. `labels` has the length of `input_ids`: the id where it is a target."""

    input_ids: Sequence[int]
    labels: Sequence[int]


def encode(
    tokenizer: Any, messages: Sequence[Message], target: str, template_kwargs: Mapping[str, Any]
) -> Example:
    """Prompt, target and the token that ends an answer; the last two are learned.

    Raises:
        ValueError: the tokenizer has no end-of-sequence token.
    """
    if tokenizer.eos_token_id is None:
        raise ValueError(f"tokenizer {tokenizer.name_or_path!r} has no eos_token")
    prompt = encode_prompt(tokenizer, messages, template_kwargs)
    answer = [*tokenizer.encode(target, add_special_tokens=False), tokenizer.eos_token_id]
    return Example(input_ids=[*prompt, *answer], labels=[IGNORE] * len(prompt) + answer)


def encode_prompt(
    tokenizer: Any, messages: Sequence[Message], template_kwargs: Mapping[str, Any]
) -> list[int]:
    """The messages' tokens up to where the answer begins."""
    text = tokenizer.apply_chat_template(
        list(messages), tokenize=False, add_generation_prompt=True, **template_kwargs
    )
    return tokenizer.encode(text, add_special_tokens=False)
