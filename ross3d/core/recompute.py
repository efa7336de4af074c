"""Keep a function's inputs for the backward pass instead of what it computes on the way."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def saving_inputs(function: Callable[..., Tensor], *args: Tensor | nn.Module) -> Tensor:
    """Call a function of which the backward pass repeats what comes before its last linear layer.

    That layer itself is not repeated, as recomputation stops once its input is there again: a
    normalisation or an activation that is computed twice costs far less than to keep it.

    Args:
        function: of the arguments; it draws no random numbers.
        args: its arguments; nothing but these is kept.

    Returns:
        What the function gives.

    Example:
        >>> import torch
        >>> x, linear = torch.ones(2, 3, requires_grad=True), nn.Linear(3, 1)
        >>> saving_inputs(lambda x, linear: linear(x.exp()), x, linear).shape
        torch.Size([2, 1])
    """
    out: Tensor = checkpoint(function, *args, use_reentrant=False, preserve_rng_state=False)
    return out
