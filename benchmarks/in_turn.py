"""How many times as fast as a baseline: both run in turn, so that a busy machine slows both."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch


def in_turn(
    benchmark: Any, ours: Callable[[], Any], slow: Callable[[], Any], *, rounds: int = 3
) -> float:
    """Run both in turn, after a round to warm up.

    Args:
        benchmark: the fixture of pytest-benchmark; ``extra_info`` gets the ratios.
        ours: what is measured.
        slow: the baseline.
        rounds: how often.

    Returns:
        Median of the baseline's processor time over ours.
    """
    ratios: list[float] = []
    for _ in range(rounds + 1):
        start = time.process_time()
        slow()
        middle = time.process_time()
        ours()
        ratios.append((middle - start) / (time.process_time() - middle))
    benchmark.pedantic(ours, rounds=rounds)
    ratios = ratios[1:]
    benchmark.extra_info.update(
        ratio=median(ratios),
        ratios=ratios,
        threads=torch.get_num_threads(),
        torch=torch.__version__,
    )
    return median(ratios)
