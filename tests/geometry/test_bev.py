from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from kornia.geometry.depth import depth_to_3d_v2
from kornia.geometry.linalg import transform_points
from PIL import Image
from strategies import make_frames, one_scene, posed_frames
from torch import Tensor

from ross3d.geometry.bev import BEV, BEVRenderer, bev_to_world, cell_coords, world_to_bev
from ross3d.geometry.frames import PosedFrames

EXACT = {"splat": 0, "slab": 0.0, "fill": 0}
LOOKING_DOWN = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))


def from_above(images: Tensor, depths: Tensor, camera_height: float = 2.0) -> PosedFrames:
    """Views (b, m) of a camera over the origin whose pixels are 1 / 8 of the depth wide."""
    b, m, h, w = depths.shape
    intrinsics = torch.tensor([[8.0, 0, (w - 1) / 2], [0, 8, (h - 1) / 2], [0, 0, 1]])
    pose = LOOKING_DOWN.clone()
    pose[2, 3] = camera_height
    return PosedFrames(images, depths, intrinsics.expand(b, m, 3, 3), pose.expand(b, m, 4, 4))


def moved(frames: PosedFrames, transform: Tensor) -> PosedFrames:
    return PosedFrames(frames.images, frames.depths, frames.intrinsics, transform @ frames.poses)


def agreement(one: BEV, other: BEV) -> float:
    """Share of the pixels that are the same, but for heights' float noise."""
    heights = (one.height - other.height).abs() < 1e-3
    colours = ((one.image - other.image).abs() < 1e-3).all(1)
    return ((one.observed == other.observed) & heights & colours).float().mean().item()


def test_a_camera_that_looks_down_sees_the_picture() -> None:
    image = (torch.arange(192.0).view(1, 1, 3, 8, 8) / 255).expand(1, 2, -1, -1, -1)
    frames = from_above(image, torch.full((1, 2, 8, 8), 2.0))
    bev = BEVRenderer(8, extent=(-1.0, -1.0, 1.0, 1.0))(frames)
    torch.testing.assert_close(bev.image[0], image[0, 0])
    assert bev.observed.all()
    assert bev.height.abs().max() < 1e-6
    assert bev.extent.tolist() == [[-1, -1, 1, 1]]


@given(posed_frames(unknown=0.3))
def test_each_pixel_shows_its_highest_point(frames: PosedFrames) -> None:
    bev = BEVRenderer(9, extent=(-4.0, -4.0, 4.0, 4.0), max_height=2.0, **EXACT)(frames)
    local = depth_to_3d_v2(frames.depths.flatten(0, 1), frames.intrinsics.flatten(0, 1))
    world = transform_points(frames.poses.flatten(0, 1), local.flatten(1, 2))
    world = world.view(len(frames), -1, 3)
    colours = frames.images.movedim(2, -1).flatten(1, 3)
    pixels = world_to_bev(world, bev.extent, 9)
    for b in range(len(frames)):
        kept = frames.valid[b].flatten() & (world[b, :, 2] <= 2.0)
        seen: dict[tuple[int, int], int] = {}
        for n in kept.nonzero()[:, 0].tolist():
            column, row = (math.floor(x + 0.5) for x in pixels[b, n].tolist())
            best = seen.get((row, column))
            if best is None or world[b, n, 2] > world[b, best, 2]:
                seen[row, column] = n
        inside = {at: n for at, n in seen.items() if all(x in range(9) for x in at)}
        # A point on a border may round into the next pixel.
        wrong = len(set(inside) ^ set(map(tuple, bev.observed[b].nonzero().tolist())))
        for (row, column), n in inside.items():
            height = (bev.height[b, row, column] - world[b, n, 2]).abs() < 1e-4
            colour = (bev.image[b, :, row, column] - colours[b, n]).abs().max() <= 0.5 / 255 + 1e-6
            wrong += not (height and colour)
        assert wrong <= 1


def test_the_higher_point_wins_in_any_order_of_frames() -> None:
    images = torch.stack([torch.full((3, 8, 8), 0.2), torch.full((3, 8, 8), 0.8)])[None]
    depths = torch.stack([torch.full((8, 8), 2.0), torch.full((8, 8), 1.5)])[None]
    for order in ([0, 1], [1, 0]):
        frames = from_above(images[:, order], depths[:, order])
        bev = BEVRenderer(4, extent=(-0.5, -0.5, 0.5, 0.5))(frames)
        torch.testing.assert_close(bev.height, torch.full((1, 4, 4), 0.5))
        torch.testing.assert_close(bev.image, torch.full((1, 3, 4, 4), 0.8))


def test_the_order_of_frames_changes_nothing() -> None:
    frames = make_frames(2, 5)
    one, other = (BEVRenderer(16)(x) for x in (frames, frames.select(torch.arange(4, -1, -1))))
    for name in ("image", "observed", "height"):
        assert getattr(one, name).equal(getattr(other, name))
    torch.testing.assert_close(one.extent, other.extent)


