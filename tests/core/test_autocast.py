from __future__ import annotations

import torch

from ross3d.core.autocast import without_autocast


def test_products_keep_their_precision_inside_only() -> None:
    x = torch.ones(2, 2)
    with torch.autocast("cpu", torch.bfloat16):
        assert (x @ x).dtype == torch.bfloat16
        with without_autocast(x.device):
            assert (x @ x).dtype == torch.float32
        assert (x @ x).dtype == torch.bfloat16


def test_a_device_without_autocast_needs_none() -> None:
    x = torch.ones(2, 2, device="meta")
    with without_autocast(x.device):
        assert (x @ x).dtype == torch.float32
