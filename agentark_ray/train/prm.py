"""The process reward model: is a solution still right at the end of this step?

A causal language model with a head of two classes (bad, good) at the token that ends a step
(distill/step_tokens.py), and a projector for the contrastive loss, which is trained with the rest
and not used to score. The head reads the hidden state and how much of the solution so far the
language model did not expect: a hidden state says what comes next, and little of whether the tokens
before it were likely, which is what a slip changes. How it is trained is in prm_training.py.

Shapes: B sequences, T tokens, H hidden size, N steps of a batch, S tokens of its solutions,
D projection.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn.functional import cross_entropy

from agentark_ray.config import Config
from agentark_ray.distill.step_tokens import StepTokens, encode_steps
from agentark_ray.models import local_model
from agentark_ray.run_folder import RunFolder
from agentark_ray.types import Message

BAD, GOOD = 0, 1  # classes of the head; as labels of tokens: a step of this class ends here
SAID, GOOD_SAID = 2, 3  # labels of a solution's other tokens, and of those in good steps
ABOUT = "prm.json"
TOKENS_A_BATCH = 4_096  # of a scoring pass


class ProcessRewardModel(nn.Module):
    """A causal language model as backbone, head and projector."""

    def __init__(self, backbone: Any, projector_dim: int) -> None:
        super().__init__()
        hidden, dtype = backbone.config.get_text_config().hidden_size, backbone.dtype
        self.backbone = backbone
        self.head = nn.Linear(hidden + 1, 2, dtype=dtype)
        with torch.no_grad():
            self.head.weight[:, -1] = 0  # what it makes of the unexpected is all learned
        self._scale = math.sqrt(hidden)  # of the unexpected: it is learned as fast as a whole state
        self.projector = nn.Sequential(
            nn.Linear(hidden, hidden, dtype=dtype),
            nn.ReLU(),
            nn.Linear(hidden, projector_dim, dtype=dtype),
        )

    def forward(
        self,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor,
        said_B_T: torch.Tensor,
        at_B_T: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Logits [N, 2] and projections [N, D] of steps, log-probabilities of tokens [S], in nats.

        `at_B_T` is true where a step ends, `said_B_T` at the tokens of solutions, which have a
        token before them; results are in their order. Without a mask and with position ids that
        restart, the backbone blocks attention between the examples of a packed row.
        """
        hidden_B_T_H = self.backbone.get_decoder()(
            input_ids=input_ids, position_ids=position_ids, use_cache=False
        ).last_hidden_state
        before_S_H = hidden_B_T_H[:, :-1][said_B_T[:, 1:]]
        logits_S_V = self.backbone.get_output_embeddings()(before_S_H).float()
        logprobs_S = -cross_entropy(logits_S_V, input_ids[said_B_T], reduction="none")
        unexpected_B_T = running_sums(-logprobs_S, said_B_T, position_ids)
        hidden_N_H = hidden_B_T_H[at_B_T]
        unexpected_N_1 = self._scale * unexpected_B_T[at_B_T].log1p()[:, None]
        read_N_H = torch.cat([hidden_N_H, unexpected_N_1.to(hidden_N_H.dtype)], dim=-1)
        return self.head(read_N_H), self.projector(hidden_N_H), logprobs_S

    def get_output_embeddings(self) -> Any:
        """As a transformers model has it."""
        return self.backbone.get_output_embeddings()

    def gradient_checkpointing_enable(self, *args: Any, **kwargs: Any) -> None:
        """As a transformers model has it."""
        self.backbone.gradient_checkpointing_enable(*args, **kwargs)


def running_sums(
    values_S: torch.Tensor, said_B_T: torch.Tensor, position_ids: torch.Tensor
) -> torch.Tensor:
    """[B, T]: the sum of the values up to and with each token, from its example's first token on.

    An example begins at position 0; `values_S` stand, in order, where `said_B_T` is true.
    """
    values_B_T = torch.zeros_like(said_B_T, dtype=values_S.dtype)
    sums_B_T = values_B_T.masked_scatter(said_B_T, values_S).cumsum(dim=1)
    places_T = torch.arange(said_B_T.shape[1], device=said_B_T.device)
    first_B_T = places_T.where(position_ids == 0, 0).cummax(dim=1).values
    return sums_B_T - sums_B_T.gather(1, first_B_T)


