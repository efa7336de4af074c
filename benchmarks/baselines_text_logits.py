"""The text loss the usual way: logits at every position, visual ones too, in float32."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

IGNORE = -100


def all_logits_loss(hidden: Tensor, labels: Tensor, head: nn.Module) -> Tensor:
    """Text cross-entropy over the logits of all positions.

    Args:
        hidden: (b, t, d) last hidden states.
        labels: (b, t) token ids; -100 = not supervised. Position i predicts label i + 1.
        head: the output embedding, d -> vocabulary.

    Returns:
        Scalar mean over supervised positions.
    """
    logits = head(hidden).float()[:, :-1]
    targets = labels[:, 1:]
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORE)
