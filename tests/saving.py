"""Saving and loading a model around any host: the check that every adapter has to pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from reference.batch import Batch
from reference.model import Ross3D


def assert_saves_and_loads(
    model: Ross3D, batch: Batch, folder: Path, *, host: str = "inside", **parts: Any
) -> Ross3D:
    """Save a model, load it, and compare losses and every tensor bit for bit.

    Args:
        model: with any adapter; switched to evaluation.
        batch: that it can read.
        folder: to save it in.
        host: "inside" or "reference".
        **parts: what must be given again, such as an encoder of one's own.

    Returns:
        The loaded model.
    """
    model.eval()
    model.save_pretrained(folder, host=host)
    loaded = type(model).from_pretrained(folder, **parts)
    ours, theirs = model.state_dict(), loaded.state_dict()
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert value.dtype == theirs[name].dtype, name
        assert torch.equal(value, theirs[name]), name
    mine, other = (losses(one, batch) for one in (model, loaded))
    assert mine.keys() == other.keys()
    assert all(torch.equal(mine[name], other[name]) for name in mine)
    return loaded


def losses(model: Ross3D, batch: Batch) -> dict[str, torch.Tensor]:
    """Losses with the last view hidden, always with the same noise."""
    masked = model.no_mask(batch)
    masked[:, -1] = True
    with torch.no_grad():
        return model(batch, masked, generator=torch.Generator().manual_seed(0))
