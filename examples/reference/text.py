"""The text loss, with logits only where a label is."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

IGNORE = -100


def text_loss(hidden: Tensor, labels: Tensor, head: nn.Module) -> Tensor:
    """Text cross-entropy (Eq. 1): logits for every visual token would cost gigabytes at full size.

    Args:
        hidden: (b, t, d) last hidden states.
        labels: (b, t) token ids; -100 = not supervised. Position i predicts label i + 1.
        head: the output embedding, d -> vocabulary.

    Returns:
        Scalar mean over supervised positions, in float32; exactly 0, in the graph, where none are.

    Example:
        >>> import torch
        >>> text_loss(torch.ones(2, 5, 8), torch.full((2, 5), -100), nn.Linear(8, 16)).item()
        0.0
    """
    targets = labels[:, 1:]
    supervised = targets != IGNORE
    logits = head(hidden[:, :-1][supervised]).float()
    total = F.cross_entropy(logits, targets[supervised], reduction="sum")
    return total / supervised.sum().clamp(min=1)
