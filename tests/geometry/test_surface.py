from __future__ import annotations

import torch
from torch import Tensor

from ross3d.geometry.sighting import Views
from ross3d.geometry.surface import Surface, agree, centres
from ross3d.geometry.zbuffer import Window

SIZE, FAR = 12, 50.0
CAMERA = torch.tensor([[0.0, 0.0, 4.0]])
WINDOW = Window(torch.tensor([[-1.0, -1.0, 1.0, 1.0]]), torch.tensor([9.0]), SIZE, FAR, 0)


def views_from_above(depths: Tensor, colours: list[float]) -> Views:
    """Cameras 4 m above the origin, whose pixels are 2 cm wide on the floor."""
    m, h, w = depths.shape
    images = torch.tensor(colours).view(m, 1, 1, 1).expand(m, 3, h, w)
    intrinsics = torch.tensor([[200.0, 0, (w - 1) / 2], [0, 200.0, (h - 1) / 2], [0, 0, 1]])
    pose = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))
    pose[:3, 3] = CAMERA
    return Views(images, depths, intrinsics.expand(m, 3, 3), pose.expand(m, 4, 4))


def test_centres_are_in_the_middle_of_pixels() -> None:
    cells, height = torch.tensor([0, 13]), torch.arange(144.0)
    expected = torch.tensor([[-11 / 12, -9 / 12], [11 / 12, 9 / 12], [0.0, 13.0]])
    torch.testing.assert_close(centres(cells, height, WINDOW), expected)


def test_colour_and_height_are_means_over_the_views() -> None:
    depths = torch.stack([torch.full((120, 120), 4.0), torch.full((120, 120), 3.96)])
    top = Surface(torch.full((3, SIZE, SIZE), 0.9), torch.full((SIZE, SIZE), 0.04))
    top.height[0] = torch.inf  # never seen
    found = agree(views_from_above(depths, [0.2, 0.6]), top, top.height, WINDOW, 0.1)
    torch.testing.assert_close(found.image[:, 1:], torch.full((3, 11, 12), 0.4), atol=2e-3, rtol=0)
    torch.testing.assert_close(found.height[1:], torch.full((11, 12), 0.02), atol=1e-4, rtol=0)
    assert (found.image[:, 0] == 0.9).all()
    assert found.height[0].isinf().all()


def test_noise_in_front_of_what_views_see_gives_way_to_what_is_below() -> None:
    depths = torch.full((4, 120, 120), 4.0)
    depths[:, :60] += 0.09 * torch.tensor([-1.0, 1, -1, 1])[:, None, None]  # views disagree
    top = Surface(torch.full((3, SIZE, SIZE), 0.9), torch.zeros(SIZE, SIZE))
    top.height[7, 5] = 0.5
    lowest = torch.zeros(SIZE, SIZE)
    blurred = WINDOW._replace(extent=WINDOW.extent / 10)  # noise counts in pixels
    found = agree(views_from_above(depths, [0.5] * 4), top, lowest, blurred, 0.1)
    assert abs(found.height[7, 5].item()) < 0.1
    assert (found.image[:, 7, 5] - 0.5).abs().max() < 1e-2
    lowest[7, 5] = torch.inf  # nothing else is known there
    found = agree(views_from_above(depths, [0.5] * 4), top, lowest, blurred, 0.1)
    assert found.height[7, 5] == 0.5


def test_exact_depths_are_neither_lowered_nor_blended() -> None:
    depths = torch.full((2, 120, 120), 4.0)
    depths[:, 30:70, 30:70] = 3.5  # a table
    views = views_from_above(depths, [0.5, 0.5])
    views = views._replace(
        images=torch.where(depths[:, None] < 4, 0.2, 0.8).expand_as(views.images)
    )
    table = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    table[4:8, 4:8] = True
    top = Surface(torch.ones(3, SIZE, SIZE), torch.where(table, 0.5, 0.0))
    found = agree(views, top, torch.zeros(SIZE, SIZE), WINDOW, 0.1)
    assert set(found.image.mul(10).round().unique().tolist()) <= {2.0, 8.0, 10.0}
