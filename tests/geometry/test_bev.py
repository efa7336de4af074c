from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from kornia.geometry.depth import depth_to_3d_v2
from kornia.geometry.linalg import transform_points
from strategies import make_frames, one_scene, posed_frames, seeds
from torch import Tensor

from ross3d.geometry.bev import BEV, BEVRenderer, cell_coords, world_to_bev
from ross3d.geometry.frames import PosedFrames

EXACT = {"splat": 0, "tolerance": 0.0, "fill": 0}
LOOKING_DOWN = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))


def from_above(images: Tensor, depths: Tensor, camera_height: float = 2.0) -> PosedFrames:
    """Views (b, m) of a camera over the origin whose pixels are 1 / 8 of the depth wide."""
    b, m, h, w = depths.shape
    intrinsics = torch.tensor([[8.0, 0, (w - 1) / 2], [0, 8, (h - 1) / 2], [0, 0, 1]])
    pose = LOOKING_DOWN.clone()
    pose[2, 3] = camera_height
    return PosedFrames(images, depths, intrinsics.expand(b, m, 3, 3), pose.expand(b, m, 4, 4))


def unchecked(frames: PosedFrames, **fields: Tensor) -> PosedFrames:
    """Frames with other values, as damaged files or a careless conversion give them."""
    changed = object.__new__(PosedFrames)
    changed.__dict__.update(vars(frames) | fields)
    return changed


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
    monkeypatch.setattr("ross3d.geometry.zbuffer._CHUNK", 2 * 12 * 16)
    for name in ("image", "observed", "height", "extent"):
        assert getattr(BEVRenderer(16)(frames), name).equal(getattr(expected, name))


