"""Bytes that are alive: what a graph keeps, and the most at one time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from benchmarks.live import live_peak, saved_bytes
from benchmarks.operators import operators

ROW = 4 * 1000


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_what_the_graph_keeps(device: str) -> None:
    x = torch.randn(1000, device=device, requires_grad=True)
    assert saved_bytes(lambda: x.sin().sin().sum(), held=[x]) == ROW  # the inner sine
    assert saved_bytes(lambda: (3 * x).sum(), held=[x]) == 0
    assert saved_bytes(lambda: x.sin(), held=[x]) == 0, "neither input nor result counts"
    assert saved_bytes(lambda: x, held=[x]) == 0


def test_what_a_closure_keeps_counts() -> None:
    """A checkpoint holds its arguments without the hooks of saved tensors."""
    x = torch.randn(1000, requires_grad=True)

    def work() -> Tensor:
        return checkpoint(torch.sin, x.exp().exp(), use_reentrant=False).sum()

    assert saved_bytes(work, held=[x]) == 2 * ROW


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_the_most_at_one_time(device: str) -> None:
    x = torch.randn(1000, device=device)

    def chain() -> None:
        y = x
        for _ in range(5):
            y = y.sin()

    assert live_peak(chain, held=[x]) == 2 * ROW
    assert live_peak(lambda: [x.sin() for _ in range(5)], held=[x]) == 5 * ROW


def test_operators_are_counted_in_both_passes() -> None:
    x = torch.randn(3, requires_grad=True)
    calls = operators(lambda: x.sin().sum().backward())
    assert calls["sin"] == calls["cos"] == calls["mul"] == 1