def test_many_frames_are_read_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = make_frames(2, 5)
    expected = BEVRenderer(16)(frames)
    monkeypatch.setattr("ross3d.geometry.bev._CHUNK", 2 * 12 * 16)
    for name in ("image", "observed", "height", "extent"):
        assert getattr(BEVRenderer(16)(frames), name).equal(getattr(expected, name))


def test_moving_the_world_does_not_change_the_picture() -> None:
    frames = make_frames(2, 4, (24, 32))
    shift = torch.eye(4)
    shift[:3, 3] = torch.tensor([3.0, -7.0, 1.5])
    before, after = BEVRenderer(24)(frames), BEVRenderer(24)(moved(frames, shift))
    lifted = BEV(after.image, after.observed, (after.height - 1.5) * after.observed, after.extent)
    assert before.observed.any()
    assert agreement(before, lifted) > 0.99
    expected = before.extent + torch.tensor([3.0, -7.0, 3.0, -7.0])
    torch.testing.assert_close(after.extent, expected, atol=1e-4, rtol=1e-4)


def test_a_quarter_turn_of_the_world_turns_the_picture() -> None:
    frames = make_frames(2, 4, (24, 32))
    turn = torch.eye(4)
    turn[:2, :2] = torch.tensor([[0.0, -1.0], [1.0, 0.0]])  # x to y: counter-clockwise from above
    before, after = BEVRenderer(24)(frames), BEVRenderer(24)(moved(frames, turn))
    turned = BEV(
        before.image.rot90(1, (2, 3)),
        before.observed.rot90(1, (1, 2)),
        before.height.rot90(1, (1, 2)),
        before.extent,
    )
    assert agreement(turned, after) > 0.99
    assert agreement(before, after) < 0.9


def test_a_batch_of_two_is_two_batches_of_one() -> None:
    frames = make_frames(2, 4)
    both = BEVRenderer(16)(frames)
    for b in range(2):
        alone = BEVRenderer(16)(one_scene(frames, b))
        for name in ("image", "observed", "height", "extent"):
            assert getattr(alone, name)[0].equal(getattr(both, name)[b])


def test_points_above_the_ceiling_are_dropped() -> None:
    images = torch.stack([torch.full((3, 8, 8), 0.2), torch.full((3, 8, 8), 0.8)])[None]
    depths = torch.stack([torch.full((8, 8), 4.0), torch.full((8, 8), 1.0)])[None]
    frames = from_above(images, depths, camera_height=4.0)  # a floor at 0 m, a ceiling at 3 m
    for max_height, height in ((None, 3.0), ("auto", 0.0), (3.5, 3.0), (2.9, 0.0)):
        bev = BEVRenderer(2, extent=(-0.5, -0.5, 0.5, 0.5), max_height=max_height)(frames)  # type: ignore[arg-type]
        assert bev.observed.all()
        torch.testing.assert_close(bev.height, torch.full((1, 2, 2), height))
    torch.testing.assert_close(BEVRenderer(2, max_height=None)(frames).height.max().item(), 3.0)


@pytest.mark.parametrize(("size", "splat"), [(24, 1), (18, 1), (40, 2), (40, 4)])
def test_footprints_close_the_holes_between_far_pixels(size: int, splat: int) -> None:
    frames = from_above(torch.rand(1, 1, 3, 8, 8), torch.full((1, 1, 8, 8), 2.0))
    extent = (-1.0, -1.0, 1.0, 1.0)  # each pixel is size / 8 wide
    points = BEVRenderer(size, extent=extent, **EXACT)(frames)
    whole = BEVRenderer(size, extent=extent, splat=splat, slab=0.0, fill=0)(frames)
    assert points.observed.sum() == 64
    assert whole.observed.all()
    assert whole.image[points.observed[:, None].expand(-1, 3, -1, -1)].equal(
        points.image[points.observed[:, None].expand(-1, 3, -1, -1)]
    )


def test_footprints_are_as_large_as_the_pixels() -> None:
    frames = from_above(torch.rand(1, 1, 3, 8, 8), torch.full((1, 1, 8, 8), 2.0))
    extent = (-1.0, -1.0, 1.0, 1.0)
    bev = BEVRenderer(24, extent=extent, slab=0.0, fill=0)(frames)  # each pixel is three wide
    expected = frames.images[:, 0].repeat_interleave(3, 2).repeat_interleave(3, 3)
    torch.testing.assert_close(bev.image, expected, atol=0.51 / 255, rtol=0)


def test_a_scene_without_depth_is_not_observed() -> None:
    frames = from_above(torch.rand(1, 1, 3, 8, 8), torch.zeros(1, 1, 8, 8))
    bev = BEVRenderer(8)(frames)
    assert not bev.observed.any()
    assert (bev.image == 0).all()
    assert (bev.height == 0).all()
    assert bev.extent.isfinite().all()
    coords, valid = cell_coords(bev, (2, 2))
    assert not valid.any()
    assert (coords[..., 2] == 0).all()


