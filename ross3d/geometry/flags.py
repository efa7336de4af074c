"""Flags as numbers, 1 and 0: comparing floats into floats takes a quarter of the time on CPUs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def flag(compare: Callable[..., Tensor], values: Tensor, bound: Tensor | float) -> Tensor:
    """1 where a comparison holds, else 0; gradients do not pass.

    Args:
        compare: ``torch.gt``, ``torch.ge``, ``torch.lt`` or ``torch.le``.
        values: (...) floats.
        bound: what they are compared with, a number or broadcast.

    Returns:
        (...) in the dtype of the values; products of flags are 1 where all hold.

    Example:
        >>> flag(torch.gt, torch.tensor([-1.0, 0.0, 2.0]), 0)
        tensor([0., 0., 1.])
    """
    return compare(values.detach(), bound, out=torch.empty_like(values))
