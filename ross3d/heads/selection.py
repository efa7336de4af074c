"""From grounding logits to the objects that are answered."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from ross3d.core.shapes import check_shape


def select_boxes(
    logits: Tensor,
    *,
    rule: Literal["single", "multiple", "each"] = "single",
    threshold: float = 0.4,
) -> Tensor:
    """Choose objects for each query.

    - ``"single"`` (ScanRefer): the best real object, whatever "no such object" says.
    - ``"multiple"`` (Multi3DRefer): none if "no such object" is best; else the most probable
      objects until their probabilities sum to ``threshold``, the one that crosses it included. The
      softmax is over all columns and adds no temperature: the logits of an ``"infonce"`` head have
      theirs in them already.
    - ``"each"`` (Multi3DRefer, of a head trained with ``several="each"``): none if "no such object"
      is best; else every object at least half as probable as the best one.

    Args:
        logits: (b, q, o + 1) from ``GroundingHead``, the last for "no such object"; -inf marks
            padding, which is never chosen.
        rule: one of the three above.
        threshold: of ``"multiple"``: the sum of probabilities that is enough, in (0, 1] (released
            code: 0.4).

    Returns:
        (b, q, o) True for the objects chosen.

    Raises:
        ValueError: if ``logits`` has no last column, ``rule`` is unknown or ``threshold`` out of
            range.

    Example:
        >>> select_boxes(torch.tensor([[[2.0, 2.0, -9.0, 0.0]]]), rule="multiple", threshold=0.6)
        tensor([[[ True,  True, False]]])
    """
    columns = check_shape("logits", logits, "b q n")["n"]
    if columns == 0:
        raise ValueError("logits must be of at least one column; got 0")
    if rule not in ("single", "multiple", "each"):
        raise ValueError(f"rule must be single, multiple or each; got {rule!r}")
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold must be in (0, 1]; got {threshold}")
    real = ~logits[..., :-1].isneginf()
    if columns == 1:
        return real
    best = logits[..., :-1].argmax(-1, keepdim=True)
    if rule == "single":
        return torch.zeros_like(real).scatter(-1, best, True) & real
    highest = logits[..., :-1].gather(-1, best)
    there = real & (highest >= logits[..., -1:])
    if rule == "each":
        return there & (logits[..., :-1].float() >= highest.float() - math.log(2))
    probabilities = logits.float().softmax(-1)[..., :-1]
    ordered, order = probabilities.sort(dim=-1, descending=True, stable=True)
    missing = ordered.cumsum(-1) - ordered < threshold
    chosen = torch.zeros_like(real).scatter(-1, order, missing)
    return chosen & there
