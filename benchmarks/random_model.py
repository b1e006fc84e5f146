"""A random model, of 3.3M parameters or more, that answers with digits for ever, at one length.

Its weights are random, so a forward pass costs what a trained model of this size costs. Only the
output layer is made: hidden dimension 0 is large for every token, and all rows but those of the ten
digits weigh it by -1. So no end of turn is ever sampled, and a completion has exactly `max_tokens`
tokens without any sampling option. A digit is always its own token, so an answer read again by a
peer has as many tokens as when it was written, and a prefix cache finds an agent's own words.
"""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

from agentark_ray.tiny.path import tiny_model_path
from benchmarks.common import CONTEXT

DIGITS = "0123456789"


def make_random_model(folder: Path, seed: int = 0, **sizes: Any) -> int:
    """Write the model with the tiny model's tokenizer and chat template; its parameters.

    `sizes` are fields of Qwen3Config that differ.
    """
    torch.manual_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model_path(), model_max_length=CONTEXT)
    own: dict[str, Any] = {
        "hidden_size": 256,
        "intermediate_size": 704,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 64,
    }
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        **{**own, **sizes},
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=False,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
    )
    model: Any = Qwen3ForCausalLM(config)
    with torch.no_grad():
        model.get_input_embeddings().weight[:, 0] = 1.0  # others are about 0.02
        output = model.get_output_embeddings().weight
        output[:, 0] = -10.0
        output[[tokenizer.convert_tokens_to_ids(digit) for digit in DIGITS], 0] = 0.0
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return sum(parameter.numel() for parameter in model.parameters())
