"""The token that ends a step, with the tiny tokenizer and with one that merges over line ends."""

from functools import lru_cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from agentark_ray.distill.step_labels import prefix_texts
from agentark_ray.distill.step_tokens import encode_steps, step_ends, token_starts
from agentark_ray.distill.steps import split_steps
from agentark_ray.distill.tokens import encode, encode_prompt
from agentark_ray.engine.vllm import render
from agentark_ray.tiny.path import tiny_model_path
from agentark_ray.tiny.tokenizer import CHAT_TEMPLATE, PAD
from agentark_ray.types import Message

PROMPT: list[Message] = [{"role": "user", "content": "How many?"}]
SOLUTION = "In May: 5 + 8 = 13.\nIn June: 13 - 7 = 6.\n\\boxed{6}"


@lru_cache
def tiny() -> Any:
    return AutoTokenizer.from_pretrained(tiny_model_path())


@lru_cache
def merging() -> Any:
    """Merges whatever stands together often, line ends and blanks included."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=[PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator([".\nIn ", "a\nb", ". A", "3.\n\n4"] * 50, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token=PAD, chat_template=CHAT_TEMPLATE)


def ended(tokenizer: Any, text: str) -> list[str]:
    """The tokens that end the steps, as texts."""
    found = encode_steps(tokenizer, PROMPT, text, {})
    return [tokenizer.decode([found.input_ids[end]]) for end in found.ends]


def test_ends_by_hand() -> None:
    assert ended(tiny(), SOLUTION) == [".", ".", "}"]
    assert ended(tiny(), "One 4") == ["4"]
    assert ended(tiny(), " \n") == []
    found = encode_steps(tiny(), PROMPT, SOLUTION, {})
    whole = encode(tiny(), PROMPT, SOLUTION, {})
    assert [*found.input_ids, tiny().eos_token_id] == whole.input_ids
    assert found.ends[-1] == len(found.input_ids) - 1


def test_a_merged_line_end_belongs_to_the_step_before_it() -> None:
    assert ended(merging(), "So 3.\n\n4 is it") == ["3.\n\n4", "t"]
    assert ended(merging(), "xy.\nIn z") == [".\nIn ", "z"]


def test_steps_that_end_in_one_token_share_it() -> None:
    found = encode_steps(merging(), PROMPT, "a\nb", {})
    assert len(split_steps("a\nb")) == 2
    assert found.ends == [len(found.input_ids) - 1] * 2


def test_ends_from_offsets_by_hand() -> None:
    text = "Aa.\nB c."  # steps [0, 3) and [4, 8)
    assert step_ends(text, [0, 1, 2, 3, 4, 5, 6, 7]) == [2, 7]
    assert step_ends(text, [0, 2, 4]) == [1, 2]  # ".\n" is one token
    assert step_ends(text, [0, 4, 7, 7, 7]) == [0, 4]  # three tokens of one character
    assert step_ends("", [0]) == []
    with pytest.raises(ValueError, match="no token starts before the first step's end"):
        step_ends(text, [3, 4])


TEXTS = st.text(st.sampled_from("aB1. \n:-$\u3002\u00e9\U0001f600"), max_size=60) | st.text()


@pytest.mark.parametrize("tokenizer", [tiny(), merging()], ids=["tiny", "merging"])
@given(text=TEXTS)
def test_what_is_read_up_to_an_end_holds_the_step_and_not_the_next_end(
    tokenizer: Any, text: str
) -> None:
    found = encode_steps(tokenizer, PROMPT, text, {})
    start = len(encode_steps(tokenizer, PROMPT, "", {}).input_ids)
    steps = split_steps(text)
    assert len(found.ends) == len(steps)
    assert list(found.ends) == sorted(found.ends)
    data = text.encode("utf-8", errors="surrogatepass")
    for step, end in zip(steps, found.ends, strict=True):
        # Byte-level: a token stands for bytes, and all tokens for the text.
        read = _bytes(tokenizer, found.input_ids[start : end + 1])
        before = _bytes(tokenizer, found.input_ids[start:end])
        assert data.startswith(read)
        assert len(before) < len(text[: step.end].encode()) <= len(read)


def _bytes(tokenizer: Any, ids: Any) -> bytes:
    return b"".join(_byte_table()[c] for t in tokenizer.convert_ids_to_tokens(ids) for c in t)


@lru_cache
def _byte_table() -> dict[str, bytes]:
    """GPT-2's printable character of every byte."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in kept]
    table = {chr(byte): bytes([byte]) for byte in kept}
    return table | {chr(256 + i): bytes([byte]) for i, byte in enumerate(rest)}


@pytest.mark.parametrize("tokenizer", [tiny(), merging()], ids=["tiny", "merging"])
@given(text=TEXTS)
def test_sampled_tokens_end_steps_as_encoded_ones_do(tokenizer: Any, text: str) -> None:
    found = encode_steps(tokenizer, PROMPT, text, {})
    start = len(encode_steps(tokenizer, PROMPT, "", {}).input_ids)
    read, starts = token_starts(tokenizer, found.input_ids[start:])
    assert read == text
    assert [start + end for end in step_ends(text, starts)] == list(found.ends)


def test_other_tokens_for_the_same_text_end_its_steps_too() -> None:
    ids = [tiny().encode(char, add_special_tokens=False)[0] for char in SOLUTION]
    text, starts = token_starts(tiny(), ids)
    assert (text, starts) == (SOLUTION, list(range(len(SOLUTION))))
    assert [text[end] for end in step_ends(text, starts)] == [".", ".", "}"]


@pytest.mark.parametrize("tokenizer", [tiny(), merging()], ids=["tiny", "merging"])
def test_what_is_continued_begins_as_a_solution_does(tokenizer: Any) -> None:
    for prefix in prefix_texts(SOLUTION):
        begun: Message = {"role": "assistant", "content": prefix}
        ids = render(tokenizer, [*PROMPT, begun], {})
        assert ids == encode_steps(tokenizer, PROMPT, prefix, {}).input_ids
        assert tokenizer.decode(ids).endswith(prefix)
    assert render(tokenizer, PROMPT, {}) == encode_prompt(tokenizer, PROMPT, {})
    talk: list[Message] = [*PROMPT, {"role": "assistant", "content": "6"}, *PROMPT]
    assert render(tokenizer, talk, {}) == encode_prompt(tokenizer, talk, {})


def test_a_tokenizer_without_offsets_is_refused() -> None:
    class Slow:
        is_fast = False
        name_or_path = "old"

    with pytest.raises(ValueError, match="tokenizer 'old' gives no character offsets"):
        encode_steps(Slow(), PROMPT, "a", {})
