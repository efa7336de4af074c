from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ross3d.geometry.topdown import BEV, bev_to_world, cell_coords, world_to_bev


def test_world_and_picture_are_inverse() -> None:
    extent = torch.tensor([[-2.0, -1.0, 4.0, 5.0], [0.0, 0.0, 1.0, 1.0]])
    points = torch.randn(2, 7, 3)
    pixels = world_to_bev(points, extent, 12)
    torch.testing.assert_close(bev_to_world(pixels, extent, 12), points[..., :2])
    corner = world_to_bev(torch.tensor([[[-2.0, 5.0, 0.0]]]), extent[:1], 12)
    assert corner.tolist() == [[[-0.5, -0.5]]]


def test_cells_are_at_their_centres_at_the_mean_observed_height() -> None:
    height, observed = torch.zeros(1, 4, 4), torch.zeros(1, 4, 4, dtype=torch.bool)
    height[0, 0, :2] = torch.tensor([1.0, 2.0])
    height[0, 3, 3] = -1.0
    observed[0, 0, :2] = observed[0, 3, 3] = True
    extent = torch.tensor([[0.0, 10.0, 4.0, 14.0]])
    coords, valid = cell_coords(BEV(torch.zeros(1, 3, 4, 4), observed, height, extent), (2, 2))
    assert valid.tolist() == [[True, False, False, True]]
    expected = [[1.0, 13.0, 1.5], [3.0, 13.0, -1.0], [1.0, 11.0, -1.0], [3.0, 11.0, -1.0]]
    torch.testing.assert_close(coords[0], torch.tensor(expected))


@pytest.mark.parametrize("name", ["image", "observed", "height", "extent", "filled", "labels"])
def test_bev_complains(name: str) -> None:
    fields = {
        "image": torch.zeros(2, 3, 4, 4),
        "observed": torch.zeros(2, 4, 4, dtype=torch.bool),
        "height": torch.zeros(2, 4, 4),
        "extent": torch.zeros(2, 4),
        "filled": torch.zeros(2, 4, 4, dtype=torch.bool),
        "labels": torch.zeros(2, 4, 4, dtype=torch.long),
    }
    fields[name] = fields[name][..., :3]
    with pytest.raises(ValueError, match=f"{name} must be of shape"):
        BEV(**fields)


def test_functions_complain() -> None:
    extent = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    with pytest.raises(ValueError, match="points must be of shape"):
        world_to_bev(torch.zeros(1, 2, 2), extent, 4)
    with pytest.raises(ValueError, match="extent must be of shape"):
        world_to_bev(torch.zeros(2, 2, 3), extent, 4)
    with pytest.raises(ValueError, match="pixels must be of shape"):
        bev_to_world(torch.zeros(1, 2, 3), extent, 4)
    with pytest.raises(ValueError, match="extent must be of shape"):
        bev_to_world(torch.zeros(2, 2, 2), extent, 4)


def test_functions_compile() -> None:
    def everything(points: Tensor, bev: Tensor, extent: Tensor) -> list[Tensor]:
        pixels = world_to_bev(points, extent, 8)
        cells = cell_coords(BEV(bev, bev[:, 0] > 0.5, bev[:, 0], extent), (2, 4))
        return [pixels, bev_to_world(pixels, extent, 8), *cells]

    inputs = torch.randn(2, 5, 3), torch.rand(2, 3, 8, 8), torch.tensor([[0.0, 0, 1, 1]] * 2)
    compiled = torch.compile(everything, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(*inputs), everything(*inputs))
