"""Bytes of tensors that are alive, on any device, the meta device and fake tensors included."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class _Live(TorchDispatchMode):
    """Count the storages that operators make, until the last tensor on them is gone."""

    def __init__(self, held: Iterable[Tensor]) -> None:
        super().__init__()
        self.held = {tensor.untyped_storage()._cdata for tensor in held}
        self.known = set(self.held)
        self.now = self.peak = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self._see(tensor.untyped_storage())
        return out

    def _see(self, storage: torch.UntypedStorage) -> None:
        place, size = storage._cdata, storage.nbytes()
        if place in self.known:
            return
        self.known.add(place)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._gone, place, size)

    def _gone(self, place: int, size: int) -> None:
        self.known.discard(place)
        self.now -= size


def live_peak(work: Callable[[], object], *, held: Iterable[Tensor] = ()) -> int:
    """Run some work, and give the most bytes that were alive within it.

    Args:
        work: forward pass, or forward and backward.
        held: tensors that are there anyway and do not count: weights, inputs.

    Returns:
        Bytes of storages; what operators use inside themselves does not show.
    """
    mode = _Live(held)
    with mode:
        work()
    return mode.peak


def saved_bytes(work: Callable[[], object], *, held: Iterable[Tensor] = ()) -> int:
    """Run a forward pass, and give the bytes that are alive for its backward pass afterwards.

    Unlike hooks of saved tensors this sees what checkpoints and closures hold, too.

    Args:
        work: the forward pass; what it returns must keep the graph alive, and does not count.
        held: tensors that are there anyway and do not count: weights, inputs.

    Returns:
        Bytes of storages, each counted once.
    """
    mode = _Live(held)
    with mode:
        result = work()
    storages = [x.untyped_storage() for x in tree_leaves(result) if isinstance(x, Tensor)]
    out = {s._cdata: s.nbytes() for s in storages if s._cdata not in mode.held}
    return mode.now - sum(out.values())
