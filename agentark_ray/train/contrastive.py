"""Supervised contrastive loss (SupCon, Khosla et al., 2004.11362, equation 2): a pure function.

Shapes: N steps, D dimensions of the projection.
"""

import torch
from torch.nn.functional import normalize


def supcon_sum(
    vectors_N_D: torch.Tensor, classes_N: torch.Tensor, temperature: float
) -> torch.Tensor:
    """The losses of all anchors, in nats, as a sum (a float32 scalar); N may be 0.

    Every step is an anchor; its positives are the other steps of its class, and it is contrasted
    with all other steps, by cosine over `temperature`. An anchor's loss is the mean over its
    positives of -log softmax; an anchor without a positive has none and adds 0. Divided by the
    number of steps (not of anchors with a positive) it is a mean that any sum of batches has.
    """
    unit_N_D = normalize(vectors_N_D.float(), dim=-1)
    alike_N_N = unit_N_D @ unit_N_D.T / temperature
    itself_N_N = torch.eye(len(classes_N), dtype=torch.bool, device=classes_N.device)
    positive_N_N = (classes_N[:, None] == classes_N[None, :]) & ~itself_N_N
    # Far below any cosine, but finite: a row that holds nothing else has no NaN in its gradient.
    others_N_N = alike_N_N.masked_fill(itself_N_N, -1e9)
    log_softmax_N_N = others_N_N - others_N_N.logsumexp(dim=-1, keepdim=True)
    positives_N = positive_N_N.sum(dim=-1)
    sums_N = log_softmax_N_N.where(positive_N_N, 0.0).sum(dim=-1)
    return -(sums_N / positives_N.clamp(min=1)).sum()