def test_moving_the_world_does_not_change_the_picture() -> None:
    frames = make_frames(2, 4, (24, 32))
    shift = torch.eye(4)
    shift[:3, 3] = torch.tensor([3.0, -7.0, 1.5])
    before, after = BEVRenderer(24)(frames), BEVRenderer(24)(moved(frames, shift))
    shown = after.observed | after.filled
    lifted = BEV(after.image, after.observed, (after.height - 1.5) * shown, after.extent)
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
def test_footprints_close_the_gaps_between_far_pixels(size: int, splat: int) -> None:
    frames = from_above(torch.rand(1, 1, 3, 8, 8), torch.full((1, 1, 8, 8), 2.0))
    extent = (-1.0, -1.0, 1.0, 1.0)  # each pixel is size / 8 wide
    points = BEVRenderer(size, extent=extent, **EXACT)(frames)
    whole = BEVRenderer(size, extent=extent, splat=splat, tolerance=0.0, fill=0)(frames)
    assert points.observed.sum() == 64
    rows, columns = (points.observed[0].any(dim).nonzero()[:, 0] for dim in (1, 0))
    inside = torch.zeros_like(whole.observed)
    inside[0, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
    assert whole.observed.equal(inside)
    direct = points.observed[:, None].expand(-1, 3, -1, -1)
    assert whole.image[direct].equal(points.image[direct])


def test_footprints_do_not_bleed_over_edges() -> None:
    depths = torch.full((1, 1, 32, 32), 2.0)
    depths[..., 8:20, 8:20] = 1.5  # a table over a floor
    frames = from_above(torch.rand(1, 1, 3, 32, 32), depths)
    extent = (-3.0, -3.0, 3.0, 3.0)
    bev = BEVRenderer(72, extent=extent, tolerance=0.0, fill=0)(frames)
    points = BEVRenderer(72, extent=extent, **EXACT)(frames)
    high = points.observed & (points.height > 0.25)
    rows, columns = (high[0].any(dim).nonzero()[:, 0] for dim in (1, 0))
    table = torch.zeros_like(high)
    table[0, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
    assert bev.observed[table].all()
    assert (bev.height > 0.25).equal(table)


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


def test_rendered_points_are_where_world_to_bev_says() -> None:
    depths = torch.zeros(1, 1, 8, 8)
    depths[0, 0, 2, 5] = 2.0
    frames = from_above(torch.ones(1, 1, 3, 8, 8), depths)
    bev = BEVRenderer(16, extent=(-2.0, -1.5, 1.5, 2.0), **EXACT)(frames)
    column, row = world_to_bev(frames.world_coords()[:, 0, 2, 5:6], bev.extent, 16)[0, 0].round()
    assert bev.observed.nonzero().tolist() == [[0, row, column]]


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"size": 0}, "size must be positive; got 0"),
        ({"splat": -1}, "splat, tolerance, fill and margin must not be negative; got -1"),
        ({"tolerance": -0.1}, "must not be negative"),
        ({"quantile": 0.5}, r"quantile must be in \[0, 0.5\); got 0.5"),
        ({"extent": (0, 0, 1, 2)}, "extent must be a square of positive size"),
        ({"extent": (1, 1, 0, 0)}, "extent must be a square of positive size"),
        ({"max_depth": 0.0}, "max_depth must be positive; got 0.0"),
        ({"height_quantile": 0.0}, r"height_quantile must be in \(0, 1\]; got 0.0"),
        ({"label_rule": "mean"}, "label_rule must be 'majority' or 'top'; got 'mean'"),
    ],
)
def test_renderer_complains(arguments: dict[str, object], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        BEVRenderer(**arguments)  # type: ignore[arg-type]


@given(posed_frames(), st.tuples(*[st.floats(-50, 50)] * 3), st.integers(0, 3))
def test_moving_and_turning_the_world_moves_and_turns_the_picture(
    frames: PosedFrames, shift: tuple[float, float, float], turns: int
) -> None:
    motion = torch.eye(4)
    for _ in range(turns):
        motion = torch.tensor([[0.0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]) @ motion
    motion[:3, 3] = torch.tensor(shift)
    x, y, z = shift
    before = BEVRenderer(16, extent=(-4.0, -4.0, 4.0, 4.0), max_height=2.0)(frames)
    extent = (x - 4.0, y - 4.0, x + 4.0, y + 4.0)
    after = BEVRenderer(16, extent=extent, max_height=z + 2.0)(moved(frames, motion))
    lifted = (after.height - z) * (after.observed | after.filled)
    turned = BEV(
        before.image.rot90(turns, (2, 3)),
        before.observed.rot90(turns, (1, 2)),
        before.height.rot90(turns, (1, 2)),
        before.extent,
    )
    # A point on a pixel's border may round into the next pixel.
    assert agreement(turned, BEV(after.image, after.observed, lifted, after.extent)) > 0.97


@given(posed_frames(), seeds)
def test_views_may_come_in_any_order(frames: PosedFrames, seed: int) -> None:
    order = torch.randperm(frames.views, generator=torch.Generator().manual_seed(seed))
    labels = torch.randint(-1, 5, frames.depths.shape)
    one = BEVRenderer(12)(frames, labels)
    other = BEVRenderer(12)(frames.select(order), labels[:, order])
    for name in ("image", "observed", "height", "extent", "filled", "labels"):
        assert getattr(one, name).equal(getattr(other, name))


def test_views_that_agree_are_averaged() -> None:
    images = torch.stack([torch.full((3, 8, 8), 0.2), torch.full((3, 8, 8), 0.6)])[None]
    depths = torch.stack([torch.full((8, 8), 2.0), torch.full((8, 8), 1.96)])[None]
    frames, extent = from_above(images, depths), (-0.5, -0.5, 0.5, 0.5)
    bev = BEVRenderer(4, extent=extent)(frames)
    torch.testing.assert_close(bev.image, torch.full((1, 3, 4, 4), 0.4))
    torch.testing.assert_close(bev.height, torch.full((1, 4, 4), 0.02), atol=1e-4, rtol=0)
    bev = BEVRenderer(4, extent=extent, tolerance=0.0)(frames)
    torch.testing.assert_close(bev.image, torch.full((1, 3, 4, 4), 0.6))
    torch.testing.assert_close(bev.height, torch.full((1, 4, 4), 0.04))


def test_filled_pixels_are_marked_and_not_observed_unless_asked() -> None:
    depths = torch.full((1, 1, 24, 24), 2.0)
    depths[..., 10:13, 10:13] = 0
    frames = from_above(torch.full((1, 1, 3, 24, 24), 0.4), depths)
    hole = depths[0] == 0
    for fill, counted in ((0, False), (2, False), (2, True)):
        extent = (-3.0, -3.0, 3.0, 3.0)
        bev = BEVRenderer(24, extent=extent, fill=fill, count_filled=counted)(frames)
        assert bev.filled is not None
        assert bev.filled.equal(hole if fill else torch.zeros_like(hole))
        assert bev.observed.equal(~hole | counted)
        shown = (bev.image[0] > 0).all(0)
        assert shown.equal((~hole | (fill > 0))[0])
        assert (bev.image[0][:, shown] - 0.4).abs().max() < 1e-3


@pytest.mark.parametrize("tolerance", [0.0, 0.1])
def test_labels_are_those_of_the_top_or_of_most_views(tolerance: float) -> None:
    depths = torch.full((1, 3, 8, 8), 2.0)
    depths[:, 2] = 1.99
    labels = torch.tensor([4, 4, 7])[None, :, None, None].repeat(1, 1, 8, 8)
    labels[..., :4, :] = -1
    frames = from_above(torch.rand(1, 3, 3, 8, 8), depths)
    extent = (-1.0, -1.0, 1.0, 1.0)
    for rule, expected in (("top", 7), ("majority", 4 if tolerance else 7)):
        renderer = BEVRenderer(8, extent=extent, tolerance=tolerance, label_rule=rule)  # type: ignore[arg-type]
        found = renderer(frames, labels).labels
        assert found is not None
        assert (found[0, :4] == -1).all()
        assert (found[0, 4:] == expected).all()
    assert BEVRenderer(8, extent=extent)(frames).labels is None


def test_labels_are_checked() -> None:
    frames = make_frames(1, 2)
    labels = torch.zeros(1, 2, 12, 16, dtype=torch.long)
    with pytest.raises(ValueError, match="labels must be of shape"):
        BEVRenderer(8)(frames, labels[:, :1])
    with pytest.raises(ValueError, match=r"labels must be integers; got torch.float32"):
        BEVRenderer(8)(frames, labels.float())
    with pytest.raises(ValueError, match="labels must be below 16777215; got 16777215"):
        BEVRenderer(8)(frames, labels + 2**24 - 1)


def test_a_quantile_of_heights_may_be_kept() -> None:
    images = torch.stack([torch.full((3, 8, 8), 0.2), torch.full((3, 8, 8), 0.8)])[None]
    depths = torch.stack([torch.full((8, 8), 3.0), torch.full((8, 8), 2.0)])[None]
    frames, extent = from_above(images, depths, camera_height=3.0), (-0.5, -0.5, 0.5, 0.5)
    for share, height in ((1.0, 1.0), (0.4, 0.0)):
        bev = BEVRenderer(2, extent=extent, max_height=None, height_quantile=share)(frames)
        assert bev.observed.all()
        torch.testing.assert_close(bev.height, torch.full((1, 2, 2), height), atol=1e-2, rtol=0)


CORRUPT = (torch.nan, torch.inf, -torch.inf, -1.0, 51.0, 1e9, 3e38)


@given(posed_frames(unknown=0.0), seeds, st.sampled_from(["none", "some", "all"]))
def test_corrupt_depths_are_unknown_depths(frames: PosedFrames, seed: int, kind: str) -> None:
    generator = torch.Generator().manual_seed(seed)
    share = {"none": 0.0, "some": 0.5, "all": 1.0}[kind]
    wrong = torch.rand(frames.depths.shape, generator=generator) < share
    values = torch.tensor(CORRUPT)[torch.randint(len(CORRUPT), wrong.shape, generator=generator)]
    images = frames.images.masked_fill(wrong[:, :, None], torch.nan)
    corrupt = unchecked(frames, images=images, depths=torch.where(wrong, values, frames.depths))
    clean = unchecked(
        frames,
        images=frames.images.masked_fill(wrong[:, :, None], 0),
        depths=frames.depths.masked_fill(wrong, 0),
    )
    labels = torch.randint(-1, 5, wrong.shape, generator=generator)
    found, expected = BEVRenderer(12)(corrupt, labels), BEVRenderer(12)(clean, labels)
    for name in ("image", "observed", "height", "extent", "filled", "labels"):
        assert getattr(found, name).equal(getattr(expected, name))
        assert getattr(found, name).isfinite().all()
    assert kind != "all" or not found.observed.any()


@given(posed_frames(), st.sampled_from([torch.nan, torch.inf, -torch.inf]))
def test_views_without_a_pose_are_left_out(frames: PosedFrames, value: float) -> None:
    poses = torch.cat([frames.poses, torch.full_like(frames.poses[:, :1], value)], dim=1)
    more = [torch.cat([x, x[:, :1]], dim=1) for x in (frames.images, frames.depths)]
    intrinsics = torch.cat([frames.intrinsics, frames.intrinsics[:, :1]], dim=1)
    lost = unchecked(frames, images=more[0], depths=more[1], intrinsics=intrinsics, poses=poses)
    renderer = BEVRenderer(12, require_z_up=False)
    for name in ("image", "observed", "height", "extent"):
        assert getattr(renderer(lost), name).equal(getattr(renderer(frames), name))


@pytest.mark.parametrize("size", [1, 2, 5, 31])
def test_a_single_pixel_is_enough(size: int) -> None:
    frames = from_above(torch.full((1, 1, 3, 1, 1), 0.6), torch.full((1, 1, 1, 1), 1.0))
    bev = BEVRenderer(size)(frames)
    assert bev.observed.sum() == 1
    assert (bev.extent[0, 2:] - bev.extent[0, :2]).min() >= 0.099
    torch.testing.assert_close(bev.height.max().item(), 1.0, atol=1e-4, rtol=0)
    torch.testing.assert_close(bev.image.amax(), torch.tensor(0.6))


def test_no_scene_gives_no_picture() -> None:
    frames = make_frames(1, 2)
    none = unchecked(frames, **{k: v[:0] for k, v in vars(frames).items()})
    assert BEVRenderer(12)(none).image.shape == (0, 3, 12, 12)


def test_double_precision_frames_render_as_single() -> None:
    frames = make_frames()
    double = unchecked(frames, **{k: v.double() for k, v in vars(frames).items()})
    bev = BEVRenderer(16)(double)
    assert (bev.image.dtype, bev.height.dtype) == (torch.float64, torch.float32)
    assert agreement(BEVRenderer(16)(frames), bev) > 0.99
