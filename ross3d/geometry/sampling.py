"""Choosing which frames of a recording to look at."""

from __future__ import annotations


def uniform_frames(total: int, count: int) -> list[int]:
    """Spread a number of frames evenly over a recording, its first and last frame included.

    Frame i is floor(i (total - 1) / (count - 1)). No frame is taken twice: a recording of fewer
    frames than asked gives all that it has.

    Args:
        total: number of frames of the recording.
        count: number of frames wanted (paper: 32).

    Returns:
        Indices in ascending order, min(total, count) of them.

    Raises:
        ValueError: if ``total`` or ``count`` is not positive.

    Example:
        >>> uniform_frames(100, 4)
        [0, 33, 66, 99]
    """
    if total < 1 or count < 1:
        raise ValueError(f"total and count must be positive; got {total} and {count}")
    count = min(total, count)
    return [i * (total - 1) // max(count - 1, 1) for i in range(count)]
