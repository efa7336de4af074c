"""How fast a cost grows with its input."""

from __future__ import annotations

import math
from collections.abc import Sequence

LEAST = 1e-3


def growth(points: Sequence[Sequence[float]]) -> float:
    """Exponent of a power law through the ends of a curve: 1 = linear, less = a part is constant.

    Args:
        points: (size, cost) in ascending order of size; costs below a thousandth count as one.

    Returns:
        log(last cost / first cost) / log(last size / first size).

    Example:
        >>> growth([[1, 3.0], [2, 6.0], [4, 12.0]])
        1.0
    """
    (first, low), (last, high) = points[0], points[-1]
    return math.log(max(high, LEAST) / max(low, LEAST)) / math.log(last / first)
