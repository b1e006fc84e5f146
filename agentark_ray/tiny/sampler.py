"""Batched sampling from the tiny model in plain PyTorch, for its trainer and its measurement.

Debates use the real engine (engine/vllm.py); this needs no engine start and runs in-process.
"""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedTokenizerFast

MAX_NEW_TOKENS = 128
BATCH_TOKENS = 32_768  # prompt tokens decoded together


@torch.inference_mode()
def sample(
    model: Any,  # a transformers causal model
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[str],
    temperature: float,
) -> list[str]:
    """One answer a prompt, in order. Temperature 0 decodes greedily."""
    model.eval()
    tokenizer.padding_side = "left"
    decoding = (
        {"do_sample": True, "temperature": temperature, "top_k": 0}
        if temperature > 0
        else {"do_sample": False}
    )
    told = [""] * len(prompts)
    for chosen in _by_length(prompts):
        batch = tokenizer([prompts[i] for i in chosen], padding=True, return_tensors="pt")
        out_B_T = model.generate(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            max_new_tokens=MAX_NEW_TOKENS,
            **decoding,
        )
        answers = tokenizer.batch_decode(
            out_B_T[:, batch["input_ids"].shape[1] :], skip_special_tokens=True
        )
        for i, answer in zip(chosen, answers, strict=True):
            told[i] = answer
    return told


def _by_length(prompts: Sequence[str]) -> list[list[int]]:
    """Indices grouped so that prompts of similar length are decoded together."""
    groups: list[list[int]] = []
    for i in sorted(range(len(prompts)), key=lambda i: len(prompts[i])):
        # A token is at least one character here, mostly three.
        if not groups or (len(groups[-1]) + 1) * len(prompts[i]) > 3 * BATCH_TOKENS:
            groups.append([])
        groups[-1].append(i)
    return groups
