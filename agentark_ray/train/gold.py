"""How likely a model finds a worked solution that it has not written."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from agentark_ray.distill.tokens import encode_prompt
from agentark_ray.train.sft import loss_sum
from agentark_ray.types import Message


class GoldReader:
    """A causal language model in evaluation mode."""

    def __init__(self, model: Any, tokenizer: Any, template_kwargs: Mapping[str, Any]) -> None:
        self._model = model.eval()
        self._tokenizer = tokenizer
        self._template_kwargs = template_kwargs
        self._context: int | None = getattr(
            model.config.get_text_config(), "max_position_embeddings", None
        )

    @classmethod
    def load(
        cls,
        model: str,
        template_kwargs: Mapping[str, Any],
        gpus: int = 0,
        trust_remote_code: bool = False,
    ) -> "GoldReader":
        """A folder or Hugging Face id: split over the GPUs in its own precision, or in float32."""
        from transformers import AutoModelForCausalLM, AutoTokenizer

        where = {"device_map": "auto", "dtype": "auto"} if gpus else {"dtype": torch.float32}
        loaded = AutoModelForCausalLM.from_pretrained(
            model, trust_remote_code=trust_remote_code, **where
        )
        tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=trust_remote_code)
        return cls(loaded, tokenizer, template_kwargs)

    @torch.inference_mode()
    def read(self, messages: Sequence[Message], solution: str) -> tuple[float, int] | None:
        """Negative log-likelihood of the solution's tokens in nats, and their number.

        What ends an answer is not among them. None if it does not fit with its prompt into the
        model's context, or has no token.
        """
        prompt = encode_prompt(self._tokenizer, messages, self._template_kwargs)
        tokens = self._tokenizer.encode(solution, add_special_tokens=False)
        length = len(prompt) + len(tokens)
        if not tokens or (self._context is not None and length > self._context):
            return None
        device = self._model.get_input_embeddings().weight.device
        places = torch.arange(length, device=device)
        batch = {
            "input_ids": torch.tensor([[*prompt, *tokens]], device=device),
            "position_ids": places[None],
            "targets": places[len(prompt) :],
        }
        return loss_sum(self._model, batch).item(), len(tokens)
