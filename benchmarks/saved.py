"""What a forward pass keeps for the backward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor


def saved_bytes(work: Callable[[], object], *, held: Iterable[Tensor] = ()) -> int:
    """Bytes that a forward pass keeps for its backward pass; each storage counts once.

    Works on the meta device, where storages have a size but no address.

    Args:
        work: the forward pass.
        held: tensors that are there anyway and do not count: weights, inputs.

    Returns:
        The sum over storages.
    """
    known = {tensor.untyped_storage()._cdata for tensor in held}
    kept: dict[int, torch.UntypedStorage] = {}  # held here, so that no address is given twice

    def pack(saved: Tensor) -> Tensor:
        storage = saved.untyped_storage()
        if storage._cdata not in known:
            kept[storage._cdata] = storage
        return saved

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved):
        result = work()
    del result
    return sum(storage.nbytes() for storage in kept.values())
