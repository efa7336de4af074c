"""How many times as fast as a baseline: both run in turn, so that a busy machine slows both."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch

from benchmarks.bars import BARS, TIME, judge


def in_turn(
    benchmark: Any,
    ours: Callable[[], Any],
    slow: Callable[[], Any],
    *,
    rounds: int = 3,
    bar: str | None = None,
) -> float:
    """Run both in turn, after a round to warm up.

    Args:
        benchmark: the fixture of pytest-benchmark; ``extra_info`` gets the ratios.
        ours: what is measured.
        slow: the baseline.
        rounds: how often.
        bar: key of the bar that the ratio is judged by: the baseline's time over ours, or the
            other way round where the bar is a share of the baseline's time.

    Returns:
        Median of the baseline's processor time over ours.
    """
    slow(), ours()
    pairs = [(seconds(slow), seconds(ours)) for _ in range(rounds)]
    ratios = [theirs / mine for theirs, mine in pairs]
    benchmark.pedantic(ours, rounds=rounds)
    ratio = median(ratios)
    benchmark.extra_info.update(
        ratio=ratio,
        ratios=ratios,
        threads=torch.get_num_threads(),
        torch=torch.__version__,
    )
    if bar is not None:
        theirs, mine = (1000 * median(column) for column in zip(*pairs, strict=True))
        figure = 1 / ratio if BARS[bar].unit == TIME else ratio
        judge(benchmark, bar, figure, baseline=theirs, ours=mine, measure="ms of CPU")
    return ratio


def seconds(work: Callable[[], object]) -> float:
    """Processor seconds of one call."""
    start = time.process_time()
    work()
    return time.process_time() - start
