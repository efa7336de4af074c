from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import make_frames, posed_frames, seeds
from torch import Tensor

from ross3d.geometry import zbuffer
from ross3d.geometry.frames import PosedFrames
from ross3d.geometry.topdown import world_to_bev
from ross3d.geometry.zbuffer import (
    EMPTY,
    Window,
    pack_colours,
    rasterise,
    unpack,
    unpack_colours,
)

SIZE = 7


def window(b: int, splat: int = 0, ceiling: float = torch.inf) -> Window:
    extent = torch.tensor([[-4.0, -4.0, 4.0, 4.0]]).repeat(b, 1)
    return Window(extent, torch.full((b,), ceiling), SIZE, 50.0, splat)


@given(posed_frames(unknown=0.3), seeds, st.sampled_from([1.0, torch.inf]))
def test_each_pixel_holds_its_highest_and_lowest_point(
    frames: PosedFrames, seed: int, ceiling: float
) -> None:
    b = len(frames)
    payload = torch.randint(2**24, frames.depths.shape)
    layers = rasterise(frames, window(b, ceiling=ceiling), lambda views: payload[:, views])
    carried, height = unpack(layers.keys)
    world = frames.world_coords().flatten(1, 3)
    pixels = (world_to_bev(world, window(b).extent, SIZE) + 0.5).floor().long()
    inside = ((pixels >= 0) & (pixels < SIZE)).all(-1) & frames.valid.flatten(1)
    inside &= world[..., 2] <= ceiling
    wrong = 0
    for i in range(b):
        for row in range(SIZE):
            for column in range(SIZE):
                here = (pixels[i] == torch.tensor([column, row])).all(-1) & inside[i]
                known = bool(layers.keys[i, row, column] != EMPTY)
                if not here.any() or not known:
                    wrong += known != bool(here.any())
                    assert known == bool(layers.lowest[i, row, column].isfinite())
                    continue
                z = world[i, here, 2]
                top = payload[i].flatten()[here][z.argmax()]
                wrong += abs(height[i, row, column].item() - z.max().item()) > 1e-4
                wrong += abs(layers.lowest[i, row, column].item() - z.min().item()) > 1e-4
                wrong += carried[i, row, column].item() != top.item()
    assert wrong <= 4  # a point on a pixel's border may round into the next


@given(posed_frames(), st.integers(1, 3))
def test_footprints_add_points_only(frames: PosedFrames, splat: int) -> None:
    def colours(views: slice) -> Tensor:
        return pack_colours(frames.images[:, views])

    exact = rasterise(frames, window(len(frames)), colours)
    wide = rasterise(frames, window(len(frames), splat), colours)
    assert wide.lowest.equal(exact.lowest)
    assert (wide.keys >= exact.keys).all()
    raised = (exact.keys != EMPTY) & (wide.keys != exact.keys)
    assert (unpack(wide.keys)[1] - unpack(exact.keys)[1] > 0.05)[raised].all()


def test_points_seen_through_a_gap_are_hidden() -> None:
    frames = make_frames(1, 2, (8, 8))
    far = torch.full((1, 2, 8, 8), 2.0)
    far[:, 1] = 2.7  # the same camera sees a floor below
    intrinsics = torch.tensor([[8.0, 0, 3.5], [0, 8, 3.5], [0, 0, 1]]).expand(1, 2, 3, 3)
    pose = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0])).expand(1, 2, 4, 4)
    frames = PosedFrames(frames.images, far, intrinsics, pose)
    wide = Window(torch.tensor([[-0.8, -0.8, 0.8, 0.8]]), torch.ones(1), 16, 50.0, 4)
    keys = rasterise(frames, wide, lambda views: pack_colours(frames.images[:, views])).keys
    assert unpack(keys)[1][0, 2:-2, 2:-2].unique().tolist() == [-2.0]


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = make_frames(2, 5)

    def layers() -> zbuffer.Layers:
        return rasterise(frames, window(2, 2), lambda views: pack_colours(frames.images[:, views]))

    whole = layers()
    monkeypatch.setattr(zbuffer, "_CHUNK", 2 * 12 * 16)
    assert all(one.equal(other) for one, other in zip(whole, layers(), strict=True))


def test_colours_have_eight_bits() -> None:
    images = torch.tensor([0.0, 1.0, 0.5]).view(1, 1, 3, 1, 1)
    assert pack_colours(images).item() == (0 << 16) + (255 << 8) + 128
    assert pack_colours(images * 9 - 1).item() == (0 << 16) + (255 << 8) + 255
    assert pack_colours(images * torch.nan).item() == 0
    back = unpack_colours(pack_colours(images)[:, 0].long())
    torch.testing.assert_close(back[:, :, 0, 0], torch.tensor([[0.0, 1.0, 128 / 255]]))
