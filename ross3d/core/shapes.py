"""One way to check a tensor's shape, and one way to complain."""

from __future__ import annotations

import torch


def check_shape(name: str, x: torch.Tensor, pattern: str, /, **sizes: int) -> dict[str, int]:
    """Check a tensor against a pattern of axis letters and literal sizes.

    A letter stands for any size, but for the same size everywhere; a number stands for itself; a
    leading ``...`` allows any number of further axes in front.

    Args:
        name: the argument's name, for the message.
        x: the tensor.
        pattern: axes separated by spaces, for example ``"b m 3 h w"``.
        **sizes: letters whose size is already known, usually the result of an earlier call.

    Returns:
        The sizes of all letters, the known ones included.

    Raises:
        ValueError: if ``x`` is not a tensor of that shape.

    Example:
        >>> sizes = check_shape("images", torch.zeros(2, 4, 3, 8, 8), "b m 3 h w")
        >>> check_shape("depths", torch.zeros(2, 4, 8, 8), "b m h w", **sizes)["m"]
        4
    """
    if not isinstance(x, torch.Tensor):
        raise ValueError(f"{name} must be a tensor of shape ({pattern}); got {type(x).__name__}")
    axes = pattern.split()
    shape = tuple(x.shape)
    if axes[0] == "...":
        axes, shape = axes[1:], shape[max(len(shape) - len(axes) + 1, 0) :]
    found = dict(sizes)
    fits = len(axes) == len(shape) and all(
        size == (int(axis) if axis.isdigit() else found.setdefault(axis, size))
        for axis, size in zip(axes, shape, strict=True)
    )
    if not fits:
        known = ", ".join(f"{axis} = {sizes[axis]}" for axis in axes if axis in sizes)
        wanted = f"({pattern})" + (f" with {known}" if known else "")
        raise ValueError(f"{name} must be of shape {wanted}; got {tuple(x.shape)}")
    return found