class StepScorer:
    """A process reward model in evaluation mode, on one device."""

    def __init__(
        self, model: ProcessRewardModel, tokenizer: Any, template_kwargs: dict[str, Any]
    ) -> None:
        self._model = model.eval()
        self._tokenizer = tokenizer
        self._template_kwargs = template_kwargs
        self._context: int | None = getattr(
            model.backbone.config.get_text_config(), "max_position_embeddings", None
        )

    @classmethod
    def load(
        cls, folder: str, device: str | torch.device = "cpu", trust_remote_code: bool = False
    ) -> "StepScorer":
        """A model that was exported to a local folder.

        Raises:
            FileNotFoundError: the folder holds no process reward model.
            RuntimeError: weights are missing, or are another model's.
        """
        from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

        about = json.loads(Path(folder, ABOUT).read_text())
        config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
        backbone = AutoModelForCausalLM.from_config(
            config, dtype=config.dtype, trust_remote_code=trust_remote_code
        )
        model = ProcessRewardModel(backbone, about["projector_dim"])
        weights: dict[str, torch.Tensor] = {}
        for file in sorted(Path(folder).glob("*.safetensors")):
            weights |= load_file(file)
        model.load_state_dict(_with_tied(model, weights))
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)
        return cls(model.to(device), tokenizer, about["chat_template_kwargs"])

    def score(
        self, prompts: Sequence[Sequence[Message]], texts: Sequence[str]
    ) -> list[list[float]]:
        """p(good), 0 to 1, at the end of every step (`split_steps`) of every text.

        Args:
            prompts: the messages that each text answers.
            texts: solutions; one without a step has no scores.

        Raises:
            ValueError: a prompt with its text is longer than the model's context.
        """
        rows = [
            encode_steps(self._tokenizer, prompt, text, self._template_kwargs)
            for prompt, text in zip(prompts, texts, strict=True)
        ]
        for number, row in enumerate(rows):
            if self._context is not None and len(row.input_ids) > self._context:
                raise ValueError(
                    f"text {number} has {len(row.input_ids)} tokens with its prompt, the process"
                    f" reward model reads at most {self._context}"
                )
        found: list[list[float]] = [[] for _ in rows]
        for places in _batches([len(row.input_ids) if row.ends else 0 for row in rows]):
            scores = self._score([rows[place] for place in places])
            for place, score in zip(places, scores, strict=True):
                found[place] = score
        return found

    @torch.inference_mode()
    def _score(self, rows: Sequence[StepTokens]) -> list[list[float]]:
        """Padding is on the right, where a causal model's earlier tokens do not see it."""
        device = self._model.head.weight.device
        longest = max(len(row.input_ids) for row in rows)
        padded = [[*row.input_ids, *[0] * (longest - len(row.input_ids))] for row in rows]
        ids_B_T = torch.tensor(padded, device=device)
        positions_B_T = torch.arange(longest, device=device).expand_as(ids_B_T)
        said_B_T, at_B_T = (torch.zeros_like(ids_B_T, dtype=torch.bool) for _ in range(2))
        for number, row in enumerate(rows):
            said_B_T[number, max(1, row.start) : len(row.input_ids)] = True
            at_B_T[number, list(row.ends)] = True
        logits_N_2, _, _ = self._model(ids_B_T, positions_B_T, said_B_T, at_B_T)
        good_B_T = torch.zeros(at_B_T.shape, device=device)
        good_B_T[at_B_T] = logits_N_2.float().softmax(dim=-1)[:, GOOD]
        good = good_B_T.tolist()
        return [[good[number][end] for end in row.ends] for number, row in enumerate(rows)]


def load_scorer(
    folder: RunFolder, config: Config, model: str, device: str | torch.device
) -> StepScorer:
    """The process reward model in the folder `model` of a run, wherever that is stored.

    Raises:
        FileNotFoundError, ConfigError: there is none.
    """
    local = local_model(folder.path(model))
    return StepScorer.load(local, device, config.engine.trust_remote_code)


def _with_tied(model: nn.Module, weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights under all their names; files have tied ones once."""
    places = dict(model.named_parameters(remove_duplicate=False))
    held = {id(places[name]): weight for name, weight in weights.items() if name in places}
    tied = {name: held[id(place)] for name, place in places.items() if id(place) in held}
    return {**tied, **weights}


def _batches(lengths: Sequence[int]) -> list[list[int]]:
    """Places of texts that have steps, like lengths together, in batches of TOKENS_A_BATCH."""
    batches: list[list[int]] = []
    for place in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        if not lengths[place]:
            continue
        if not batches or (len(batches[-1]) + 1) * lengths[place] > TOKENS_A_BATCH:
            batches.append([])
        batches[-1].append(place)
    return batches
