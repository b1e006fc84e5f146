"""The policy loss of GRPO as pure functions of tensors: no rank, no engine, no I/O.

Shapes: N output tokens of a batch, V vocabulary.
"""

import math
from dataclasses import dataclass

import torch

LARGEST = 20.0  # of a log ratio; beyond it an exponential says no more than "far away"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """What is known about the output tokens of a batch; every tensor is float32 [N]."""

    advantages: torch.Tensor
    sampler: torch.Tensor  # log-probabilities in the engine that sampled them
    old: torch.Tensor  # in the trainer with the weights at the start of the round
    reference: torch.Tensor | None  # in the model that training started from; None: not asked


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyLoss:
    """The loss and what it was made of, summed over tokens."""

    loss: torch.Tensor  # has the gradient
    clipped: float  # tokens without gradient, because their ratio is beyond the clip
    kl: float  # to the reference, in nats; 0 without one
    mismatch: float  # |old - sampler|
    mismatch_max: float  # the largest of them; not summed
    truncated: float  # tokens whose importance weight was cut


def target_logprobs(
    logits_N_V: torch.Tensor, targets_N: torch.Tensor, temperature: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities of the sampled tokens, [N], and entropies where they were sampled, in nats.

    The distribution is that of the sampler: `temperature` divides the logits. Entropies have no
    gradient.
    """
    logprobs_N_V = torch.log_softmax(logits_N_V.float() / temperature, dim=-1)
    chosen_N = logprobs_N_V.gather(-1, targets_N[:, None]).squeeze(-1)
    with torch.no_grad():
        entropy_N = -(logprobs_N_V.exp() * logprobs_N_V).sum(-1)
    return chosen_N, entropy_N


def k3(logprobs: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """An estimate of KL(policy, reference) at each token: exp(d) - d - 1, d = reference - policy.

    Unbiased for tokens sampled from the policy, never negative, of little variance (Schulman, 2020,
    "Approximating KL divergence"; GRPO, 2402.03300, equation 4).
    """
    log_ratio = (reference - logprobs).clamp(max=LARGEST)
    return torch.exp(log_ratio) - log_ratio - 1


def importance_weights(old: torch.Tensor, sampler: torch.Tensor, cap: float) -> torch.Tensor:
    """min(p_trainer / p_sampler, cap) of each token: what the sampler drew too often counts less.

    It corrects for an engine whose arithmetic differs from the trainer's and for one with older
    weights; without the cap a token that the engine held for nearly impossible would decide a step
    (truncated importance sampling: Ionides 2008; for LLM engines Yao et al. 2025; with a proximal
    policy as here AReaL, 2505.24298).
    """
    return torch.exp((old - sampler).clamp(max=LARGEST)).clamp(max=cap)


def policy_loss(
    logprobs_N: torch.Tensor, tokens: Tokens, *, clip: float, kl: float, cap: float
) -> PolicyLoss:
    """-sum w min(r A, clip(r, 1 - clip, 1 + clip) A) + kl x sum k3, over all output tokens.

    r is the ratio to the probability at the start of the round, w the importance weight, A the
    advantage (GRPO, 2402.03300, equation 3). A sum: the caller divides by the tokens of the whole
    batch, so that every token counts alike and neither packing nor workers change it (DAPO,
    2503.14476, section 3.3).
    """
    weights_N = importance_weights(tokens.old, tokens.sampler, cap)
    ratio_N = torch.exp((logprobs_N - tokens.old).clamp(max=LARGEST))
    free_N = ratio_N * tokens.advantages
    clipped_N = ratio_N.clamp(1 - clip, 1 + clip) * tokens.advantages
    loss = -(weights_N * torch.minimum(free_N, clipped_N)).sum()
    divergence = logprobs_N.new_zeros(())
    if tokens.reference is not None:
        divergence = k3(logprobs_N, tokens.reference).sum()
        loss = loss + kl * divergence
    gap_N = (tokens.old - tokens.sampler).abs()
    return PolicyLoss(
        loss=loss,
        clipped=float((clipped_N < free_N).sum()),
        kl=divergence.item(),
        mismatch=gap_N.sum().item(),
        mismatch_max=gap_N.max().item() if len(gap_N) else 0.0,
        truncated=float((tokens.old - tokens.sampler > math.log(cap)).sum()),
    )
