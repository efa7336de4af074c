from __future__ import annotations

import pytest
import torch

from ross3d.geometry.position import discretise
from ross3d.geometry.rotary import rotary_positions


def test_rotary_positions_are_bins_for_visual_tokens_and_indices_for_text() -> None:
    coords, positions = torch.randn(2, 1, 3, 3), torch.tensor([[[1, 2, 4]], [[0, 3, 4]]])
    valid = torch.tensor([[[True, True, False]], [[True, True, True]]])
    streams = rotary_positions(coords, positions, 6, valid=valid)
    assert streams.shape == (3, 2, 6)
    bins = discretise(coords)
    for b in range(2):
        for t in range(6):
            token = (positions[b, 0] == t).nonzero()
            visual = token.numel() and valid[b, 0, token[0, 0]]
            expected = bins[b, 0, token[0, 0]].tolist() if visual else [t] * 3
            assert streams[:, b, t].tolist() == expected
    assert rotary_positions(coords, positions, 6)[0, 0, 4] == bins[0, 0, 2, 0]


def test_rotary_positions_complain() -> None:
    coords, positions = torch.zeros(1, 1, 2, 3), torch.zeros(1, 1, 2, dtype=torch.long)
    with pytest.raises(ValueError, match="coords must be of shape"):
        rotary_positions(coords[0], positions, 4)
    with pytest.raises(ValueError, match="positions must be of shape"):
        rotary_positions(coords, positions[0], 4)
    with pytest.raises(ValueError, match="valid must be of shape"):
        rotary_positions(coords, positions, 4, valid=positions[0] > 0)
