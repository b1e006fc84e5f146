"""The shipped tiny model: its size, its tokenizer, its prompts and its training batches."""

import random

import pytest

torch = pytest.importorskip("torch")

from safetensors import safe_open  # noqa: E402
from transformers import AutoTokenizer  # noqa: E402

from agentark_ray.debate.layouts import paper  # noqa: E402
from agentark_ray.tasks.arithmetic import problem  # noqa: E402
from agentark_ray.tiny.batches import IGNORED, bucketed, encode  # noqa: E402
from agentark_ray.tiny.corpus import (  # noqa: E402
    CHECK_SELF,
    READ_PEERS,
    Conversation,
    conversation,
    revise,
    slipped,
    solve,
)
from agentark_ray.tiny.path import tiny_model_path  # noqa: E402
from agentark_ray.tiny.tokenizer import prompt_text  # noqa: E402

FILES = {
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
}
QUESTION = problem("train", 2)


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(tiny_model_path())


def test_weights_are_small_and_bfloat16() -> None:
    folder = tiny_model_path()
    assert {path.name for path in folder.iterdir()} == FILES
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 8 * 2**20
    with safe_open(folder / "model.safetensors", "pt") as weights:
        tensors = [weights.get_tensor(name) for name in weights.keys()]  # noqa: SIM118
    assert {t.dtype for t in tensors} == {torch.bfloat16}
    assert sum(t.numel() for t in tensors) <= 3_000_000
    assert all(torch.isfinite(t).all() for t in tensors)


@pytest.mark.parametrize(
    "text",
    ["", "  two  blanks\n\n\ttab ", "naïve Ελλάδα 数学 ½ ٣ 🙂\u200d", "a\x00b\r\nc", "12,345.6"],
)
def test_any_text_round_trips(tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_random_unicode_round_trips(tokenizer) -> None:
    rng = random.Random(0)
    for _ in range(50):
        points = [rng.choice((rng.randrange(0xD800), rng.randrange(0xE000, 0x110000)))]
        text = "".join(map(chr, points * 3)) + str(rng.random())
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_every_digit_is_a_token(tokenizer) -> None:
    for text in ("1234567890", "In May: 13 + 8 = 21.", "\\boxed{40}", "x10y 7%"):
        tokens = [tokenizer.decode([i]) for i in tokenizer.encode(text)]
        assert [t for t in tokens if any(c.isdigit() for c in t)] == [
            c for c in text if c.isdigit()
        ]


def test_chat_template_equals_the_training_prompt(tokenizer) -> None:
    messages = paper(QUESTION.text, "Go.", [["one", "two"]], 1, "You are careful.")
    rendered = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert rendered == prompt_text(messages)
    assert rendered.endswith("<|im_end|>\n<|im_start|>assistant\n")
    assert tokenizer.eos_token == "<|im_end|>" and tokenizer.pad_token == "<|endoftext|>"


def test_encoding_a_conversation_equals_the_chat_template(tokenizer) -> None:
    told = revise(QUESTION, [], READ_PEERS, random.Random(1))
    whole = tokenizer.apply_chat_template(list(told.messages), tokenize=False)
    example = encode(tokenizer, told)
    assert example.ids == tokenizer.encode(whole)
    learned = [t for t in example.targets if t != IGNORED]
    assert tokenizer.decode(learned).endswith(QUESTION.solution() + "<|im_end|>")


def test_only_right_solutions_are_targets() -> None:
    rng = random.Random(2)
    for layouts in (READ_PEERS, CHECK_SELF):
        for _ in range(50):
            told = revise(QUESTION, [slipped(QUESTION, rng), QUESTION.solution()], layouts, rng)
            for message, is_target in zip(told.messages, told.targets, strict=True):
                right = (message["role"], message["content"]) == ("assistant", QUESTION.solution())
                assert is_target == right
            assert told.targets[-1]


def test_batches_hold_every_example_once_with_padding_ignored(tokenizer) -> None:
    told: list[Conversation] = [solve(problem("train", i)) for i in range(40)]
    told.append(conversation([{"role": "user", "content": "?"}], "x"))
    examples = [encode(tokenizer, c) for c in told]
    seen = []
    for ids_B_T, targets_B_T in bucketed(examples, 600, seed=0):
        assert ids_B_T.shape == targets_B_T.shape and ids_B_T.numel() <= 600
        seen += [[t for t in row if t != IGNORED] for row in targets_B_T.tolist()]
    expected = [[t for t in e.targets if t != IGNORED] for e in examples]
    assert sorted(seen) == sorted(expected)
