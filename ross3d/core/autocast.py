"""A place where autocast does not reach: what needs its inputs' precision is computed there."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """A context in which matrix products keep their inputs' precision.

    Args:
        device: of the tensors; one that has no autocast, such as meta, needs no context.

    Returns:
        The context manager.

    Example:
        >>> with torch.autocast("cpu", torch.bfloat16), without_autocast(torch.device("cpu")):
        ...     (torch.ones(1, 2) @ torch.ones(2, 1)).dtype
        torch.float32
    """
    if torch.amp.is_autocast_available(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()
