"""Samples -> tensors: one packed sequence a forward pass.

Shapes: T tokens of a batch, N output tokens among them.
"""

from collections.abc import Sequence

import torch

from agentark_ray.train.group_scores import Learned


def micro_batches(samples: Sequence[Learned], most: int) -> list[list[Learned]]:
    """Samples of forward passes with `most` tokens or fewer; a longer sample has one of its own."""
    found: list[list[Learned]] = []
    room = 0
    for sample in samples:
        tokens = len(sample.prompt_ids) + len(sample.rollout.token_ids)
        if tokens > room or not found:
            found.append([])
            room = most
        found[-1].append(sample)
        room -= tokens
    return found


def collate(samples: Sequence[Learned], device: torch.device) -> dict[str, torch.Tensor]:
    """The samples as one sequence whose positions restart with each of them.

    int64 input_ids and position_ids [1, T], `targets` [N]: where in T the output tokens are; and
    float32 [N] advantages and `sampler`, their log-probabilities in the engine.
    """
    ids: list[int] = []
    positions: list[int] = []
    targets: list[int] = []
    for sample in samples:
        end = len(ids) + len(sample.prompt_ids) + len(sample.rollout.token_ids)
        targets += range(len(ids) + len(sample.prompt_ids), end)
        positions += range(end - len(ids))
        ids += [*sample.prompt_ids, *sample.rollout.token_ids]
    advantages = [value for sample in samples for value in sample.advantages]
    sampler = [value for sample in samples for value in sample.rollout.logprobs]
    return {
        "input_ids": torch.tensor([ids], device=device),
        "position_ids": torch.tensor([positions], device=device),
        "targets": torch.tensor(targets, dtype=torch.int64, device=device),
        "advantages": torch.tensor(advantages, dtype=torch.float32, device=device),
        "sampler": torch.tensor(sampler, dtype=torch.float32, device=device),
    }


def nothing(device: torch.device) -> dict[str, torch.Tensor]:
    """A batch without output tokens: it keeps workers in step and adds nothing to the loss."""
    return {
        "input_ids": torch.zeros((1, 1), dtype=torch.int64, device=device),
        "position_ids": torch.zeros((1, 1), dtype=torch.int64, device=device),
        "targets": torch.zeros(0, dtype=torch.int64, device=device),
        "advantages": torch.zeros(0, device=device),
        "sampler": torch.zeros(0, device=device),
    }
