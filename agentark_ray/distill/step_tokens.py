"""Which token ends a step: one rule for labels, the process reward model and GRPO.

The step's last character decides: it is the last token that begins before the character's end. So
a token in which a full stop and a line break are merged ends the step of the full stop, of the
several tokens of one character the last counts, and a token that holds the ends of several steps
ends all of them.
"""

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tokenizers.decoders import DecodeStream

from agentark_ray.distill.steps import split_steps
from agentark_ray.distill.tokens import encode_prompt
from agentark_ray.types import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTokens:
    """A tokenized prompt and solution. There is one end a step; equal ends are possible."""

    input_ids: Sequence[int]
    start: int  # place of the solution's first token
    ends: Sequence[int]  # ascending places in `input_ids`


def step_ends(text: str, starts: Sequence[int]) -> list[int]:
    """The token that ends each step of `text`, given where its tokens start (ascending offsets).

    Raises:
        ValueError: no token starts before the end of a step.
    """
    ends = [bisect.bisect_left(starts, step.end) - 1 for step in split_steps(text)]
    if ends and ends[0] < 0:
        raise ValueError(f"no token starts before the first step's end in {text[:60]!r}")
    return ends


def encode_steps(
    tokenizer: Any, messages: Sequence[Message], text: str, template_kwargs: Mapping[str, Any]
) -> StepTokens:
    """Prompt and solution as the student reads and says them, without a token that ends it.

    Raises:
        ValueError: the tokenizer cannot say which characters a token stands for.
    """
    if not tokenizer.is_fast:
        raise ValueError(
            f"tokenizer {tokenizer.name_or_path!r} gives no character offsets; a fast tokenizer"
            " (tokenizer.json) is needed to find the ends of steps"
        )
    prompt = encode_prompt(tokenizer, messages, template_kwargs)
    said = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ends = step_ends(text, [start for start, _ in said["offset_mapping"]])
    return StepTokens(
        input_ids=[*prompt, *said["input_ids"]],
        start=len(prompt),
        ends=[len(prompt) + end for end in ends],
    )


def token_starts(tokenizer: Any, ids: Sequence[int]) -> tuple[str, list[int]]:
    """The text of sampled tokens, special ones included, and the offset at which each starts.

    A model may sample other tokens than the text would be encoded to, so offsets are not looked up
    but made by decoding token by token, in linear time.
    """
    stream, text, starts = DecodeStream(skip_special_tokens=False), "", []
    for token in ids:
        starts.append(len(text))
        text += stream.step(tokenizer.backend_tokenizer, token) or ""  # None: half a character
    return text, starts