def test_low_precision_images_stay_so() -> None:
    frames = make_frames()
    low = PosedFrames(frames.images.bfloat16(), frames.depths, frames.intrinsics, frames.poses)
    bev = BEVRenderer(16)(low)
    assert (bev.image.dtype, bev.height.dtype) == (torch.bfloat16, torch.float32)


def test_world_and_picture_are_inverse() -> None:
    extent = torch.tensor([[-2.0, -1.0, 4.0, 5.0], [0.0, 0.0, 1.0, 1.0]])
    points = torch.randn(2, 7, 3)
    pixels = world_to_bev(points, extent, 12)
    torch.testing.assert_close(bev_to_world(pixels, extent, 12), points[..., :2])
    corner = world_to_bev(torch.tensor([[[-2.0, 5.0, 0.0]]]), extent[:1], 12)
    assert corner.tolist() == [[[-0.5, -0.5]]]


def test_rendered_points_are_where_world_to_bev_says() -> None:
    depths = torch.zeros(1, 1, 8, 8)
    depths[0, 0, 2, 5] = 2.0
    frames = from_above(torch.ones(1, 1, 3, 8, 8), depths)
    bev = BEVRenderer(16, extent=(-2.0, -1.5, 1.5, 2.0), **EXACT)(frames)
    column, row = world_to_bev(frames.world_coords()[:, 0, 2, 5:6], bev.extent, 16)[0, 0].round()
    assert bev.observed.nonzero().tolist() == [[0, row, column]]


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


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"size": 0}, "size must be positive; got 0"),
        ({"splat": -1}, "splat, slab, fill and margin must not be negative; got -1"),
        ({"slab": -0.1}, "must not be negative"),
        ({"quantile": 0.5}, r"quantile must be in \[0, 0.5\); got 0.5"),
        ({"extent": (0, 0, 1, 2)}, "extent must be a square of positive size"),
        ({"extent": (1, 1, 0, 0)}, "extent must be a square of positive size"),
    ],
)
def test_renderer_complains(arguments: dict[str, object], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        BEVRenderer(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["image", "observed", "height", "extent"])
def test_bev_complains(name: str) -> None:
    fields = {
        "image": torch.zeros(2, 3, 4, 4),
        "observed": torch.zeros(2, 4, 4, dtype=torch.bool),
        "height": torch.zeros(2, 4, 4),
        "extent": torch.zeros(2, 4),
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


def read_scan(folder: Path, scene: str) -> PosedFrames:
    lines = (folder / "scans" / scene / f"{scene}.txt").read_text().splitlines()
    line = next(line for line in lines if line.startswith("axisAlignment"))
    align = np.array(line.split("=")[1].split(), dtype=float).reshape(4, 4)
    views = sorted((folder / "posed_images" / scene).glob("*.jpg"))
    colours = np.stack([np.array(Image.open(view).convert("RGB")) for view in views])
    depths = np.stack([np.array(Image.open(view.with_suffix(".png"))) for view in views])
    poses = np.stack([align @ np.loadtxt(view.with_suffix(".txt")) for view in views])
    intrinsics = np.loadtxt(views[0].parent / "depth_intrinsic.txt")[:3, :3]
    return PosedFrames(
        (torch.from_numpy(colours).movedim(-1, 1).float() / 255)[None],
        torch.from_numpy(depths.astype(np.float32) / 1000)[None],
        torch.from_numpy(intrinsics).float().expand(1, len(views), 3, 3),
        torch.from_numpy(poses).float()[None],
    )


def test_a_real_kitchen_looks_like_its_fused_picture(shared: Path) -> None:
    folder = shared / "red_kitchen"
    frames = read_scan(folder / "scannet", "redkitchen_00")
    with np.load(folder / "bev_height_480x640_f16.npz") as stored:
        expected, half = torch.from_numpy(stored["height"]).float(), float(stored["half_m"])
    wide = half * 640 / 480
    bev = BEVRenderer(640, extent=(-wide, -wide, wide, wide), max_height=1.85)(frames)
    observed, height = bev.observed[0, 80:560], bev.height[0, 80:560]
    both = observed & ~expected.isnan()
    assert both.sum() / (~expected.isnan()).sum() > 0.94
    assert both.sum() / observed.sum() > 0.8
    assert (height - expected)[both].abs().median() < 0.01
    picture = np.array(Image.open(folder / "scannet/scans/redkitchen_00/view_0.jpg"))
    colours = torch.from_numpy(picture).movedim(-1, 0) / 255
    error = (bev.image[0, :, 80:560] - colours)[:, both].square().mean()
    assert -10 * error.log10() > 17
